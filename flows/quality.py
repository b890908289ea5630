"""Synthetic images against real ones: features, SAR statistics, labels that fit, copies, and a contact sheet."""

from __future__ import annotations

import json
import platform
from collections.abc import Hashable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from ingest.errors import UsageError
from ingest.files import whole_folder
from ingest.progress import step
from models.classes import CLASSES, IGNORE, NOT_OIL, OIL
from models.datasets import Cut, LabelledImages, copy_group, open_dataset
from models.evaluation.record import number
from models.quality import (
    Agreement,
    Extractor,
    FeatureQuality,
    Features,
    Measure,
    Nearest,
    SarStatistics,
    StatisticsGatherer,
    feature_quality,
    inception_extractor,
    inception_file,
    sar_extractor,
    statistics_measures,
)
from models.quality.nearest import COPY, copies
from models.synthesis import SyntheticPairs
from outputs.contact_sheet import Sample, write_contact_sheet

RECORD, SHEET = "quality.json", "contact-sheet.png"
ROWS = 6  # of the contact sheet
_NAMES = dict(enumerate(CLASSES)) | {NOT_OIL: "not oil", IGNORE: "no data"}


@dataclass(frozen=True)
class ImageSet:
    """The images of one side: `name` says which part of what; groups: those that show one place, where known."""

    name: str
    images: LabelledImages
    indices: tuple[int, ...]
    groups: tuple[Hashable, ...] | None


class Gathered:
    """What one pass over a set gathers."""

    def __init__(self, extractors: list[Extractor]) -> None:
        self.statistics, self.agreement = StatisticsGatherer(), Agreement()
        self.features = [Features(extractor) for extractor in extractors]
        self.nearest = Nearest()
        self.correlations: list[float] = []

    def add(self, image: NDArray[np.uint8], labels: NDArray[np.int64], trained_on: Nearest | None) -> None:
        """Take a pair; with `trained_on`, hold its image to the training images, else remember it as one."""
        self.statistics.add(image, labels)
        self.agreement.add(image, labels)
        for features in self.features:
            features.add(image)
        if trained_on is None:
            self.nearest.add(image)
        else:
            self.correlations.append(trained_on.correlation(image))


def assess(
    real: str,
    synthetic: str,
    *,
    out: Path | None = None,
    count: int | None = None,
    inception: Path | None = None,
) -> dict[str, Any]:
    """Hold synthetic images to real ones; returns the record, as in quality.json.

    real: a data set's name or folder, whose training images are taken (test images where there are no others);
    synthetic: a folder of synthetic pairs, or a data set whose test images are taken. Of each, `count` images spread
    evenly, or all; larger real images are cut to the size of the synthetic ones, each at a place of its own, as the
    training of a diffusion model sees them. inception: the weights of the standard features, else the file that
    SLICKWATCH_INCEPTION names, else none; features of our own are always there. The folder `out` is replaced by one
    with quality.json and contact-sheet.png. Raises `UsageError` where it holds anything else, for sets of two image
    sizes and for less than four images, and what opening the sets and the networks raises.
    """
    if out is not None:
        _require_ours(out)
    weights = inception_file(inception)
    extractors = [sar_extractor(), *([inception_extractor(weights)] if weights else [])]
    made = synthetic_set(synthetic, count)
    sets = _cut_like(real_set(real, count), made), made
    for one in sets:
        if len(one.indices) < 4:
            raise UsageError(one.name, f"has {len(one.indices)} images to compare", "give at least four")
    gathered = _gather(sets, extractors)
    record = _record(sets, gathered)
    if out is not None:
        with whole_folder(out.resolve(), required=(RECORD, SHEET)) as folder:
            _write_sheet(folder / SHEET, sets)
            (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    return record


def real_set(name: str, count: int | None) -> ImageSet:
    """Open the training images of a data set, or the test images of one that has no others."""
    split = open_dataset(name)
    part, images = split.to_learn()
    return _image_set(f"{split.name} {part}", images, count, split.name.startswith("sos"))


def synthetic_set(name: str, count: int | None) -> ImageSet:
    """Open a folder of synthetic pairs, finished or not, or the test images of a data set."""
    if (Path(name) / "manifest.json").is_file():
        return _image_set(name, SyntheticPairs.open(Path(name), allow_partial=True), count, False)
    split = open_dataset(name)
    return _image_set(f"{split.name} test", split.test, count, split.name.startswith("sos"))


def _cut_like(real: ImageSet, made: ImageSet) -> ImageSet:
    """Cut real images to the size of square synthetic ones where they are larger."""
    if not (real.indices and made.indices):
        return real
    whole, wanted = real.images.grey(real.indices[0])[0].shape, made.images.grey(made.indices[0])[0].shape
    if wanted[0] != wanted[1] or min(whole) < wanted[0] or whole == wanted:
        return real
    name = f"{real.name}, cut to {wanted[0]} x {wanted[1]}"
    return replace(real, name=name, images=Cut(real.images, wanted[0]))


def _image_set(name: str, images: LabelledImages, count: int | None, copies_known: bool) -> ImageSet:
    n = len(images) if count is None else min(count, len(images))
    indices = tuple(int(i) for i in np.linspace(0, len(images), n, endpoint=False))
    names = [images.name(i) for i in indices]
    return ImageSet(name, images, indices, tuple(copy_group(one) or one for one in names) if copies_known else None)


def _gather(sets: tuple[ImageSet, ImageSet], extractors: list[Extractor]) -> tuple[Gathered, Gathered]:
    real, synthetic = Gathered(extractors), Gathered(extractors)
    for one, into, trained_on in zip(sets, (real, synthetic), (None, real.nearest), strict=True):
        with step(f"read {one.name}") as advance:
            for done, index in enumerate(one.indices, start=1):
                into.add(*one.images.grey(index), trained_on)
                advance(done, len(one.indices))
    return real, synthetic


def _record(sets: tuple[ImageSet, ImageSet], gathered: tuple[Gathered, Gathered]) -> dict[str, Any]:
    real, synthetic = gathered
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
        "real": _said_of(sets[0], real),
        "synthetic": _said_of(sets[1], synthetic),
        "size": statistics[0].size,
        "features": [_feature_record(quality) for quality in qualities],
        "measures": {name: _measure_record(measure) for name, measure in measures.items()},
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


def _said_of(one: ImageSet, gathered: Gathered) -> dict[str, Any]:
    made_by = asdict(one.images.manifest.plan) if isinstance(one.images, SyntheticPairs) else None
    groups = None if one.groups is None else len(set(one.groups))
    with_contrast = len(gathered.agreement.contrasts)
    return {
        "name": one.name, "n_images": len(one.indices), "n_groups": groups, "n_with_contrast": with_contrast,
        "made_by": made_by,
    }  # fmt: skip


def _feature_record(quality: FeatureQuality) -> dict[str, Any]:
    values = {name: number(value) if isinstance(value, float) else value for name, value in asdict(quality).items()}
    return {**values, "warning": quality.warning}


def _measure_record(measure: Measure) -> dict[str, Any]:
    return {name: number(value) if isinstance(value, float) else value for name, value in asdict(measure).items()}


def _curves(statistics: SarStatistics) -> dict[str, Any]:
    down, across = ([number(v) for v in direction] for direction in statistics.autocorrelation)
    return {
        "histogram": statistics.histogram.tolist(),
        "spectrum": [number(power) for power in statistics.spectrum],
        "autocorrelation_down": down,
        "autocorrelation_across": across,
    }


def table(record: dict[str, Any]) -> str:
    """Return the record as lines to read: a block for each extractor, then the measures."""
    lines = [
        f"real       {record['real']['name']}, {record['real']['n_images']} images",
        f"synthetic  {record['synthetic']['name']}, {record['synthetic']['n_images']} images",
    ]
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


def warnings_of(record: dict[str, Any]) -> list[str]:
    """Return what a reader of the figures must be told."""
    return [one["warning"] for one in record["features"] if one["warning"]]


def _score(one: dict[str, Any], name: str) -> str:
    return f"{_value(one[name])} ± {_value(one[f'{name}_spread'])}"


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _write_sheet(path: Path, sets: tuple[ImageSet, ImageSet]) -> None:
    kind = "synthetic" if isinstance(sets[1].images, SyntheticPairs) else "against"
    titles = (f"real: {sets[0].name}", f"{kind}: {sets[1].name}")
    samples = {title: _samples(one) for title, one in zip(titles, sets, strict=True)}
    write_contact_sheet(path, samples, _NAMES, "Images and labels, drawn evenly from each set")


def _samples(one: ImageSet) -> list[Sample]:
    chosen = [
        one.indices[int(i)] for i in np.linspace(0, len(one.indices), min(ROWS, len(one.indices)), endpoint=False)
    ]
    samples = []
    for index in chosen:
        image, labels = one.images.grey(index)
        logits = one.images.logits(index) if isinstance(one.images, SyntheticPairs) else None
        probability = None if logits is None else softmax(logits, axis=0)[OIL]
        samples.append(Sample(one.images.name(index), image, labels, probability))
    return samples


def _require_ours(out: Path) -> None:
    """The folder will be replaced: let nobody lose what another program put there."""
    if out.is_dir() and any(out.iterdir()) and not (out / RECORD).is_file():
        raise UsageError(out, "holds something other than a comparison", "choose a new or empty folder")
