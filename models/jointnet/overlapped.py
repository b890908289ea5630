"""Images larger than SAR-JointNet was trained on: overlapping windows are denoised together, not set side by side."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ingest.errors import UsageError
from models.jointnet.diffusion import Predict
from preprocess.tiles import Tiling


def of_any_size(predict: Predict, size: int, together: int = 16) -> Predict:
    """Make a prediction for images of any shape that a network can see: whole up to the trained size, else in windows.

    `require_shape` says which shapes those are.
    """
    windows = overlapped(predict, size, together)

    def predict_any(x_t: Tensor, y_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        whole = max(x_t.shape[-2:]) <= size or min(x_t.shape[-2:]) < size
        return predict(x_t, y_t, t) if whole else windows(x_t, y_t, t)

    return predict_any


def require_shape(subject: str, shape: tuple[int, int], size: int, divisor: int) -> None:
    """Raise `UsageError` for a shape below the trained size on one side and of no multiples of `divisor`."""
    if min(shape) < 1 or (min(shape) < size and any(n % divisor for n in shape)):
        problem = f"{shape[0]} x {shape[1]} pixels are not divisible by {divisor}"
        raise UsageError(subject, problem, f"give {size} a side or more, or multiples of {divisor}")


def overlapped(predict: Predict, size: int, together: int = 16) -> Predict:
    """Make a prediction for any larger image out of one for images of (`size`, `size`) pixels.

    At every step each window is predicted as it would be alone; where windows overlap, by a quarter and more, their
    predictions are averaged with weights that fall to their edges, so that all of them go on from one common state
    (Bar-Tal et al. 2023, arXiv 2302.08113, and here of image and logits alike). The windows lie elsewhere at every
    step: no edge stays in one place long enough to show. together: windows that the network sees at once.
    """
    tiling = Tiling(size, size // 2)
    weight = torch.from_numpy(tiling.weight())

    def predict_large(x_t: Tensor, y_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.cat([x_t, y_t], dim=1)
        corners = _corners(tiling, (both.shape[-2], both.shape[-1]), int(t[0]))
        # The outermost sum of weights is small, but never zero.
        total, weights = torch.zeros_like(both), torch.zeros_like(both[:1, :1])
        weight_here = weight.to(both)
        windows = [(i, top, left) for i in range(len(both)) for top, left in corners]
        for first in range(0, len(windows), together):
            some = windows[first : first + together]
            cut = torch.stack([both[i, :, top : top + size, left : left + size] for i, top, left in some])
            x_hat, y_hat = predict(cut[:, :1], cut[:, 1:], t[[i for i, _, _ in some]])
            for (i, top, left), said in zip(some, torch.cat([x_hat, y_hat], dim=1).to(total), strict=True):
                total[i, :, top : top + size, left : left + size] += said * weight_here
        for top, left in corners:
            weights[..., top : top + size, left : left + size] += weight_here
        mean = total / weights
        return mean[:, :1], mean[:, 1:]

    return predict_large


def _corners(tiling: Tiling, shape: tuple[int, int], t: int) -> list[tuple[int, int]]:
    """Upper left corners of windows that cover an image, those inside it moved by a draw of the timestep alone."""
    rng = np.random.default_rng(t)
    lines, pixels = (_moved(tiling.starts(length), length - tiling.size, rng) for length in shape)
    return [(line, pixel) for line in lines for pixel in pixels]


def _moved(starts: list[int], last: int, rng: np.random.Generator) -> list[int]:
    """Move the inner starts by up to a quarter of their distance: between all neighbours an overlap remains."""
    if len(starts) < 3:
        return starts
    reach = (starts[1] - starts[0]) // 4
    inner = [int(np.clip(start + rng.integers(-reach, reach + 1), 0, last)) for start in starts[1:-1]]
    return [starts[0], *inner, starts[-1]]
