"""SAR-JointNet as a labeller of real images: what its soft labels are worth where the truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.datasets import LabelledImages
from models.jointnet.diffusion import Balanced, Predict, sample
from models.jointnet.pairs import class_indices, to_unit


def given_image(predict: Predict, x_0: Tensor) -> Predict:
    """Predict as before, but with the image known: Algorithm 2 then leads it along its own noisy versions to itself.

    x_0 (B, 1, H, W). A DDIM step from x_t with the true x_0 gives alpha x_0 + sigma epsilon with the noise it began
    with, so that the labels are drawn as they are beside a generated image.
    """

    def predict_labels(x_t: Tensor, y_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return x_0, predict(x_t, y_t, t)[1]

    return predict_labels


def labelled(
    predict: Predict,
    images: LabelledImages,
    balanced: Balanced,
    *,
    solver: str,
    steps: int,
    batch: int = 16,
    seed: int = 0,
    device: torch.device | None = None,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Yield the logits (C, H, W) that the model gives each image, and its labels (H, W) as class indices.

    Images of one size after each other are labelled together, `batch` at most.
    """
    for first in range(0, len(images), batch):
        some = [(i, *images.grey(i)) for i in range(first, min(first + batch, len(images)))]
        for _, alike in groupby(some, key=lambda one: one[1].shape):
            indices, greys, labels = zip(*alike, strict=True)
            logits = _logits(predict, greys, indices, len(images.classes), balanced, solver, steps, seed, device)
            yield from zip(logits, map(class_indices, labels), strict=True)


def _logits(
    predict: Predict,
    greys: tuple[NDArray[np.uint8], ...],
    indices: tuple[int, ...],
    classes: int,
    balanced: Balanced,
    solver: str,
    steps: int,
    seed: int,
    device: torch.device | None,
) -> NDArray[np.float32]:
    """Label images (H, W) of one size, each from noise of its index; (n, C, H, W)."""
    x_0 = torch.from_numpy(np.stack([to_unit(grey) for grey in greys]))[:, None].to(device)
    noise = [np.random.default_rng((seed, i)) for i in indices]
    epsilon_x, epsilon_y = (
        torch.from_numpy(np.stack([rng.standard_normal((channels, *x_0.shape[-2:]), np.float32) for rng in noise]))
        for channels in (1, classes)
    )
    start = epsilon_x.to(device), epsilon_y.to(device)
    logits: NDArray[np.float32] = sample(given_image(predict, x_0), start, balanced, solver, steps)[1].cpu().numpy()
    return logits
