"""Pairs of a segmentation training: item i is the same on every machine and after resuming."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ingest.errors import UsageError
from models.classes import CLASSES, IGNORE, OIL_CLASSES
from models.datasets.pairs import LabelledImages, Pair
from models.datasets.simulated import VALIDATION_SEED, flat_pair, simulated_pair
from models.synthesis.shards import SyntheticPairs
from models.training.augmentation import AUGMENTATIONS
from models.training.segmentation_options import TrainOptions
from preprocess.options import PreprocessOptions


def used_synthetic(real: LabelledImages | None, options: TrainOptions) -> SyntheticPairs | None:
    """Open the synthetic pairs to train on: the first of their folder, `synthetic_multiple` times the real ones.

    None where none are wanted. Raises `UsageError` where the folder holds too few, or of other classes.
    """
    asked = options.distillation
    if asked.synthetic is None or real is None or not asked.synthetic_multiple:
        return None
    pairs = SyntheticPairs.open(Path(asked.synthetic))
    if pairs.classes not in {CLASSES, OIL_CLASSES}:
        remedy = f"give one with {', '.join(CLASSES)} or {', '.join(OIL_CLASSES)}"
        raise UsageError(asked.synthetic, f"has classes {', '.join(pairs.classes)}", remedy)
    wanted = round(asked.synthetic_multiple * len(real))
    if wanted > len(pairs):
        problem = f"holds {len(pairs)} pairs; {asked.synthetic_multiple:g} times {len(real)} real ones are {wanted}"
        raise UsageError(asked.synthetic, problem, "synthesise more of them or lower synthetic_multiple")
    return pairs.first(wanted) if wanted else None


def synthetic_share(options: TrainOptions, real: int, synthetic: int) -> float:
    """Return the share of synthetic pairs among the real and synthetic ones of a batch."""
    share = options.distillation.synthetic_share
    return synthetic / (real + synthetic) if share is None else share


def teacher_classes(synthetic: SyntheticPairs | None, options: TrainOptions) -> int:
    """Return the number of classes of the soft labels that a training sees; 0 without any."""
    return 0 if synthetic is None or options.distillation.synthetic_labels == "hard" else len(synthetic.classes)


def synthetic_record(synthetic: SyntheticPairs | None) -> dict[str, Any] | None:
    """Return the checkpoint's record of the synthetic pairs and their generator."""
    if synthetic is None:
        return None
    return {
        "n": len(synthetic),
        "sha256": synthetic.fingerprint(),
        "manifest_sha256": synthetic.manifest.sha256,
        "generator": synthetic.manifest.plan.generator,
    }


_ROUNDING, _ROUNDING_SYNTHETIC = 1, 2  # tell the streams of a step's draws from that of a pair
Item = tuple[Tensor, Tensor, Tensor]  # of a batch: images (B, 1, H, W), labels (B, H, W), teacher's logits (B, C, H, W)


class TrainingPairs(Dataset[Item]):
    """Item i is drawn from its own random stream, so a resumed training sees the very pairs it would have seen.

    An item is image (1, H, W), labels (H, W) and the teacher's logits (C, H, W), NaN where there is no teacher; C is 0
    in a training without soft labels. Inside, the logits are further channels of the image and move with it.
    """

    def __init__(
        self,
        options: TrainOptions,
        real: LabelledImages | None,
        preprocess: PreprocessOptions,
        synthetic: SyntheticPairs | None = None,
    ) -> None:
        self.options, self.real, self.preprocess, self.synthetic = options, real, preprocess, synthetic

    def __len__(self) -> int:
        return self.options.schedule.steps * self.options.schedule.batch_size

    def __getitem__(self, index: int) -> Item:
        rng = np.random.default_rng((self.options.seed, index))
        pair = self._drawn(index, rng)
        image, labels = AUGMENTATIONS[self.options.data.augmentation](pair, rng, self.preprocess)
        teacher = image[1:]
        if not len(teacher):
            teacher = np.full((self.teacher_classes, *labels.shape), np.nan, np.float32)
        return torch.from_numpy(np.nan_to_num(image[:1])), torch.from_numpy(labels), torch.from_numpy(teacher)

    @property
    def teacher_classes(self) -> int:
        """The number of classes of the soft labels; 0 without any."""
        return teacher_classes(self.synthetic, self.options)

    def _drawn(self, index: int, rng: np.random.Generator) -> Pair:
        """Draw a pair; in a batch real ones come first, then synthetic, then simulated ones."""
        batch_size = self.options.schedule.batch_size
        step, in_batch = divmod(index, batch_size)
        real_or_synthetic = self._rounded(self.options.data.real_share * batch_size, step, _ROUNDING)
        if self.real is None or in_batch >= real_or_synthetic:
            return self._simulated(rng)
        if self.synthetic is None:
            return self._real(self.real, rng)
        share = synthetic_share(self.options, len(self.real), len(self.synthetic))
        real = self._rounded((1 - share) * real_or_synthetic, step, _ROUNDING_SYNTHETIC)
        return self._real(self.real, rng) if in_batch < real else self._synthetic(self.synthetic, rng)

    def _rounded(self, wanted: float, step: int, stream: int) -> int:
        """Round a number of pairs up or down by a draw of the step, so that it is right in the mean."""
        return math.floor(wanted + np.random.default_rng((self.options.seed, step, stream)).random())

    def _synthetic(self, synthetic: SyntheticPairs, rng: np.random.Generator) -> Pair:
        if self.options.distillation.synthetic_mosaic:
            return mosaic([self._synthetic_chip(synthetic, self.options.data.crop // 2, rng) for _ in range(4)])
        return self._synthetic_chip(synthetic, self.options.data.crop, rng)

    def _synthetic_chip(self, synthetic: SyntheticPairs, size: int, rng: np.random.Generator) -> Pair:
        index = int(rng.integers(len(synthetic)))
        image, labels = synthetic.pair(index, self.preprocess)
        if self.teacher_classes:
            image = np.concatenate([image, synthetic.logits(index)])  # (1 + C, H, W)
        return cropped((image, labels), size, rng)

    def _real(self, real: LabelledImages, rng: np.random.Generator) -> Pair:
        if self.options.data.real_mosaic:
            return mosaic([self._real_chip(real, self.options.data.crop // 2, rng) for _ in range(4)])
        return self._real_chip(real, self.options.data.crop, rng)

    def _real_chip(self, real: LabelledImages, size: int, rng: np.random.Generator) -> Pair:
        return cropped(real.pair(int(rng.integers(len(real))), self.preprocess), size, rng)

    def _simulated(self, rng: np.random.Generator) -> Pair:
        # Shares of zero draw nothing, so that an option added later leaves the pairs of older trainings as they were.
        if self.options.data.mosaic_share and rng.random() < self.options.data.mosaic_share:
            return mosaic([self._chip(self.options.data.crop // 2, rng) for _ in range(4)])
        return self._chip(self.options.data.crop, rng)

    def _chip(self, size: int, rng: np.random.Generator) -> Pair:
        stretch = rng if rng.random() < self.options.data.stretched_share else None
        seed = int(rng.integers(VALIDATION_SEED))
        if self.options.data.flat_share and rng.random() < self.options.data.flat_share:
            return flat_pair(size, rng)
        return simulated_pair(seed, size, self.preprocess, stretch, self.options.data.margin)


def cropped(pair: Pair, size: int, rng: np.random.Generator) -> Pair:
    """Cut a square of `size` at random; a smaller image is filled up with no data, labelled `IGNORE`."""
    image, labels = pair
    missing = [max(0, size - n) for n in labels.shape]
    if any(missing):
        image = np.pad(image, ((0, 0), (0, missing[0]), (0, missing[1])), constant_values=np.nan)
        labels = np.pad(labels, ((0, missing[0]), (0, missing[1])), constant_values=IGNORE)
    if labels.shape == (size, size):
        return image, labels
    top, left = (int(rng.integers(n - size + 1)) for n in labels.shape)
    window = (slice(top, top + size), slice(left, left + size))
    return image[:, *window], labels[window]


def mosaic(pairs: list[Pair]) -> Pair:
    """Set four pairs of one size side by side, two by two (DAKD paper, section 4.2)."""
    images = [np.concatenate([a, b], axis=2) for a, b in ((pairs[0][0], pairs[1][0]), (pairs[2][0], pairs[3][0]))]
    labels = [np.concatenate([a, b], axis=1) for a, b in ((pairs[0][1], pairs[1][1]), (pairs[2][1], pairs[3][1]))]
    return np.concatenate(images, axis=1), np.concatenate(labels, axis=0)
