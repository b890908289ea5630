"""SAR statistics of a set of images and labels, in one pass, and the distance between those of two sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ingest.errors import UsageError
from models.classes import IGNORE, OIL
from models.evaluation.metrics import Floats
from models.quality.measures import Measure, mean, wasserstein
from models.quality.texture import (
    LOOK_EDGES,
    likeliest_looks,
    power_spectrum,
    speckle_covariance,
    window_looks,
)

SMALLEST = 32  # pixels a side
_LEVELS = np.arange(256)
_EIGHT = np.ones((3, 3))
_ROUNDING = 1 / 12  # variance of rounding to whole grey levels, the smallest meaningful power


@dataclass(frozen=True)
class SarStatistics:
    """Sums over images, the fraction of oil of each image and the area of each patch of oil."""

    size: tuple[int, int]
    n_images: int
    histogram: NDArray[np.int64]  # (256,) pixels by grey level
    looks: NDArray[np.int64]  # windows by ln(looks), see `LOOK_EDGES`
    spectrum: Floats  # mean power by ring, grey levels squared
    covariance: Floats  # (2, 17) mean by direction and lag, grey levels squared
    oil_shares: Floats  # (n,) of labelled pixels
    patch_areas: NDArray[np.int64]  # pixels; 8-connected

    @property
    def autocorrelation(self) -> Floats:
        """Down and across, lags 0..16, (2, 17); NaN without any variance."""
        variance = self.covariance[:, :1]
        return np.divide(self.covariance, variance, out=np.full_like(self.covariance, np.nan), where=variance > 0)

    @property
    def equivalent_looks(self) -> float:
        """Equivalent number of looks of homogeneous sea, `likeliest_looks`."""
        return likeliest_looks(self.looks)


class StatisticsGatherer:
    """Takes images with their labels one at a time; keeps no image."""

    def __init__(self) -> None:
        self._size: tuple[int, int] | None = None
        self._histogram = np.zeros(256, np.int64)
        self._looks = np.zeros(len(LOOK_EDGES) - 1, np.int64)
        self._spectrum: Floats | float = 0.0
        self._covariance: Floats | float = 0.0
        self._shares: list[float] = []
        self._areas: list[NDArray[np.int64]] = []

    def add(self, image: NDArray[np.uint8], labels: NDArray[np.integer]) -> None:
        """Take an image (H, W) and its labels (H, W), `OIL` where there is oil, `IGNORE` where unknown.

        Raises `UsageError` for images of different sizes or smaller than 32 x 32 pixels.
        """
        self._require_size(image)
        labelled, oil = labels != IGNORE, labels == OIL
        self._histogram += np.bincount(image[labelled], minlength=256)
        looks = np.clip(np.log(window_looks(image)), LOOK_EDGES[0], LOOK_EDGES[-1])
        self._looks += np.histogram(looks, LOOK_EDGES)[0]
        self._spectrum = self._spectrum + power_spectrum(image)
        self._covariance = self._covariance + speckle_covariance(image)
        self._shares.append(oil.sum() / max(labelled.sum(), 1))
        self._areas.append(np.bincount(ndimage.label(oil, _EIGHT)[0].ravel())[1:])

    def result(self) -> SarStatistics:
        """Return the statistics; raises `ValueError` without any image."""
        if self._size is None:
            raise ValueError("no image was given")
        n = len(self._shares)
        spectrum, covariance = np.asarray(self._spectrum) / n, np.asarray(self._covariance) / n
        shares, areas = np.array(self._shares), np.concatenate(self._areas)
        return SarStatistics(self._size, n, self._histogram, self._looks, spectrum, covariance, shares, areas)

    def _require_size(self, image: NDArray[np.uint8]) -> None:
        height, width = image.shape
        if min(height, width) < SMALLEST:
            raise UsageError(f"{height} x {width}", "image too small", f"give {SMALLEST} x {SMALLEST} pixels or more")
        if self._size not in (None, (height, width)):
            problem = f"images of {self._size} and {image.shape} pixels in one set"
            raise UsageError("statistics", problem, "give images of one size")
        self._size = height, width


def statistics_measures(real: SarStatistics, synthetic: SarStatistics) -> dict[str, Measure]:
    """Return each statistic of both sets and its distance, by name; identical sets have 0 everywhere.

    Raises `UsageError` for sets of different image sizes.
    """
    if real.size != synthetic.size:
        problem = f"real images have {real.size} pixels, synthetic ones {synthetic.size}"
        raise UsageError("statistics", problem, "give sets of one image size, such as sos-clean@4 for 64 x 64")
    looks = real.equivalent_looks, synthetic.equivalent_looks
    autocorrelations = real.autocorrelation, synthetic.autocorrelation
    return {
        "grey_level": Measure(
            _mean_grey(real), _mean_grey(synthetic), "mean grey level",
            wasserstein(_LEVELS, _LEVELS, (real.histogram, synthetic.histogram)), "grey levels",
        ),
        "equivalent_looks": Measure(*looks, "looks", abs(float(np.log(looks[1] / looks[0]))), "|ln ratio|"),
        "spectrum": Measure(
            _fine_power_db(real), _fine_power_db(synthetic), "dB above 0.25 cycles a pixel",
            log_spectral_distance(real.spectrum, synthetic.spectrum), "dB rms",
        ),
        "autocorrelation": Measure(
            float(autocorrelations[0][:, 1].mean()), float(autocorrelations[1][:, 1].mean()), "at lag 1",
            _rms((autocorrelations[0] - autocorrelations[1])[:, 1:]), "rms, lags 1 to 16",
        ),
        "oil_share": Measure(
            mean(real.oil_shares), mean(synthetic.oil_shares), "of pixels",
            wasserstein(real.oil_shares, synthetic.oil_shares), "of pixels",
        ),
        "oil_patches": Measure(
            _median(real.patch_areas), _median(synthetic.patch_areas), "median pixels",
            wasserstein(np.log10(real.patch_areas), np.log10(synthetic.patch_areas)), "decades of area",
        ),
    }  # fmt: skip


def log_spectral_distance(one: Floats, other: Floats) -> float:
    """Return the root mean square over frequencies of the ratio of two spectra, in decibels."""
    ratio_db = 10 * np.log10(np.maximum(one, _ROUNDING) / np.maximum(other, _ROUNDING))
    return _rms(ratio_db)


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _mean_grey(statistics: SarStatistics) -> float:
    return float(np.average(_LEVELS, weights=statistics.histogram))


def _fine_power_db(statistics: SarStatistics) -> float:
    """Return the mean power of the upper half of the frequencies, in decibels of grey levels squared."""
    fine = statistics.spectrum[len(statistics.spectrum) // 2 :].mean()
    return float(10 * np.log10(max(fine, _ROUNDING)))


def _median(areas: NDArray[np.int64]) -> float:
    return float(np.median(areas)) if len(areas) else float("nan")
