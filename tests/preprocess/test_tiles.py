"""Tiles and blending are an inverse pair at every size, and blending leaves no seam."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.tiles import Tiling, blend, blend_rows, split


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 90),
    columns=st.integers(1, 90),
    size=st.integers(4, 40),
    overlap=st.floats(0, 0.5),
    seed=st.integers(0, 9),
)
def test_blending_the_tiles_of_a_raster_gives_the_raster(rows, columns, size, overlap, seed):
    tiling = Tiling(size, int(size * overlap))
    raster = np.random.default_rng(seed).normal(size=(2, rows, columns)).astype(np.float32)
    np.testing.assert_allclose(blend(split(raster, tiling), raster.shape, tiling), raster, rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(length=st.integers(1, 300), size=st.integers(4, 64), overlap=st.floats(0, 0.5))
def test_tiles_cover_every_cell_and_overlap_as_asked(length, size, overlap):
    tiling = Tiling(size, int(size * overlap))
    starts = tiling.starts(length)
    covered = np.zeros(length, int)
    for start in starts:
        assert start >= 0
        covered[start : start + size] += 1
    assert covered.min() >= 1
    assert all(b - a <= size - tiling.overlap for a, b in pairwise(starts))
    assert starts[-1] + size >= length


def test_bands_come_from_top_to_bottom_without_gap():
    tiling = Tiling(16, 4)
    raster = np.random.default_rng(0).normal(size=(1, 53, 41)).astype(np.float32)
    bands = list(blend_rows(split(raster, tiling), raster.shape, tiling))
    assert [row for row, _ in bands] == list(np.cumsum([0] + [band.shape[1] for _, band in bands[:-1]]))
    np.testing.assert_allclose(np.concatenate([band for _, band in bands], axis=1), raster, atol=1e-6)


def test_a_step_between_two_tiles_becomes_a_smooth_ramp():
    tiling = Tiling(64, 32)
    tiles = [(0, 0, np.zeros((1, 64, 64), np.float32)), (0, 32, np.ones((1, 64, 64), np.float32))]
    profile = blend(tiles, (1, 64, 96), tiling)[0, 30]
    assert np.all(np.diff(profile) >= 0)
    assert np.diff(profile).max() < 0.06  # pi / 2 / 32 at the steepest
    assert profile[0] == 0
    assert profile[-1] == 1


def test_skipped_tiles_leave_no_data():
    tiling = Tiling(8, 2)
    raster = np.ones((1, 20, 20), np.float32)
    kept = [(r, c, t) for r, c, t in split(raster, tiling) if c > 0]
    blended = blend(kept, raster.shape, tiling)
    assert np.isnan(blended[0, :, :6]).all()
    assert (blended[0, :, 8:] == 1).all()


def test_whole_rows_of_tiles_may_be_skipped():
    tiling = Tiling(8, 2)
    raster = np.ones((1, 60, 8), np.float32)
    kept = [(r, c, t) for r, c, t in split(raster, tiling) if r in (12, 42)]
    blended = blend(kept, raster.shape, tiling)[0, :, 0]
    assert np.flatnonzero(~np.isnan(blended)).tolist() == [*range(12, 20), *range(42, 50)]
    assert np.isnan(blend([], raster.shape, tiling)).all()
    assert max(band.shape[1] for _, band in blend_rows([], (5, 1000, 8), tiling)) <= tiling.size


def test_an_overlap_beyond_half_a_tile_is_refused():
    with pytest.raises(ValueError, match="overlap"):
        Tiling(64, 40)
