"""Screening a data set for training images that repeat test images, rotated, mirrored and shifted.

Images are averaged to a small square, and smoothed structure is taken off them: two seas that are dark on one side
correlate, but small structure that correlates is the same sea. Correlation is that of the overlapping parts, over all
shifts up to half an image in both directions and the eight turns and mirrorings; a copy may be enlarged a little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ingest.errors import UsageError
from ingest.progress import step
from models.datasets.pairs import LabelledImages
from models.datasets.sos import copy_group
from preprocess.options import PreprocessOptions

SIZE, COARSE_SIZE = 64, 32  # pixels of the averaged images that correlations and candidates come from
STRUCTURE = 1 / 16  # of the image's width: what is smoother than this is taken off
MIN_OVERLAP = 0.25  # of an image's area
WRONG_STRIDE = 13  # added to the strides of the groups for the control
CANDIDATES = 5  # of every test image that are looked at again in `SIZE`
THRESHOLDS = (0.5, 0.6, 0.8)
_MIN_VARIANCE = 0.05  # of the image's variance, that an overlap must have for its correlation to count in full


@dataclass(frozen=True)
class Match:
    """The training image most correlated with a test image, and how it was turned."""

    test: str
    train: str
    correlation: float  # -1..1; -1 where there was no candidate
    turn: int  # right angles, anticlockwise
    mirrored: bool


def screen(
    train: LabelledImages,
    test: LabelledImages,
    modes: Sequence[str] = ("stride", "control"),
    report: Callable[[str], None] = print,
) -> dict[str, tuple[Match, ...]]:
    """Find for every test image the training image most correlated with it, by each of `modes`, and report shares.

    ``stride`` looks among the images of the test image's group alone (`models.datasets.sos`), ``control`` among as
    many of a group that is wrong on purpose, ``full`` at all. Raises `UsageError` for another mode.
    """
    for mode in modes:
        if mode not in CANDIDATES_OF:
            raise UsageError(mode, "unknown screening mode", f"known are {', '.join(CANDIDATES_OF)}")
    train_images, test_images = structures(train), structures(test)
    train_names = [train.name(i) for i in range(len(train))]
    test_names = [test.name(i) for i in range(len(test))]
    index, matches = _Index.of(train_images), {}
    for mode in modes:
        candidates = CANDIDATES_OF[mode](train_names, test_names, train_images, test_images)
        found: list[Match] = []
        with step(f"compare, {mode}") as advance:
            for name, image, among in zip(test_names, test_images, candidates, strict=True):
                found.append(_best_match(index, image, name, among, train_names))
                advance(len(found), len(test))
        matches[mode] = tuple(found)
        report(summary(mode, found))
    return matches


def summary(mode: str, matches: Sequence[Match]) -> str:
    """Return the shares of test images above `THRESHOLDS`, as one line."""
    correlations = np.array([m.correlation for m in matches])
    compared = correlations[correlations > -1]
    if not len(compared):
        return f"{mode}: {len(matches)} test images, no training image to compare any with"
    shares = ", ".join(f"{(correlations > t).mean():.1%} above {t}" for t in THRESHOLDS)
    return f"{mode}: {len(matches)} test images, {shares}, median {np.median(compared):.2f}"


def structures(images: LabelledImages, size: int = SIZE) -> Tensor:
    """Return the small structure of all images (N, `size`, `size`), each of mean 0 and deviation 1; no data is 0."""
    options, small = PreprocessOptions(), []
    with step("read images") as advance:
        for i in range(len(images)):
            image = torch.from_numpy(np.nan_to_num(images.pair(i, options)[0]))
            small.append(torch.nn.functional.adaptive_avg_pool2d(image, size)[0])
            advance(i + 1, len(images))
    return _structure(torch.stack(small))


def _structure(images: Tensor) -> Tensor:
    width = images.shape[-1] * STRUCTURE
    fine = images - torch.from_numpy(gaussian_filter(images.numpy(), (0, width, width)))
    fine = fine - fine.mean((1, 2), keepdim=True)
    return fine / fine.std((1, 2), keepdim=True).clamp_min(1e-6)


def _within_group(wrong_by: int) -> Callable[..., Iterator[NDArray[np.int64]]]:
    def candidates(train_names: list[str], test_names: list[str], *_: Tensor) -> Iterator[NDArray[np.int64]]:
        groups = [copy_group(name, wrong_by) for name in train_names]
        for name in test_names:
            wanted = copy_group(name, wrong_by)
            yield np.array([i for i, group in enumerate(groups) if group is not None and group == wanted], np.int64)

    return candidates


def _anywhere(_train_names: object, _test_names: object, train: Tensor, test: Tensor) -> Iterator[NDArray[np.int64]]:
    """Yield for every test image the training images that correlate best with it at `COARSE_SIZE`."""
    pool = SIZE // COARSE_SIZE
    coarse = [torch.nn.functional.avg_pool2d(images[:, None], pool)[:, 0] for images in (train, test)]
    index, all_of_them = _Index.of(coarse[0]), np.arange(len(train))
    for image in coarse[1]:
        correlation, _ = index.correlations(image, all_of_them)
        yield np.argsort(-correlation, kind="stable")[:CANDIDATES]


CANDIDATES_OF = {"stride": _within_group(0), "control": _within_group(WRONG_STRIDE), "full": _anywhere}


def _best_match(index: _Index, image: Tensor, name: str, among: NDArray[np.int64], train_names: list[str]) -> Match:
    if not len(among):
        return Match(name, "", -1.0, 0, False)
    correlation, orientation = index.correlations(image, among)
    best = int(correlation.argmax())
    turn, mirrored = divmod(int(orientation[best]), 2)
    return Match(name, train_names[among[best]], float(correlation[best]), turn, bool(mirrored))


@dataclass(frozen=True)
class _Index:
    """Images prepared for correlating others with them: spectra, and what every overlap is normalised by.

    Correlation at a shift, of n pixels that overlap: (sum(ab) - sum(a) sum(b) / n) / sqrt(var(a) var(b)), var being
    sum(a**2) - sum(a)**2 / n. All sums are convolutions with the other image or with ones.
    """

    spectra: Tensor  # (N, F, F // 2 + 1), of images moved by the largest shift, so that no shift is negative
    means: Tensor  # (N, R, R), sum(a) / sqrt(n)
    weights: Tensor  # (N, R, R), 1 / sqrt(var(a)), 0 where too little overlaps

    @classmethod
    def of(cls, images: Tensor) -> _Index:
        size = images.shape[-1]
        ones = _spectrum(torch.ones(size, size))
        overlap = _at_shifts(_spectrum(torch.ones(size, size), moved=True) * ones.conj()).round()
        spectra = _spectrum(images, moved=True)
        means = _at_shifts(spectra * ones.conj()) / overlap.sqrt()
        squares = _at_shifts(_spectrum(images**2, moved=True) * ones.conj())
        weights = torch.maximum(squares - means**2, _MIN_VARIANCE * overlap).rsqrt()
        return cls(spectra, means, weights * (overlap >= MIN_OVERLAP * size**2))

    def correlations(
        self, image: Tensor, among: NDArray[np.int64], chunk: int = 16
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the best correlation (n,) of an image with each of `among`, and the orientation (n,) that has it."""
        orientations = _orientations(image)
        spectra, turned = _spectrum(orientations).conj().resolve_conj(), _Index.of(orientations)
        # The same overlap seen from the other image is the one of the opposite shift.
        means, weights = turned.means.flip(-2, -1), turned.weights.flip(-2, -1)
        best = []
        for start in range(0, len(among), chunk):
            some = torch.from_numpy(among[start : start + chunk])
            products = _at_shifts(self.spectra[some, None] * spectra)  # (n, 8, R, R)
            products.addcmul_(self.means[some, None], means, value=-1)
            products.mul_(self.weights[some, None]).mul_(weights)
            best.append(products.amax((-2, -1)))
        correlation, orientation = torch.cat(best).max(dim=1)
        return correlation.numpy(), orientation.numpy()


def _spectrum(images: Tensor, moved: bool = False) -> Tensor:
    """Return spectra of images (..., S, S), made wider so that shifts up to half an image do not wrap around."""
    half = images.shape[-1] // 2
    before, after = (half, 0) if moved else (0, half)
    spectra: Tensor = torch.fft.rfft2(torch.nn.functional.pad(images, (before, after, before, after)))
    return spectra


def _at_shifts(spectra: Tensor) -> Tensor:
    """Return what products of a moved spectrum and another are at the shifts of -S/2..S/2 (..., R, R)."""
    wide = spectra.shape[-2]
    everywhere: Tensor = torch.fft.irfft2(spectra, (wide, wide))
    shifts = wide * 2 // 3 + 1
    return everywhere[..., :shifts, :shifts]


def _orientations(image: Tensor) -> Tensor:
    """Return an image turned by 0..3 right angles, each as it is and mirrored (8, H, W)."""
    turned = [torch.rot90(image, turn, (0, 1)) for turn in range(4)]
    return torch.stack([one for image in turned for one in (image, image.flip(-1))])
