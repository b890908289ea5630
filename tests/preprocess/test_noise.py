import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.safe.metadata import ImageMetadata, NoiseAzimuthBlock, NoiseRangeVector, ThermalNoise
from ingest.safe.product import SafeProduct
from ingest.safe_writing.image_metadata import grd_metadata
from ingest.safe_writing.writer import write_safe
from preprocess.noise import noise_flags, noise_table, removable_noise
from preprocess.pipeline import sigma_nought
from tests.support.safe_products import sea

CASES = Path(__file__).parents[3] / "shared" / "data" / "cases"
TIME = datetime(2024, 6, 1, tzinfo=UTC)
LINES, SAMPLES = 40, 30


def vector(line: int, *noise: float) -> NoiseRangeVector:
    pixel = np.linspace(0, SAMPLES - 1, len(noise)).round().astype(np.int64)
    return NoiseRangeVector(TIME, line, pixel, np.array(noise))


def block(lines: tuple[int, int], pixels: tuple[int, int], line: list[int], noise: list[float]) -> NoiseAzimuthBlock:
    return NoiseAzimuthBlock("IW1", *lines, *pixels, np.array(line, np.int64), np.array(noise, np.float64))


def evaluate(noise: ThermalNoise, start: int = 0, stop: int = LINES) -> np.ndarray:
    table = noise_table(noise)
    assert table is not None
    return table.band(start, stop, SAMPLES).at(np.arange(start, stop))


def test_old_schema_is_the_range_table_alone() -> None:
    noise = ThermalNoise((vector(0, 100.0, 200.0), vector(39, 300.0, 400.0)), ())
    values = evaluate(noise)
    assert values[0, 0] == 100.0
    assert values[-1, -1] == 400.0
    assert values[13, 0] == pytest.approx(100 + 200 * 13 / 39)
    assert noise_flags(noise, LINES, SAMPLES) == ()


def test_azimuth_factors_by_sub_swath() -> None:
    """Linear between a block's lines, constant beyond them, unsorted lines allowed."""
    noise = ThermalNoise(
        (vector(0, 100.0, 100.0),),
        (block((0, 39), (0, 9), [30, 10], [3.0, 1.0]), block((0, 39), (10, 29), [0], [2.0])),
    )
    values = evaluate(noise)
    np.testing.assert_allclose(values[[0, 10, 20, 30, 39], 9], [100, 100, 200, 300, 300])
    assert (values[:, 10:] == 200).all()
    assert noise_flags(noise, LINES, SAMPLES) == ()


def test_what_no_block_covers_keeps_the_range_noise_and_is_flagged() -> None:
    noise = ThermalNoise((vector(0, 100.0, 100.0),), (block((4, 100), (-5, 14), [0, 39], [2.0, 2.0]),))
    values = evaluate(noise)
    assert (values[4:, :15] == 200).all()
    assert (values[:4] == 100).all()
    assert (values[:, 15:] == 100).all()
    (flag,) = noise_flags(noise, LINES, SAMPLES)
    assert "55.00%" in flag
    assert "factor 1" in flag


def test_blocks_that_overlap_do_not_multiply() -> None:
    blocks = (block((0, 20), (0, 29), [0], [2.0]), block((20, 39), (0, 29), [0], [3.0]))
    noise = ThermalNoise((vector(0, 100.0, 100.0),), blocks)
    values = evaluate(noise)
    assert (values[:20] == 200).all()
    assert (values[20:] == 300).all()
    assert noise_flags(noise, LINES, SAMPLES) == ()


def test_all_zero_and_absent_tables_are_flagged() -> None:
    zero = ThermalNoise((vector(0, 0.0, 0.0), vector(39, 0.0, 0.0)), ())
    assert noise_table(zero) is None
    assert noise_flags(zero, LINES, SAMPLES) == ("thermal-noise table is all zero, nothing removed",)
    absent = ThermalNoise((), ())
    assert noise_table(absent) is None
    assert noise_flags(absent, LINES, SAMPLES) == ("there is no thermal-noise table, nothing removed",)


def test_negative_noise_is_none() -> None:
    values = evaluate(ThermalNoise((vector(0, -50.0, 100.0),), ()))
    assert values.min() == 0.0
    assert values[0, -1] == 100.0


def in_units(image: ImageMetadata, factor: float) -> ImageMetadata:
    """An image whose noise table is in units of `factor` DN^2."""
    vectors = tuple(replace(each, noise=each.noise / factor) for each in image.noise.range_vectors)
    return replace(image, noise=replace(image.noise, range_vectors=vectors))


@pytest.mark.parametrize(
    ("mode", "ipf", "factor"),
    [
        ("IW", 2.36, 75088.7 * 474.0**2),
        ("IW", 2.20, 75088.7 * 474.0),
        ("IW", 2.34, 75088.7 * 474.0**2),
        ("EW", 2.43, 56065.87 * 474.0**2),
        ("IW", 2.50, 75088.7 * 474.0**2),
        ("IW", 2.45, 1.0),
        ("IW", 2.50, 1.0),
        ("IW", 2.53, 1.0),
        ("SM", 2.53, 1.0),
        ("IW", None, 1.0),
    ],
)
def test_tables_in_the_units_of_old_versions_are_scaled(mode: str, ipf: float | None, factor: float) -> None:
    image = grd_metadata("VV", LINES, SAMPLES, mode=mode, noise_schema="vector")
    right = noise_table(image.noise).band(0, LINES, SAMPLES).at(np.arange(LINES))
    table, flags = removable_noise(in_units(image, factor), ipf)
    np.testing.assert_allclose(table.band(0, LINES, SAMPLES).at(np.arange(LINES)), right, rtol=1e-5)
    assert flags == ((f"thermal noise scaled from the units of IPF {ipf:.2f}",) if factor > 1 else ())


@pytest.mark.parametrize(
    ("mode", "ipf", "factor", "level"),
    [("SM", 2.36, 75088.7 * 474.0**2, -127), ("IW", 2.72, 1e6, -85), ("IW", None, 1e-5, 25), ("IW", 3.71, 1e-5, 25)],
)
def test_a_table_that_is_no_thermal_noise_is_flagged_and_left_out(
    mode: str, ipf: float | None, factor: float, level: int
) -> None:
    schema = "azimuth" if ipf == 3.71 else "vector"
    image = in_units(grd_metadata("VV", LINES, SAMPLES, mode=mode, noise_schema=schema), factor)
    table, (flag,) = removable_noise(image, ipf)
    assert table is None
    assert flag == f"thermal-noise table means {level} dB, which no thermal noise has, nothing removed"


def test_the_sea_of_a_product_in_old_units_is_as_dark_as_that_of_any_other(tmp_path: Path) -> None:
    image = grd_metadata("VV", 100, 120, noise_schema="vector")
    number = sea(image, level_db=-25.0)
    old = in_units(image, 75088.7 * 474.0**2)

    def product(name: str, metadata: ImageMetadata, ipf: str) -> SafeProduct:
        images = {"VV": (number, metadata)}
        return SafeProduct.open(write_safe(tmp_path / name, None, images, noise_schema="vector", ipf_version=ipf))

    result = sigma_nought(product("old", old, "002.36"), "VV")
    np.testing.assert_allclose(result, sigma_nought(product("new", image, "002.72"), "VV"), rtol=1e-3, atol=1e-6)
    assert result.attrs["flags"] == ("thermal noise scaled from the units of IPF 2.36",)


def test_noise_that_the_processor_removed_is_not_removed_again(tmp_path: Path) -> None:
    """A sea at the level of the noise: with the noise taken off twice most of it would be 0."""
    image = grd_metadata("VV", 100, 120)
    silent = replace(image, noise=ThermalNoise((vector(0, 0.0, 0.0),), ()))
    number = sea(silent, level_db=-25.0)
    removed = replace(image, annotation=replace(image.annotation, noise_removed=True))
    product = SafeProduct.open(write_safe(tmp_path, None, {"VV": (number, removed)}))
    assert product.image("VV").annotation.noise_removed
    found = sigma_nought(product, "VV")
    assert found.attrs["flags"] == ("thermal noise was removed by the processor, not removed again",)
    assert 10 * np.log10(float(found.mean())) == pytest.approx(-25.0, abs=0.3)
    assert float((found == 0).mean()) < 0.01


@pytest.mark.skipif(not CASES.is_dir(), reason="no cases at ../shared/data/cases")
def test_the_case_at_hand_has_the_noise_of_the_real_product(tmp_path: Path) -> None:
    script = CASES / "05-noise-units-before-ipf-250" / "make.py"
    subprocess.run([sys.executable, str(script), str(tmp_path / "old.SAFE")], check=True)
    (real,) = (tmp_path / "real").iterdir()
    noises = {}
    for path, expected in ((tmp_path / "old.SAFE", ("thermal noise scaled from the units of IPF 2.36",)), (real, ())):
        product = SafeProduct.open(path)
        table, flags = removable_noise(product.image("VV"), product.ipf_version)
        assert flags == expected
        noises[path] = table.band(0, 50, 25_560).at(np.arange(50))
    np.testing.assert_allclose(*noises.values(), rtol=1e-5)


@given(
    blocks=st.lists(
        st.tuples(st.integers(-5, 45), st.integers(-5, 45), st.integers(-5, 35), st.integers(-5, 35), st.floats(1, 2)),
        max_size=6,
    ),
    cut=st.integers(1, LINES - 1),
)
def test_bands_agree_with_the_whole_and_with_a_pixelwise_reckoning(blocks, cut) -> None:
    made = [block((min(a, b), max(a, b)), (min(c, d), max(c, d)), [0, 39], [f, f + 1]) for a, b, c, d, f in blocks]
    noise = ThermalNoise((vector(-3, 100.0, 150.0, 50.0), vector(17, 80.0, 90.0), vector(50, 60.0, 70.0)), tuple(made))
    whole = evaluate(noise)
    parts = np.concatenate([evaluate(noise, 0, cut), evaluate(noise, cut, LINES)])
    np.testing.assert_allclose(parts, whole, rtol=1e-6)
    factor, covered = np.ones((LINES, SAMPLES)), np.zeros((LINES, SAMPLES), bool)
    for one in made:
        for line in range(max(one.first_line, 0), min(one.last_line, LINES - 1) + 1):
            inside = slice(max(one.first_pixel, 0), max(one.last_pixel + 1, 0))
            factor[line, inside] = np.interp(line, one.line, one.noise)
            covered[line, inside] = True
    plain = evaluate(ThermalNoise(noise.range_vectors, ()))
    np.testing.assert_allclose(whole, plain * factor, rtol=1e-6)
    flags = noise_flags(noise, LINES, SAMPLES)
    assert bool(flags) == (bool(made) and not covered.all())
    if flags:
        assert f"{1 - covered.mean():.2%}" in flags[0]
