"""Frechet distance (FID) and inception score over features of a named extractor, with their noise."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics.image.inception import InceptionScore

from ingest.errors import UsageError
from models.evaluation.metrics import Floats
from models.quality.extractors import Extractor

BATCH = 16
SPLITS = 10  # of the inception score, as in its paper
RESAMPLES = 10
ENOUGH = 2  # images per feature, below which covariances are unreliable


@dataclass(frozen=True)
class FeatureSet:
    """Features (n, D) and logits (n, C) of images of one size, and their extractor."""

    extractor: str
    weights_sha256: str
    size: tuple[int, int]
    features: Floats
    logits: Floats


class Features:
    """Takes images one at a time and extracts their features in batches; keeps at most a batch of images."""

    def __init__(self, extractor: Extractor) -> None:
        self.extractor = extractor
        self._size: tuple[int, int] | None = None
        self._waiting: list[NDArray[np.uint8]] = []
        self._done: list[tuple[Floats, Floats]] = []

    def add(self, image: NDArray[np.uint8]) -> None:
        """Take an image (H, W); all must be of one size."""
        height, width = image.shape
        self._size = height, width
        self._waiting.append(image)
        if len(self._waiting) == BATCH:
            self._extract()

    def result(self) -> FeatureSet:
        """Return the features of all images so far; raises `ValueError` without any."""
        if self._waiting:
            self._extract()
        if self._size is None:
            raise ValueError("no image was given")
        features, logits = (np.concatenate(parts) for parts in zip(*self._done, strict=True))
        return FeatureSet(self.extractor.name, self.extractor.weights_sha256, self._size, features, logits)

    def _extract(self) -> None:
        self._done.append(self.extractor.forward(np.stack(self._waiting)))
        self._waiting.clear()


@dataclass(frozen=True)
class FeatureQuality:
    """The scores of one extractor.

    Spreads are standard deviations. `fid_spread` is that of another sample of as many synthetic images; `fid_noise` the
    distance between two halves of the real set, as expected of perfect images in that number.
    """

    extractor: str
    weights_sha256: str
    n_features: int
    size: tuple[int, int]
    n_real: int
    n_synthetic: int
    fid: float
    fid_spread: float
    fid_noise: float
    fid_noise_spread: float
    n_noise: int  # images of each half
    inception_score: float
    inception_score_spread: float
    real_inception_score: float
    real_inception_score_spread: float

    @property
    def warning(self) -> str:
        """A warning of too few images; empty where there are enough."""
        fewest = min(self.n_real, self.n_synthetic)
        if fewest >= ENOUGH * self.n_features:
            return ""
        return f"{self.extractor}: {fewest} images for {self.n_features} features; FID needs {ENOUGH} times as many"


def feature_quality(
    real: FeatureSet,
    synthetic: FeatureSet,
    groups: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> FeatureQuality:
    """Compare two sets of one extractor; groups: a key for each real image, equal for images of one place.

    Halves of the real set divide no group. Raises `UsageError` for different extractors or image sizes, and for sets
    too small to halve.
    """
    _require_alike(real, synthetic)
    rng = np.random.default_rng(seed)
    own = np.arange(len(real.features)) if groups is None else _numbers(groups)
    noise = [frechet_distance(real.features[a], real.features[~a]) for a in _halves(own, resamples, rng)]
    each = np.arange(len(synthetic.features))
    drawn = [frechet_distance(real.features, synthetic.features[a]) for a in _halves(each, resamples, rng)]
    return FeatureQuality(
        real.extractor, real.weights_sha256, real.features.shape[1], real.size, len(real.features), len(each),
        frechet_distance(real.features, synthetic.features), float(np.std(drawn, ddof=1)),
        float(np.mean(noise)), float(np.std(noise, ddof=1)), len(real.features) // 2,
        *inception_score(synthetic.logits, seed), *inception_score(real.logits, seed),
    )  # fmt: skip


def frechet_distance(one: Floats, other: Floats) -> float:
    """Return |mu1 - mu2|**2 + tr(S1 + S2 - 2 (S1 S2)**0.5) of features (n, D) and (m, D), n and m at least 2.

    Heusel et al. 2017 (arXiv 1706.08500), Eq. 6. With S1 = A'A and S2 = B'B the trace of the root is the sum of the
    singular values of AB': the result of torchmetrics' FrechetInceptionDistance, whose eigenvalues of S1 S2 take a
    minute for 2048 features, too long to repeat for the noise.
    """
    shift = one.mean(axis=0) - other.mean(axis=0)
    a, b = _covariance_factor(one), _covariance_factor(other)
    distance = shift @ shift + (a**2).sum() + (b**2).sum() - 2 * np.linalg.norm(a @ b.T, "nuc")
    return max(float(distance), 0.0)


def _covariance_factor(features: Floats) -> Floats:
    """Return A of at most D rows, where A'A is the covariance of features (n, D)."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return centred if len(centred) <= centred.shape[1] else np.linalg.qr(centred).R


def inception_score(logits: Floats, seed: int = 0) -> tuple[float, float]:
    """Return exp(E KL(p(y|x) || p(y))), 1 to C, of logits (n, C): mean and deviation over 10 splits of the images.

    Salimans et al. 2016 (arXiv 1606.03498); fewer splits where they would have fewer than two images each.
    """
    splits = max(1, min(SPLITS, len(logits) // 2))
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", UserWarning)  # about features kept in memory, and the deviation of one split
        torch.manual_seed(seed)
        metric = InceptionScore(feature=_AsGiven(logits.shape[1]), splits=splits)
        metric.update(torch.from_numpy(logits))
        score, deviation = metric.compute()
    return float(score), float(deviation)


class _AsGiven(nn.Module):
    """Takes the place of the feature network, as features are already extracted."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def _require_alike(real: FeatureSet, synthetic: FeatureSet) -> None:
    for what, one, other in (
        ("extractor", real.extractor, synthetic.extractor),
        ("weights", real.weights_sha256, synthetic.weights_sha256),
        ("image size", real.size, synthetic.size),
    ):
        if one != other:
            raise UsageError(f"{what} {one} and {other}", "features cannot be compared", "compare those of one kind")
    if (fewest := min(len(real.features), len(synthetic.features))) < 4:
        raise UsageError(real.extractor, f"has {fewest} images to compare", "give at least four of each kind")


def _halves(groups: NDArray[np.integer], resamples: int, rng: np.random.Generator) -> Iterator[NDArray[np.bool_]]:
    """Yield random halves of the images as masks (n,) that divide no group; both halves have at least two images."""
    sizes = np.bincount(groups)
    for _ in range(resamples):
        order = rng.permutation(len(sizes))
        before = np.cumsum(sizes[order]) - sizes[order] / 2  # images up to the middle of each group
        chosen = np.isin(groups, order[before <= len(groups) / 2])
        if min(chosen.sum(), (~chosen).sum()) < 2:
            raise UsageError("FID", "too few groups of images to halve the real set", "give more images")
        yield chosen


def _numbers(groups: Sequence[Hashable]) -> NDArray[np.int64]:
    first = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    return np.array([first[group] for group in groups], np.int64)
