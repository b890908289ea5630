from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.safe.metadata import NoiseAzimuthBlock, NoiseRangeVector, ThermalNoise
from preprocess.noise import noise_flags, noise_table

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
