"""SAR-JointNet as a labeller of real images: what its soft labels are worth where the truth is known."""

from __future__ import annotations

from collections.abc import Iterator

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

    All images must be of one size.
    """
    for first in range(0, len(images), batch):
        indices = range(first, min(first + batch, len(images)))
        pairs = [images.grey(i) for i in indices]
        x_0 = torch.from_numpy(np.stack([to_unit(grey) for grey, _ in pairs]))[:, None].to(device)
        noise = [np.random.default_rng((seed, i)) for i in indices]
        shape = x_0.shape[-2:]
        epsilon_x = np.stack([rng.standard_normal((1, *shape), np.float32) for rng in noise])
        epsilon_y = np.stack([rng.standard_normal((len(images.classes), *shape), np.float32) for rng in noise])
        start = torch.from_numpy(epsilon_x).to(device), torch.from_numpy(epsilon_y).to(device)
        _, logits = sample(given_image(predict, x_0), start, balanced, solver, steps)
        for said, (_, labels) in zip(logits.cpu().numpy(), pairs, strict=True):
            yield said, class_indices(labels)
