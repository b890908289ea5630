"""Images larger than the training's: windows cover everything, agree where they overlap, and show no edges."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import UsageError
from models.jointnet.diffusion import Balanced, sample
from models.jointnet.overlapped import _corners, of_any_size, overlapped, require_shape
from preprocess.tiles import Tiling


@given(st.integers(8, 90), st.integers(8, 90), st.integers(0, 999))
def test_windows_cover_every_pixel_and_share_some_with_their_neighbours(lines, pixels, t):
    tiling, covered = Tiling(8, 4), np.zeros((lines, pixels), int)
    corners = _corners(tiling, (lines, pixels), t)
    for line, pixel in corners:
        assert 0 <= line <= lines - 8
        assert 0 <= pixel <= pixels - 8
        covered[line : line + 8, pixel : pixel + 8] += 1
    assert covered.min() >= 1
    starts = sorted({line for line, _ in corners})
    assert all(second - first < 8 for first, second in pairwise(starts))


def by_pixel(x_t, y_t, t):
    """A prediction that looks at nothing but its own pixel."""
    return 0.5 * x_t + t.view(-1, 1, 1, 1) / 1000, y_t - x_t


@settings(deadline=None, max_examples=20)
@given(st.integers(16, 40), st.integers(16, 40))
def test_what_windows_agree_on_is_left_as_it_is(lines, pixels):
    torch.manual_seed(0)
    x_t, y_t, t = torch.randn(2, 1, lines, pixels), torch.randn(2, 2, lines, pixels), torch.tensor([7, 7])
    for one, other in zip(overlapped(by_pixel, 16)(x_t, y_t, t), by_pixel(x_t, y_t, t), strict=True):
        torch.testing.assert_close(one, other)


def test_where_windows_disagree_there_is_no_step_at_their_edges():
    """Each window predicts a level of its own: the worst case. The blend is smooth, a mosaic of the same is not."""
    calls = iter(range(10_000))

    def levels(x_t, y_t, t):
        level = torch.tensor([float(next(calls) % 2) for _ in range(len(x_t))]).view(-1, 1, 1, 1)
        return level.expand_as(x_t), level.expand_as(y_t)

    shape = (1, 1, 96, 96)
    x_hat, y_hat = overlapped(levels, 32)(torch.zeros(shape), torch.zeros(shape), torch.tensor([3]))
    for predicted in (x_hat, y_hat):
        steps = max(float(predicted.diff(dim=dim).abs().max()) for dim in (2, 3))
        assert steps < 0.25  # a mosaic's would be 1
        assert predicted.amax() > 0.9
        assert predicted.amin() < 0.1


def test_windows_lie_elsewhere_at_other_steps_and_the_same_at_the_same():
    tiling = Tiling(32, 16)
    places = [_corners(tiling, (96, 96), t) for t in (999, 994, 989, 999)]
    assert places[0] == places[3]
    assert len({tuple(one) for one in places}) == 3


def test_a_large_image_is_denoised_as_one():
    torch.manual_seed(1)
    noise = torch.randn(1, 1, 40, 56), torch.randn(1, 2, 40, 56)
    whole = sample(lambda *z: (0.5 * z[0], z[1]), noise, Balanced(0.5), "ddim", 10)
    windows = sample(overlapped(lambda *z: (0.5 * z[0], z[1]), 16), noise, Balanced(0.5), "ddim", 10)
    for one, other in zip(whole, windows, strict=True):
        assert one.shape[-2:] == (40, 56)
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("shape", "seen"),
    [
        ((16, 16), {(16, 16)}),
        ((8, 12), {(8, 12)}),
        ((8, 40), {(8, 40)}),
        ((17, 16), {(16, 16)}),
        ((50, 23), {(16, 16)}),
    ],
)
def test_the_network_sees_whole_images_or_windows_of_its_own_size_so_many_at_once(shape, seen):
    calls = []

    def predict(x_t, y_t, t):
        calls.append((tuple(x_t.shape[-2:]), len(x_t)))
        return by_pixel(x_t, y_t, t)

    x_t, y_t, t = torch.randn(3, 1, *shape), torch.randn(3, 2, *shape), torch.full((3,), 4)
    predicted = of_any_size(predict, 16, together=5)(x_t, y_t, t)
    for one, other in zip(predicted, by_pixel(x_t, y_t, t), strict=True):
        torch.testing.assert_close(one, other)
    assert {size for size, _ in calls} == seen
    assert max(n for _, n in calls) <= 5


def test_shapes_that_a_network_cannot_see_are_one_line():
    for shape in ((16, 16), (17, 16), (12, 8), (12, 400)):
        require_shape("size", shape, 16, 4)
    for shape in ((10, 16), (12, 17), (0, 0), (-4, -4)):
        with pytest.raises(UsageError, match=f"{shape[0]} x {shape[1]} pixels"):
            require_shape("size", shape, 16, 4)
