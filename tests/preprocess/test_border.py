from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ingest.safe.product import SafeProduct
from ingest.safe_writing.image_metadata import grd_metadata
from ingest.safe_writing.writer import write_safe
from preprocess.options import PreprocessOptions
from preprocess.pipeline import calibrated_scene, sigma_nought
from tests.support.safe_products import sea, with_border

LINES, SAMPLES = 420, 500
CALM_DB = -60.0  # nothing but thermal noise
Edge = tuple[slice, slice]
EDGES: dict[str, Edge] = {
    "near range": (slice(None), slice(0, 150)),
    "far range": (slice(None), slice(SAMPLES - 70, None)),
    "first lines": (slice(0, 61), slice(None)),
    "last lines": (slice(LINES - 33, None), slice(None)),
    "three pixels": (slice(None), slice(0, 3)),
    "two lines": (slice(0, 2), slice(None)),
    "the first lines of one sub-swath": (slice(0, 90), slice(200, None)),
}


def product(folder: Path, edit: Callable[[np.ndarray], np.ndarray], ipf: str = "002.72", level_db: float = -18.0):
    metadata = grd_metadata("VV", LINES, SAMPLES, noise_schema="vector")
    image = edit(sea(metadata, level_db=level_db))
    return SafeProduct.open(write_safe(folder, None, {"VV": (image, metadata)}, noise_schema="vector", ipf_version=ipf))


@pytest.mark.parametrize("name", EDGES)
def test_low_numbers_along_an_edge_are_no_data(name: str, tmp_path: Path) -> None:
    edge = EDGES[name]
    inside = np.zeros((LINES, SAMPLES), bool)
    inside[edge] = True
    result = sigma_nought(product(tmp_path, lambda image: with_border(image, edge)), "VV", rows_per_block=64)
    missing = np.isnan(result.values)
    assert missing[inside].mean() > 0.999
    assert missing[~inside].mean() < 0.001
    (flag,) = result.attrs["flags"]
    width = min(np.ptp(np.nonzero(inside)[axis]) + 1 for axis in (0, 1))
    assert flag == f"border noise, up to {width} pixels wide, taken as no data"


def test_all_edges_at_once_with_zeros_outside(tmp_path: Path) -> None:
    def edit(image: np.ndarray) -> np.ndarray:
        for name in ("near range", "far range", "first lines", "last lines"):
            image = with_border(image, EDGES[name])
        image[:20], image[:, :30] = 0, 0
        return image

    scene = calibrated_scene(product(tmp_path, edit), PreprocessOptions(pixel_spacing=40.0))
    valid = ~np.isnan(scene.sigma_nought.values[0])
    rows, columns = np.nonzero(valid)
    assert (rows.min(), columns.min()) == (15, 37)
    assert valid[16:96, 38:107].all()
    assert not valid[97:].any()
    assert not valid[:, 108:].any()
    (flag,) = scene.flags
    assert flag == "VV: border noise, up to 150 pixels wide, taken as no data"


def test_a_bright_point_in_the_border_does_not_end_it(tmp_path: Path) -> None:
    def edit(image: np.ndarray) -> np.ndarray:
        image = with_border(image, EDGES["near range"])
        image[100:120, 40:48] = 900
        return image

    assert np.isnan(sigma_nought(product(tmp_path, edit), "VV").values[:, :150]).all()


@pytest.mark.parametrize("ipf", ["002.72", "003.71"])
@pytest.mark.parametrize("level_db", [CALM_DB, -26.0])
def test_a_dark_sea_at_the_edge_stays(ipf: str, level_db: float, tmp_path: Path) -> None:
    result = sigma_nought(product(tmp_path, lambda image: image, ipf, level_db), "VV")
    assert result.attrs["flags"] == ()
    assert not np.isnan(result.values).any()


def test_zeros_are_no_border_noise(tmp_path: Path) -> None:
    def edit(image: np.ndarray) -> np.ndarray:
        slanted = np.arange(SAMPLES) < 40 + np.arange(LINES)[:, None] // 7
        return np.where(slanted, 0, image).astype(np.uint16)

    old = product(tmp_path, edit)
    result = sigma_nought(old, "VV")
    assert result.attrs["flags"] == ()
    np.testing.assert_array_equal(np.isnan(result.values), edit(np.ones((LINES, SAMPLES))) == 0)


def test_products_since_2_90_keep_every_number(tmp_path: Path) -> None:
    new = product(tmp_path, lambda image: with_border(image, EDGES["near range"]), ipf="002.90")
    result = sigma_nought(new, "VV")
    assert result.attrs["flags"] == ()
    assert not np.isnan(result.values).any()


def test_without_a_version_the_noise_table_tells_the_age(tmp_path: Path) -> None:
    old = product(tmp_path, lambda image: with_border(image, EDGES["near range"]))
    manifest = old.path / "manifest.safe"
    manifest.write_text(manifest.read_text().replace('name="Sentinel-1 IPF"', 'name="unknown"'))
    unknown = SafeProduct.open(old.path)
    assert unknown.ipf_version is None
    assert np.isnan(sigma_nought(unknown, "VV").values[:, :150]).all()


def test_the_border_is_found_without_a_noise_table_and_without_denoising(tmp_path: Path) -> None:
    old = product(tmp_path, lambda image: with_border(image, EDGES["near range"]))
    (noise,) = (old.path / "annotation" / "calibration").glob("noise-*")
    plain = sigma_nought(old, "VV", denoise=False)
    assert np.isnan(plain.values[:, :150]).all()
    text = noise.read_text()
    head, tail = text.split("<noiseVectorList", 1)
    noise.write_text(head + '<noiseVectorList count="0"/>' + tail.split("</noiseVectorList>", 1)[1])
    result = sigma_nought(SafeProduct.open(old.path), "VV")
    assert np.isnan(result.values[:, :150]).all()
    assert result.attrs["flags"][0] == "there is no thermal-noise table, nothing removed"


@pytest.mark.parametrize("rows_per_block", [8, 40, 1000])
def test_bands_make_no_difference(rows_per_block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from preprocess import border, pipeline

    def edit(image: np.ndarray) -> np.ndarray:
        return with_border(with_border(image, EDGES["last lines"]), EDGES["the first lines of one sub-swath"])

    old = product(tmp_path, edit)
    whole = np.isnan(sigma_nought(old, "VV").values)
    monkeypatch.setattr(pipeline, "find_border", lambda *one: border.find_border(*one, rows_per_block))
    np.testing.assert_array_equal(np.isnan(sigma_nought(old, "VV", rows_per_block=48).values), whole)
