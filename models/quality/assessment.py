"""Compare synthetic with real images: features, SAR statistics, agreement of labels and images, copies."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.errors import UsageError
from ingest.progress import step
from models.evaluation.record import number
from models.quality.agreement import Agreement
from models.quality.extractors import Extractor, inception_extractor, inception_file, sar_extractor
from models.quality.frechet import FeatureQuality, Features, feature_quality
from models.quality.image_sets import ImageSet, cut_to_size, real_set, synthetic_set
from models.quality.measures import Measure
from models.quality.nearest import COPY, Nearest, copies
from models.quality.statistics import SarStatistics, StatisticsGatherer, statistics_measures

FEWEST = 4  # images of each set


@dataclass(frozen=True)
class Assessment:
    """The two sets and the record of their comparison, as plain JSON."""

    real: ImageSet
    synthetic: ImageSet
    record: dict[str, Any]


class SetMeasurements:
    """What one pass over a set gathers."""

    def __init__(self, extractors: list[Extractor]) -> None:
        self.statistics, self.agreement = StatisticsGatherer(), Agreement()
        self.features = [Features(extractor) for extractor in extractors]
        self.nearest = Nearest()
        self.correlations: list[float] = []

    def add(self, image: NDArray[np.uint8], labels: NDArray[np.int64], training: Nearest | None) -> None:
        """Take a pair; find its image among the `training` images, or without those remember it as one."""
        self.statistics.add(image, labels)
        self.agreement.add(image, labels)
        for features in self.features:
            features.add(image)
        if training is None:
            self.nearest.add(image)
        else:
            self.correlations.append(training.correlation(image))


def assess(real: str, synthetic: str, *, count: int | None = None, inception: Path | None = None) -> Assessment:
    """Compare a folder of synthetic pairs, or the test images of a data set, with the training images of a data set.

    Of each set, `count` images spread evenly, or all; larger real images are cut to the size of the synthetic ones, as
    the training of a diffusion model cuts them. inception: the weights of the standard features, else the file that
    SLICKWATCH_INCEPTION names, else none; SAR features are always compared. Raises `UsageError` for sets of two image
    sizes and for fewer than four images, and what opening the sets and the networks raises.
    """
    weights = inception_file(inception)
    extractors = [sar_extractor(), *([inception_extractor(weights)] if weights else [])]
    other = synthetic_set(synthetic, count)
    sets = cut_to_size(real_set(real, count), other), other
    for one in sets:
        if len(one.indices) < FEWEST:
            raise UsageError(one.name, f"has {len(one.indices)} images to compare", f"give at least {FEWEST}")
    return Assessment(*sets, _record(sets, _measured(sets, extractors)))


def _measured(
    sets: tuple[ImageSet, ImageSet], extractors: list[Extractor]
) -> tuple[SetMeasurements, SetMeasurements]:  # fmt: skip
    real, synthetic = SetMeasurements(extractors), SetMeasurements(extractors)
    for one, into, training in zip(sets, (real, synthetic), (None, real.nearest), strict=True):
        with step(f"read {one.name}") as advance:
            for done, index in enumerate(one.indices, start=1):
                into.add(*one.images.grey(index), training)
                advance(done, len(one.indices))
    return real, synthetic


def _record(sets: tuple[ImageSet, ImageSet], measured: tuple[SetMeasurements, SetMeasurements]) -> dict[str, Any]:
    real, synthetic = measured
    statistics = real.statistics.result(), synthetic.statistics.result()
    measures = statistics_measures(*statistics) | real.agreement.measures(synthetic.agreement)
    correlations = np.array(synthetic.correlations)
    with step("distances of features"):
        qualities = [
            feature_quality(one.result(), other.result(), sets[0].groups)
            for one, other in zip(real.features, synthetic.features, strict=True)
        ]
    return {
        "format": 1,
        "real": _set_record(sets[0], real),
        "synthetic": _set_record(sets[1], synthetic),
        "size": statistics[0].size,
        "features": [{**_numbers(quality), "warning": quality.warning} for quality in qualities],
        "measures": {name: _numbers(measure) for name, measure in measures.items()},
        "nearest": {
            "threshold": COPY,
            "share_above": number(copies(correlations)),
            "median": number(float(np.median(correlations))),
            "largest": number(float(correlations.max())),
        },
        "curves": {"real": _curves(statistics[0]), "synthetic": _curves(statistics[1])},
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in ("slickwatch", "torch", "torchmetrics", "numpy", "scipy")},
    }


def _set_record(one: ImageSet, measured: SetMeasurements) -> dict[str, Any]:
    return {
        "name": one.name,
        "n_images": len(one.indices),
        "n_groups": None if one.groups is None else len(set(one.groups)),
        "n_with_contrast": len(measured.agreement.contrasts),
        "made_by": None if one.synthetic is None else asdict(one.synthetic.manifest.plan),
    }


def _numbers(record: FeatureQuality | Measure) -> dict[str, Any]:
    return {name: number(value) if isinstance(value, float) else value for name, value in asdict(record).items()}


def _curves(statistics: SarStatistics) -> dict[str, Any]:
    down, across = ([number(v) for v in direction] for direction in statistics.autocorrelation)
    return {
        "histogram": statistics.histogram.tolist(),
        "spectrum": [number(power) for power in statistics.spectrum],
        "autocorrelation_down": down,
        "autocorrelation_across": across,
    }


def table(record: dict[str, Any]) -> str:
    """Return the record as text: a block for each extractor, then the measures."""
    lines = [f"{name:<9}  {record[name]['name']}, {record[name]['n_images']} images" for name in ("real", "synthetic")]
    for one in record["features"]:
        lines += [
            "",
            f"features of {one['extractor']} (weights {one['weights_sha256'][:8]})",
            f"  FID                {one['fid']:.2f} ± {one['fid_spread']:.2f}; between halves of the real images "
            f"{one['fid_noise']:.2f} ± {one['fid_noise_spread']:.2f}",
            f"  inception score    real {_score(one, 'real_inception_score')}, "
            f"synthetic {_score(one, 'inception_score')}",
        ]
    lines += ["", f"{'':<18}{'real':>10}{'synthetic':>11}  {'':<28}{'distance':>9}"]
    for name, one in record["measures"].items():
        real, synthetic, distance = (_value(one[key]) for key in ("real", "synthetic", "distance"))
        lines.append(f"{name:<18}{real:>10}{synthetic:>11}  {one['unit']:<28}{distance:>9}  {one['distance_unit']}")
    nearest = record["nearest"]
    lines += ["", f"copies of a real image (correlation above {COPY}): {nearest['share_above']:.1%}, "
              f"largest {nearest['largest']:.2f}"]  # fmt: skip
    return "\n".join(lines)


def _score(one: dict[str, Any], name: str) -> str:
    return f"{_value(one[name])} ± {_value(one[f'{name}_spread'])}"


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
