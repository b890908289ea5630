import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.safe.metadata import CalibrationVector
from ingest.safe.product import SafeProduct
from preprocess import pipeline
from preprocess.border import Border, find_border
from preprocess.calibrate import LookUpTable, calibrate, calibration_table
from preprocess.grd import Measurement
from preprocess.noise import NoiseTable
from preprocess.pipeline import sigma_nought

SHARED = Path(__file__).parents[3] / "shared/data/s1"
TIME = datetime(2024, 6, 1, tzinfo=UTC)


def table(*vectors: tuple[int, list[int], list[float]]) -> LookUpTable:
    return LookUpTable.from_vectors(*zip(*vectors, strict=True))


def at(look_up: LookUpTable, lines: range, samples: int) -> np.ndarray:
    return look_up.band(lines.start, lines.stop, samples).at(np.arange(lines.start, lines.stop))


@given(
    coefficients=st.tuples(*[st.floats(-1.0, 1.0)] * 4),
    lines=st.lists(st.integers(-50, 150), min_size=2, max_size=6, unique=True),
    inner=st.lists(st.lists(st.integers(1, 39), max_size=5, unique=True), min_size=6, max_size=6),
    order=st.randoms(use_true_random=False),
)
def test_bilinear_functions_are_reproduced(coefficients, lines, inner, order) -> None:
    """A table sampled from a + b*l + c*p + d*l*p gives it back, whatever its lines, lengths and order."""
    a, b, c, d = coefficients

    def function(line, pixel):
        return 500 + a + b * line / 100 + c * pixel / 40 + d * line / 100 * pixel / 40

    vectors = []
    for line, some in zip(lines, inner, strict=False):
        pixel = np.array([0, *sorted(some), 40])
        vectors.append((line, pixel, function(line, pixel)))
    order.shuffle(vectors)
    start, stop = 0, 100
    line, pixel = np.arange(start, stop)[:, None], np.arange(41)[None, :]
    # Outside of its vectors a table is constant.
    expected = function(np.clip(line, min(lines), max(lines)), pixel)
    np.testing.assert_allclose(at(table(*vectors), range(start, stop), 41), expected, rtol=3e-7)


def test_single_vector_and_pixels_beyond_its_ends() -> None:
    values = at(table((7, [2, 4], [10.0, 20.0])), range(20), 7)
    np.testing.assert_array_equal(values, np.tile([10.0, 10.0, 10.0, 15.0, 20.0, 20.0, 20.0], (20, 1)))


def test_vectors_before_and_behind_the_image() -> None:
    values = at(table((-10, [0, 3], [0.0, 0.0]), (10, [0, 3], [20.0, 20.0])), range(5), 4)
    np.testing.assert_allclose(values[:, 0], [10.0, 11.0, 12.0, 13.0, 14.0])


def test_a_line_given_twice_counts_once() -> None:
    values = at(table((5, [0, 1], [1.0, 1.0]), (0, [0, 1], [3.0, 3.0]), (5, [0, 1], [9.0, 9.0])), range(8), 2)
    np.testing.assert_allclose(values[:, 1], [3.0, 2.6, 2.2, 1.8, 1.4, 1.0, 1.0, 1.0], rtol=1e-6)


def test_a_band_holds_only_what_its_lines_need() -> None:
    look_up = table(*[(line, [0, 9], [float(line)] * 2) for line in range(0, 1000, 100)])
    band = look_up.band(250, 310, 10)
    assert band.line.tolist() == [200, 300, 400]
    assert look_up.band(900, 950, 10).line.tolist() == [900]
    assert look_up.band(-20, -10, 10).line.tolist() == [0]


def test_quantities() -> None:
    def vector(line: int) -> CalibrationVector:
        pixel = np.array([0, 2])
        columns = [np.full(2, value) for value in (500.0, 400.0, 450.0, 1.0)]
        return CalibrationVector(TIME, line, pixel, *columns)

    vectors = [vector(0), vector(10)]
    for quantity, value in (("sigma_nought", 500.0), ("beta_nought", 400.0), ("gamma", 450.0)):
        np.testing.assert_allclose(at(calibration_table(vectors, quantity), range(10), 3), value, rtol=2e-7)


def test_calibrated_power() -> None:
    digital_number = np.array([[0, 1, 10, 65535]], np.uint16)
    a = np.full((1, 4), 100.0, np.float32)
    noise = np.full((1, 4), 4.0, np.float32)
    np.testing.assert_allclose(calibrate(digital_number, a), [[np.nan, 1e-4, 1e-2, 65535.0**2 / 1e4]], rtol=1e-6)
    # Below the noise is dark, not missing; no data is missing, not dark.
    expected = [[np.nan, 0.0, 96e-4, (65535.0**2 - 4) / 1e4]]
    np.testing.assert_allclose(calibrate(digital_number, a, noise), expected, rtol=1e-6)
    assert digital_number.tolist() == [[0, 1, 10, 65535]]


def references() -> list[Path]:
    return sorted((SHARED / "reference").glob("*.npz")) if SHARED.is_dir() else []


@pytest.mark.parametrize("pattern", ["S1A_*_20150203*", "S1A_*_20210119*", "S1B_*_20211223*"])
def test_agrees_with_an_independent_program(pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Full rows of real products as Orfeo ToolBox 8.1.1 calibrates them, at a constant digital number of 300."""
    archives = list((SHARED / "safe").glob(f"{pattern}.SAFE.tar.gz"))
    if not archives or not references():
        pytest.skip(f"real products and references are not at {SHARED}")
    shutil.unpack_archive(archives[0], tmp_path, filter="data")
    product = SafeProduct.open(tmp_path / archives[0].name.removesuffix(".tar.gz"))
    borders: dict[str, Border | None] = {}

    def once(measurement: Measurement, noise: NoiseTable | None) -> Border | None:
        if measurement.path not in borders:
            borders[measurement.path] = find_border(measurement, noise)
        return borders[measurement.path]

    monkeypatch.setattr(pipeline, "find_border", once)
    compared = 0
    for path in references():
        reference = np.load(path)
        if str(reference["product"]) != product.path.name:
            continue
        compared += 1
        rows = slice(int(reference["row0"]), int(reference["row0"] + reference["nrows"]))
        polarisation = str(reference["pol"]).upper()
        # The reference counts from another vector where old noise vectors differ in length.
        denoised_tolerance = 1e-5 if product.image(polarisation).noise.azimuth_blocks else 0.02
        for name, options, tolerance in (
            ("sigma0", {"denoise": False}, 1e-5),
            ("sigma0_denoised", {}, denoised_tolerance),
            ("gamma0", {"denoise": False, "quantity": "gamma"}, 1e-5),
        ):
            ours = sigma_nought(product, polarisation, **options).isel(line=rows).values
            difference_db = 10 * np.log10(ours.astype(np.float64) / reference[name])
            assert np.abs(difference_db).max() <= tolerance, (path.name, name)
    assert compared == 2
