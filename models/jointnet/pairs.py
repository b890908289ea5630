"""The items of a training of SAR-JointNet: the same on every machine and after resuming."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from models.classes import IGNORE
from models.datasets.pairs import LabelledImages, class_indices
from models.jointnet.options import JointOptions


class Noisy(NamedTuple):
    """A pair before noise, and what noise it gets: x_0 (1, H, W) in [-1, 1], labels (H, W), t (), epsilon twice."""

    x_0: Tensor
    labels: Tensor
    t: Tensor
    epsilon_x: Tensor  # (1, H, W)
    epsilon_y: Tensor  # (C, H, W)


class JointPairs(Dataset[Noisy]):
    """Item i of a stage is drawn from its own random stream."""

    def __init__(self, options: JointOptions, images: LabelledImages, stage: int) -> None:
        self.options, self.images, self.stage = options, images, stage

    def __len__(self) -> int:
        return self.options.schedule.steps[self.stage - 1] * self.options.schedule.batch_size

    def __getitem__(self, index: int) -> Noisy:
        rng = np.random.default_rng((self.options.seed, self.stage, index))
        grey, labels = self.images.grey(int(rng.integers(len(self.images))))
        grey, labels = _cropped(grey, class_indices(labels), self.options.data.crop, rng)
        if self.options.data.turned:
            grey, labels = _turned(grey, labels, rng)
        shape = (len(self.images.classes), *labels.shape)
        return Noisy(
            torch.from_numpy(to_unit(grey))[None],
            torch.from_numpy(labels),
            torch.tensor(int(rng.integers(self.options.diffusion.timesteps))),
            torch.from_numpy(rng.standard_normal((1, *labels.shape), np.float32)),
            torch.from_numpy(rng.standard_normal(shape, np.float32)),
        )


def to_unit(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """8-bit grey to [-1, 1], the range that gives the paper's balancing factor."""
    return np.asarray(grey, np.float32) / np.float32(127.5) - 1


def _cropped(
    grey: NDArray[np.uint8], labels: NDArray[np.int64], size: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Cut a square at random; a smaller image is continued by its mirror image, unlabelled."""
    missing = [(0, max(0, size - n)) for n in labels.shape]
    if any(after for _, after in missing):
        grey, labels = np.pad(grey, missing, mode="reflect"), np.pad(labels, missing, constant_values=IGNORE)
    top, left = (int(rng.integers(n - size + 1)) for n in labels.shape)
    window = (slice(top, top + size), slice(left, left + size))
    return grey[window], labels[window]


def _turned(
    grey: NDArray[np.uint8], labels: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    turns, flip = int(rng.integers(4)), rng.integers(2)
    grey, labels = np.rot90(grey, turns), np.rot90(labels, turns)
    if flip:
        grey, labels = grey[:, ::-1], labels[:, ::-1]
    return np.ascontiguousarray(grey), np.ascontiguousarray(labels)
