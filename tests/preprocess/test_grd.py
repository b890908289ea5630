import pickle
import threading
import zipfile
from pathlib import Path

import dask
import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.control import GroundControlPoint

from ingest.errors import UnreadableInput, UsageError
from ingest.safe.product import SafeProduct
from ingest.safe_writing.image_metadata import grd_metadata
from ingest.safe_writing.writer import write_safe
from preprocess import grd
from preprocess.grd import digital_number, open_measurement
from tests.support.safe_products import zip_safe

LINES, SAMPLES = 203, 157


def image() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 65536, (LINES, SAMPLES), dtype=np.uint16)


def make_product(folder: Path, cog: bool = False) -> Path:
    images = {"VV": (image(), grd_metadata("VV", LINES, SAMPLES))}
    return write_safe(folder, None, images, cog=cog)


def rewrite(product: Path, content: np.ndarray, **profile) -> Path:
    (path,) = product.glob("measurement/*.tiff")
    gcps = [GroundControlPoint(row, col, 3 + col / 1e4, 56 - row / 1e4) for row in (0, 200) for col in (0, 150)]
    options = {"driver": "GTiff", "dtype": content.dtype, "count": 1, "gcps": gcps, "crs": "EPSG:4326"}
    height, width = content.shape
    with rasterio.open(path, "w", height=height, width=width, **{**options, **profile}) as dataset:
        for band in range(1, dataset.count + 1):
            dataset.write(content, band)
    return path


@pytest.fixture(params=["strips", "cog", "tiled", "one strip", "deflated", "big endian", "stored"])
def product(request: pytest.FixtureRequest, tmp_path: Path) -> SafeProduct:
    path = make_product(tmp_path, cog=request.param == "cog")
    if request.param == "tiled":
        rewrite(path, image(), tiled=True, blockxsize=64, blockysize=64)
    if request.param == "one strip":
        rewrite(path, image(), blockysize=LINES)
    if request.param == "big endian":
        rewrite(path, image(), ENDIANNESS="BIG", blockysize=1)
    if request.param in ("deflated", "big endian"):
        path = zip_safe(path)
    if request.param == "stored":
        folder, path = path, tmp_path / "stored.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in folder.rglob("*"):
                archive.write(file, file.relative_to(tmp_path))
    return SafeProduct.open(path)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_every_layout_reads_the_same(product: SafeProduct, scheduler: str) -> None:
    lazy = digital_number(product, "VV", rows_per_block=20)
    assert lazy.dims == ("line", "pixel")
    assert lazy.dtype == np.uint16
    assert lazy.chunks[1] == (SAMPLES,)
    assert lazy.line.values[[0, -1]].tolist() == [0.0, LINES - 1.0]
    assert lazy.pixel.values[[0, -1]].tolist() == [0.0, SAMPLES - 1.0]
    with dask.config.set(scheduler=scheduler, num_workers=3):
        np.testing.assert_array_equal(lazy.values, image())


def test_any_window(product: SafeProduct) -> None:
    lazy = digital_number(product, "VV", rows_per_block=20)
    np.testing.assert_array_equal(lazy[150:190, 5:9].values, image()[150:190, 5:9])
    np.testing.assert_array_equal(lazy[10:60, 3].values, image()[10:60, 3])
    np.testing.assert_array_equal(lazy[7].values, image()[7])
    np.testing.assert_array_equal(lazy[::-1, ::2].values, image()[::-1, ::2])
    np.testing.assert_array_equal(lazy[[3, 77, 5]].values, image()[[3, 77, 5]])
    assert lazy[5:5].values.shape == (0, SAMPLES)


def test_the_graph_is_light_and_travels(product: SafeProduct) -> None:
    lazy = digital_number(product, "VV", rows_per_block=20)
    content = pickle.dumps(lazy)
    assert len(content) < 40_000
    np.testing.assert_array_equal(pickle.loads(content).values, image())


def test_bands_end_at_tiles_and_looks(tmp_path: Path) -> None:
    path = make_product(tmp_path)
    assert open_measurement(SafeProduct.open(path), "VV").band_lines(50, multiple_of=3) == 51
    rewrite(path, image(), tiled=True, blockxsize=64, blockysize=64)
    measurement = open_measurement(SafeProduct.open(path), "VV")
    assert measurement.band_lines(50) == 64
    assert measurement.band_lines(100, multiple_of=4) == 128
    assert measurement.band_lines(100, multiple_of=37) == 111


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_an_archive_is_opened_once(scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    product = SafeProduct.open(zip_safe(make_product(tmp_path)))
    lazy = digital_number(product, "VV", rows_per_block=10)
    opened = []

    def count(path: str, real=grd._open):
        opened.append(real(path))
        return opened[-1]

    monkeypatch.setattr(grd, "_open", count)
    with dask.config.set(scheduler=scheduler, num_workers=3):
        assert (lazy.values == image()).all()
    assert [dataset.closed for dataset in opened] == [True]
    for _ in range(6):  # as many products, of which only a few stay open
        (tmp_path / "more").mkdir(exist_ok=True)
        archive = zip_safe(make_product(tmp_path)).rename(tmp_path / f"more/{len(opened)}.zip")
        digital_number(SafeProduct.open(archive), "VV", rows_per_block=10)[:10].compute()
    assert 0 < sum(not dataset.closed for dataset in opened) <= 4


def test_a_replaced_archive_is_read_anew(tmp_path: Path) -> None:
    path = make_product(tmp_path)
    archive = zip_safe(path)
    first = digital_number(SafeProduct.open(archive), "VV", rows_per_block=10)
    assert (first[:10].values == image()[:10]).all()  # leaves a reader open
    rewrite(path, image() // 2, blockysize=1)
    second = digital_number(SafeProduct.open(zip_safe(path)), "VV", rows_per_block=10)
    assert (second.values == image() // 2).all()


def test_threads_of_other_callers_do_not_disturb(tmp_path: Path) -> None:
    lazy = digital_number(SafeProduct.open(zip_safe(make_product(tmp_path))), "VV", rows_per_block=10)
    wrong = []

    def read() -> None:
        if (lazy.values != image()).any():
            wrong.append(1)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("size", [(LINES - 1, SAMPLES), (LINES, SAMPLES + 1)])
def test_another_size_than_annotated_is_refused_before_any_work(size: tuple[int, int], tmp_path: Path) -> None:
    path = make_product(tmp_path)
    rewrite(path, np.ones(size, np.uint16))
    with pytest.raises(UnreadableInput, match=rf"has {size[0]} x {size[1]} pixels where the annotation says"):
        digital_number(SafeProduct.open(path), "VV")


@pytest.mark.parametrize("profile", [{"dtype": "float32"}, {"count": 2}])
def test_other_rasters_are_refused(profile: dict[str, object], tmp_path: Path) -> None:
    path = make_product(tmp_path)
    rewrite(path, image().astype(profile.get("dtype", "uint16")), **profile)
    with pytest.raises(UnreadableInput, match="where a GRD image is one of uint16"):
        digital_number(SafeProduct.open(path), "VV")


def test_other_formats_under_the_name_of_a_tiff_are_refused(tmp_path: Path) -> None:
    """A VRT could make GDAL read any file of this machine."""
    path = make_product(tmp_path)
    (measurement,) = path.glob("measurement/*.tiff")
    real = measurement.rename(tmp_path / "real.tiff")
    rasterio.shutil.copy(real, measurement, driver="VRT")
    with pytest.raises(UnreadableInput, match="is not a readable TIFF"):
        digital_number(SafeProduct.open(path), "VV")


@pytest.mark.parametrize("keep", [0, 6, 0.5, 0.999])
@pytest.mark.parametrize("zipped", [False, True])
def test_truncated_images(keep: float, zipped: bool, tmp_path: Path) -> None:
    path = make_product(tmp_path)
    (measurement,) = path.glob("measurement/*.tiff")
    content = measurement.read_bytes()
    measurement.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    product = SafeProduct.open(zip_safe(path) if zipped else path)
    with pytest.raises(UnreadableInput, match="truncated") as caught:
        digital_number(product, "VV").compute()
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_polarisation_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose from VV"):
        digital_number(SafeProduct.open(make_product(tmp_path)), "HH")
