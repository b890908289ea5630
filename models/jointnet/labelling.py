"""SAR-JointNet as a labeller of real images: what its soft labels are worth where the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.datasets.pairs import LabelledImages, class_indices
from models.jointnet.diffusion import Balanced, Predict, as_logits, noised, sample, scaled_labels
from models.jointnet.pairs import to_unit

# Images x_0 (B, 1, H, W), their true labels (B, H, W) and noise for both, to logits (B, C, H, W).
Label = Callable[[Tensor, Tensor, tuple[Tensor, Tensor]], Tensor]


def drawn(predict: Predict, balanced: Balanced, solver: str, steps: int) -> Label:
    """Draw labels beside images that are known, as they are drawn beside generated ones; the truth is not looked at."""

    def label(x_0: Tensor, _truth: Tensor, noise: tuple[Tensor, Tensor]) -> Tensor:
        return sample(given_image(predict, x_0), noise, balanced, solver, steps)[1]

    return label


def restored(predict: Predict, balanced: Balanced, timestep: int) -> Label:
    """Predict labels once, from image and true labels as noisy as at a timestep: what cross-entropy was learnt on."""

    @torch.inference_mode()
    def label(x_0: Tensor, truth: Tensor, noise: tuple[Tensor, Tensor]) -> Tensor:
        t = torch.full((len(x_0),), timestep, device=x_0.device)
        y_0 = scaled_labels(truth, noise[1].shape[1], balanced.b)
        x_t, y_t = noised(x_0, noise[0], t, balanced.timesteps), noised(y_0, noise[1], t, balanced.timesteps)
        return as_logits(predict(x_t, y_t, t)[1].float(), balanced)

    return label


def given_image(predict: Predict, x_0: Tensor) -> Predict:
    """Predict as before, but with the image known: Algorithm 2 then leads it along its own noisy versions to itself.

    x_0 (B, 1, H, W). A DDIM step from x_t with the true x_0 gives alpha x_0 + sigma epsilon with the noise it began
    with, so that the labels are drawn as they are beside a generated image.
    """

    def predict_labels(x_t: Tensor, y_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return x_0, predict(x_t, y_t, t)[1]

    return predict_labels


def labelled(
    label: Label,
    images: LabelledImages,
    *,
    batch: int = 16,
    seed: int = 0,
    device: torch.device | None = None,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Yield the logits (C, H, W) that each image is given, and its true labels (H, W) as class indices.

    Images of one size after each other are labelled together, `batch` at most, each from the noise of its index.
    """
    for first in range(0, len(images), batch):
        some = [(i, *images.grey(i)) for i in range(first, min(first + batch, len(images)))]
        for _, alike in groupby(some, key=lambda one: one[1].shape):
            indices, greys, labels = zip(*alike, strict=True)
            truth = [class_indices(one) for one in labels]
            x_0 = torch.from_numpy(np.stack([to_unit(grey) for grey in greys]))[:, None].to(device)
            noise = _noise(indices, (len(images.classes), *x_0.shape[-2:]), seed)
            logits = label(
                x_0, torch.from_numpy(np.stack(truth)).to(device), (noise[0].to(device), noise[1].to(device))
            )
            yield from zip(logits.cpu().numpy(), truth, strict=True)


def _noise(indices: tuple[int, ...], shape: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor]:
    """Noise of images (n, 1, H, W) and of labels (n, C, H, W), `shape` being (C, H, W)."""
    rngs = [np.random.default_rng((seed, i)) for i in indices]
    x, y = (
        np.stack([rng.standard_normal((channels, *shape[1:]), np.float32) for rng in rngs])
        for channels in (1, shape[0])
    )
    return torch.from_numpy(x), torch.from_numpy(y)
