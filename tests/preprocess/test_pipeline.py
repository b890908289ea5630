import pickle
from dataclasses import replace
from pathlib import Path

import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ingest.errors import UnreadableInput, UsageError
from ingest.safe.metadata import ThermalNoise
from ingest.safe.product import SafeProduct
from ingest.safe_writing.image_metadata import grd_metadata
from ingest.safe_writing.writer import write_safe
from preprocess.grid import looks_for
from preprocess.options import PreprocessOptions
from preprocess.pipeline import calibrated_scene, multilook, noise_floor, sigma_nought

LINES, SAMPLES = 141, 118


def numbers(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.sqrt(rng.exponential(20_000.0, (LINES, SAMPLES))).astype(np.uint16)
    image[:, :9] = 0
    image[60:64] = 0
    return image


def make_product(folder: Path, polarisations: tuple[str, ...] = ("VV", "VH"), edit=None, **options) -> SafeProduct:
    images = {}
    for index, polarisation in enumerate(polarisations):
        metadata = grd_metadata(polarisation, LINES, SAMPLES, **options)
        images[polarisation] = (numbers(index), metadata if edit is None else edit(metadata))
    return SafeProduct.open(write_safe(folder, None, images))


def reckoned(product: SafeProduct, polarisation: str, image: np.ndarray, denoise: bool = True) -> np.ndarray:
    """Sigma nought by the definition, pixel by pixel in float64."""
    noise, gain = tables(product, polarisation)
    power = np.maximum(image.astype(np.float64) ** 2 - (noise if denoise else 0.0), 0.0) / gain**2
    return np.where(image == 0, np.nan, power)


def tables(product: SafeProduct, polarisation: str) -> tuple[np.ndarray, np.ndarray]:
    """Noise in DN^2 and calibration table at every pixel, in float64."""
    metadata = product.image(polarisation)
    line, pixel = np.arange(LINES), np.arange(SAMPLES)

    def bilinear(vectors, values) -> np.ndarray:
        along = np.array([np.interp(pixel, vector.pixel, value) for vector, value in zip(vectors, values, strict=True)])
        lines = [vector.line for vector in vectors]
        return np.array([np.interp(line, lines, column) for column in along.T]).T

    gain = bilinear(metadata.calibration, [vector.sigma_nought for vector in metadata.calibration])
    noise = bilinear(metadata.noise.range_vectors, [vector.noise for vector in metadata.noise.range_vectors])
    for block in metadata.noise.azimuth_blocks:
        rows = slice(block.first_line, block.last_line + 1)
        factor = np.interp(line[rows], block.line, block.noise)
        noise[rows, block.first_pixel : block.last_pixel + 1] *= factor[:, None]
    return noise, gain


def averaged(power: np.ndarray, looks: tuple[int, int]) -> np.ndarray:
    """Multilooking by the definition, cell by cell."""
    shape = tuple(-(-size // look) for size, look in zip(power.shape, looks, strict=True))
    result = np.full(shape, np.nan)
    for i, j in np.ndindex(shape):
        cell = power[i * looks[0] : (i + 1) * looks[0], j * looks[1] : (j + 1) * looks[1]]
        valid = cell[~np.isnan(cell)]
        if 2 * valid.size >= cell.size:
            result[i, j] = valid.mean()
    return result


@pytest.mark.parametrize("denoise", [True, False])
@pytest.mark.parametrize("looks", [(1, 1), (4, 4), (3, 5), (25, 2), (200, 300)])
def test_sigma_nought_follows_the_definition(looks: tuple[int, int], denoise: bool, tmp_path: Path) -> None:
    product = make_product(tmp_path)
    result = sigma_nought(product, "VH", denoise=denoise, looks=looks, rows_per_block=32)
    expected = averaged(reckoned(product, "VH", numbers(1), denoise), looks)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result.values, expected, rtol=2e-6, atol=1e-8)
    i, j = np.arange(result.shape[0]), np.arange(result.shape[1])
    np.testing.assert_allclose(result.line, i * looks[0] + (looks[0] - 1) / 2)
    np.testing.assert_allclose(result.pixel, j * looks[1] + (looks[1] - 1) / 2)


@given(
    power=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=17),
        elements=st.one_of(st.just(float("nan")), st.floats(0, 8, width=32)),
    ),
    looks=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
def test_multilook_follows_the_definition(power: np.ndarray, looks: tuple[int, int]) -> None:
    before = power.copy()
    np.testing.assert_allclose(multilook(power, looks), averaged(power, looks), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(power, before)


def test_mean_power_is_kept_where_all_is_valid() -> None:
    power = np.random.default_rng(0).exponential(0.01, (120, 120)).astype(np.float32)
    assert multilook(power, (4, 3)).mean() == pytest.approx(power.mean(), rel=1e-5)


@pytest.mark.parametrize("rows_per_block", [1, 7, 16, 64, 10_000])
def test_bands_leave_no_seam(rows_per_block: int, tmp_path: Path) -> None:
    product = make_product(tmp_path, ("VV",))
    whole = sigma_nought(product, "VV", looks=(4, 4)).values
    with dask.config.set(scheduler="threads", num_workers=3):
        cut = sigma_nought(product, "VV", looks=(4, 4), rows_per_block=rows_per_block).values
    np.testing.assert_allclose(cut, whole, rtol=1e-6)


def test_some_rows_only_read_those(tmp_path: Path) -> None:
    product = make_product(tmp_path, ("VV",))
    lazy = sigma_nought(product, "VV", rows_per_block=16)
    (measurement,) = (product.path / "measurement").iterdir()
    expected = reckoned(product, "VV", numbers())[20:30]
    # Of a file that has lost its second half, the first rows can still be had.
    content = measurement.read_bytes()
    measurement.write_bytes(content[: len(content) // 2])
    np.testing.assert_allclose(lazy.isel(line=slice(20, 30)).values, expected, rtol=2e-6, atol=1e-8)
    with pytest.raises(UnreadableInput, match="truncated"):
        lazy.compute()


def test_calibrated_scene_of_two_polarisations(tmp_path: Path) -> None:
    product = make_product(tmp_path)
    options = PreprocessOptions(polarisations=("VV", "VH"), pixel_spacing=40.0)
    calibrated = calibrated_scene(product, options)
    assert calibrated.grid.looks == (4, 4)
    assert calibrated.scene is product.scene
    assert calibrated.flags == ()
    assert calibrated.sigma_nought.dims == ("polarisation", "line", "pixel")
    assert calibrated.sigma_nought.polarisation.values.tolist() == ["VV", "VH"]
    assert calibrated.sigma_nought.attrs["units"] == "m2 m-2"
    assert dask.is_dask_collection(calibrated.sigma_nought)
    for index, polarisation in enumerate(("VV", "VH")):
        expected = averaged(reckoned(product, polarisation, numbers(index)), (4, 4))
        np.testing.assert_allclose(calibrated.sigma_nought.values[index], expected, rtol=2e-6)
    corner = calibrated.grid.geolocation.lonlat(0.0, 0.0)
    grid = product.image("VV").annotation.geolocation_grid
    assert corner[0] == pytest.approx(grid.longitude[0, 0], abs=1e-4)
    assert corner[1] == pytest.approx(grid.latitude[0, 0], abs=1e-4)


@pytest.mark.parametrize(
    ("spacing", "native", "looks"), [(40.0, 10.0, 4), (80.0, 10.0, 8), (40.0, 40.0, 1), (40.0, 25.0, 2), (5.0, 10.0, 1)]
)
def test_looks_follow_the_spacing(spacing: float, native: float, looks: int, tmp_path: Path) -> None:
    product = make_product(tmp_path, ("VV",), spacing=native)
    assert calibrated_scene(product, PreprocessOptions(pixel_spacing=spacing)).grid.looks == (looks, looks)


def test_looks_stay_within_the_image(tmp_path: Path) -> None:
    product = make_product(tmp_path)
    annotation = product.image("VV").annotation
    assert looks_for(annotation, 1e12) == (LINES, SAMPLES)
    assert sigma_nought(product, "VV", looks=looks_for(annotation, 1e12)).values.shape == (1, 1)
    for spacing in (0.0, -5.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="is not a length"):
            looks_for(annotation, spacing)


def test_polarisations_of_the_same_role_stand_in(tmp_path: Path) -> None:
    product = make_product(tmp_path, ("HH", "HV"), mode="EW")
    calibrated = calibrated_scene(product, PreprocessOptions())
    assert calibrated.sigma_nought.polarisation.values.tolist() == ["HH"]
    assert calibrated.flags == ("VV is not in the product, HH used in its place",)
    both = calibrated_scene(product, PreprocessOptions(polarisations=("VV", "VH")))
    assert both.sigma_nought.polarisation.values.tolist() == ["HH", "HV"]


def test_polarisations_that_cannot_be_had(tmp_path: Path) -> None:
    product = make_product(tmp_path, ("VV",))
    with pytest.raises(UsageError, match="has no polarisation VH; choose from VV"):
        calibrated_scene(product, PreprocessOptions(polarisations=("VV", "VH")))
    with pytest.raises(UsageError, match="has no polarisation HH; choose from VV"):
        calibrated_scene(product, PreprocessOptions(), polarisation="HH")
    with pytest.raises(UsageError, match="only VV is selected, the model needs VV and VH; omit the polarisation"):
        calibrated_scene(product, PreprocessOptions(polarisations=("VV", "VH")), polarisation="VV")


def test_a_polarisation_that_the_model_was_trained_on_is_taken(tmp_path: Path) -> None:
    calibrated = calibrated_scene(make_product(tmp_path), PreprocessOptions(), polarisation="VV")
    assert calibrated.sigma_nought.polarisation.values.tolist() == ["VV"]
    assert calibrated.flags == ()


@pytest.mark.parametrize(("trained", "asked"), [("VV", "VH"), ("VH", "VV"), ("VV", "HV")])
def test_any_other_polarisation_is_refused_unless_forced(trained: str, asked: str, tmp_path: Path) -> None:
    product = make_product(tmp_path, ("VV", "VH") if asked[0] == "V" else ("HH", "HV"))
    options = PreprocessOptions(polarisations=(trained,))
    with pytest.raises(
        UsageError, match=f"{asked} is selected, the model was trained on {trained} .*; omit .* --force-polarisation"
    ):
        calibrated_scene(product, options, asked)
    forced = calibrated_scene(product, options, asked, force=True)
    assert forced.sigma_nought.polarisation.values.tolist() == [asked]
    assert forced.flags == (f"{asked} used as asked, the model was trained on {trained}",)


def test_the_polarisation_of_the_same_role_is_taken_with_a_flag(tmp_path: Path) -> None:
    calibrated = calibrated_scene(make_product(tmp_path, ("HH", "HV")), PreprocessOptions(), "HH")
    assert calibrated.sigma_nought.polarisation.values.tolist() == ["HH"]
    assert calibrated.flags == ("HH used as asked, the model was trained on VV",)


def test_what_the_noise_lacks_is_flagged(tmp_path: Path) -> None:
    def silent(metadata):
        vectors = tuple(replace(v, noise=np.zeros_like(v.noise)) for v in metadata.noise.range_vectors)
        return replace(metadata, noise=ThermalNoise(vectors, ()))

    def shortened(metadata):
        blocks = tuple(replace(block, first_line=14) for block in metadata.noise.azimuth_blocks)
        return replace(metadata, noise=ThermalNoise(metadata.noise.range_vectors, blocks))

    product = make_product(tmp_path / "silent", edit=silent)
    calibrated = calibrated_scene(product, PreprocessOptions())
    assert calibrated.flags == ("VV: thermal-noise table is all zero, nothing removed",)
    assert sigma_nought(product, "VH").attrs["flags"] == ("thermal-noise table is all zero, nothing removed",)
    assert sigma_nought(product, "VH", denoise=False).attrs["flags"] == ()
    assert np.isnan(calibrated.noise_floor.values).all()
    plain = calibrated_scene(product, PreprocessOptions(denoise=False))
    assert plain.flags == ()
    np.testing.assert_array_equal(calibrated.sigma_nought.values, plain.sigma_nought.values)
    product = make_product(tmp_path / "short", edit=shortened)
    (flag,) = calibrated_scene(product, PreprocessOptions()).flags
    assert flag.startswith("VV: azimuth noise does not cover 9.93% of the image")


@pytest.mark.parametrize("looks", [(3, 5), (4, 4)])
def test_the_noise_floor_is_that_of_the_pixels_at_the_cells_centres(looks, tmp_path: Path) -> None:
    product = make_product(tmp_path)
    noise, gain = tables(product, "VH")
    floor = noise_floor(product, "VH", looks)
    line = np.minimum(np.round(floor.line.values).astype(int), LINES - 1)
    pixel = np.minimum(np.round(floor.pixel.values).astype(int), SAMPLES - 1)
    expected = (noise / gain**2)[np.ix_(line, pixel)]
    # An even number of looks has its centre between two pixels, 0.2 % apart where the noise of a sub-swath begins.
    np.testing.assert_allclose(floor.values, expected, rtol=1e-6 if looks[0] % 2 else 5e-2)
    assert np.median(np.abs(floor.values / expected - 1)) < 5e-3
    np.testing.assert_array_equal(floor[3:9].values, floor.values[3:9])
    scene = calibrated_scene(product, PreprocessOptions(polarisations=("VV", "VH"), denoise=False))
    np.testing.assert_array_equal(
        scene.noise_floor.sel(polarisation="VH"), noise_floor(product, "VH", scene.grid.looks)
    )


def test_the_graph_is_light_and_travels(tmp_path: Path) -> None:
    lazy = calibrated_scene(make_product(tmp_path), PreprocessOptions()).sigma_nought
    content = pickle.dumps(lazy)
    assert len(content) < 200_000
    np.testing.assert_array_equal(pickle.loads(content).values, lazy.values)


def test_polarisations_of_different_size(tmp_path: Path) -> None:
    product = make_product(tmp_path)
    longer = {"VH": (np.ones((LINES + 40, SAMPLES), np.uint16), grd_metadata("VH", LINES + 40, SAMPLES))}
    other = write_safe(tmp_path / "longer", None, longer)
    for pattern in ("annotation/*-vh-*", "measurement/*-vh-*"):
        (old,), (new,) = product.path.glob(pattern), other.glob(pattern)
        new.replace(old)
    with pytest.raises(UnreadableInput, match="differ in size"):
        calibrated_scene(product, PreprocessOptions(polarisations=("VV", "VH")))
