"""Several models on the test images of one data set: their scores side by side, as JSON, and their class maps."""

from __future__ import annotations

import platform
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ingest.errors import UsageError
from ingest.progress import step
from models.checkpoint import Checkpoint, load_model
from models.classes import CLASSES, IGNORE, NOT_OIL
from models.datasets.catalogue import open_dataset
from models.datasets.pairs import Split
from models.evaluation.evaluate import (
    Evaluation,
    EvaluationOptions,
    class_probability,
    common_classes,
    evaluate,
    evaluation_record,
)
from models.evaluation.metrics import Floats


@dataclass(frozen=True)
class Candidate:
    """A model that takes part."""

    network: nn.Module
    checkpoint: Checkpoint


@dataclass(frozen=True)
class Comparison:
    """Evaluations of all candidates, by model id, the reference model first, and their record as plain JSON."""

    split: Split
    candidates: dict[str, Candidate]
    evaluations: dict[str, Evaluation]
    record: dict[str, Any]

    @property
    def reference(self) -> Evaluation:
        """The evaluation of the first model."""
        return next(iter(self.evaluations.values()))

    def class_maps(self, index: int) -> tuple[NDArray[np.float32], dict[str, NDArray[np.integer]]]:
        """Return a test image (H, W), NaN = no data, and maps of labels (H, W): the truth, then each model's."""
        maps: dict[str, NDArray[np.integer]] = {}
        for model, candidate in self.candidates.items():
            image, truth = self.split.test.pair(index, candidate.checkpoint.preprocess)
            predicted = class_probability(candidate.network, image).argmax(axis=0)
            if candidate.checkpoint.classes != CLASSES:
                predicted[predicted == 0] = NOT_OIL
            maps[model] = np.where(np.isnan(image).all(axis=0), IGNORE, predicted)
        return image[0], {"truth": truth} | maps


def compare_models(dataset: str, models: Sequence[str], options: EvaluationOptions | None = None) -> Comparison:
    """Evaluate models, by id or folder, on the test images of a data set, by name or folder.

    Differences are to the first model. Raises `UsageError` for a model named twice, and what opening the data set and
    the models raises.
    """
    candidates = _candidates(models)
    split = open_dataset(dataset)
    options = options or EvaluationOptions()
    groups = split.test.groups
    evaluations = _evaluations(split, groups, candidates, options)
    return Comparison(split, candidates, evaluations, _record(split, groups, candidates, evaluations, options))


def representative_images(oil_iou: Floats, n: int) -> list[tuple[str, int]]:
    """Return the n best, median and worst images by oil IoU, each at most once; without any oil, the first n."""
    order = [int(i) for i in np.argsort(-oil_iou, kind="stable") if not np.isnan(oil_iou[i])]
    if not order:
        return [("first", i) for i in range(min(n, len(oil_iou)))]
    middle = (len(order) - n) // 2
    wanted = {"best": order[:n], "worst": order[::-1][:n], "median": order[max(middle, 0) : middle + n]}
    chosen: dict[int, str] = {}
    for kind, indices in wanted.items():
        for index in indices:
            chosen.setdefault(index, kind)
    return sorted(((kind, index) for index, kind in chosen.items()), key=lambda pair: order.index(pair[1]))


def _candidates(models: Sequence[str]) -> dict[str, Candidate]:
    candidates: dict[str, Candidate] = {}
    for model in models:
        network, checkpoint = load_model(model)
        if checkpoint.id in candidates:
            raise UsageError(model, f"duplicate model id {checkpoint.id}", "name each model once")
        candidates[checkpoint.id] = Candidate(network, checkpoint)
    return candidates


def _evaluations(
    split: Split, groups: Sequence[Hashable] | None, candidates: dict[str, Candidate], options: EvaluationOptions
) -> dict[str, Evaluation]:
    images = split.test
    classes = common_classes([images.classes, *(one.checkpoint.classes for one in candidates.values())])
    evaluations = {}
    for model, one in candidates.items():
        with step(f"evaluate {model}") as advance:
            preprocess = one.checkpoint.preprocess
            evaluations[model] = evaluate(one.network, preprocess, images, classes, options, advance, groups)
    return evaluations


def _record(
    split: Split,
    groups: Sequence[Hashable] | None,
    candidates: dict[str, Candidate],
    evaluations: dict[str, Evaluation],
    options: EvaluationOptions,
) -> dict[str, Any]:
    first, images = next(iter(evaluations.values())), split.test
    return {
        "format": 1,
        "dataset": {
            "name": split.name,
            "note": split.note,
            "n_images": len(images),
            "n_groups": None if groups is None else len(set(groups)),
            "classes": images.classes,
            "compared_on": first.classes,
            "pixel_spacing": images.pixel_spacing,
        },
        "options": asdict(options),
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in ("slickwatch", "torch", "numpy", "scipy")},
        "models": {
            model: {
                "weights_sha256": candidates[model].checkpoint.weights_sha256,
                "classes": candidates[model].checkpoint.classes,
                **evaluation_record(evaluation, first, options, images.pixel_spacing),
            }
            for model, evaluation in evaluations.items()
        },
    }
