"""Several models on the test images of one data set: their scores side by side, as JSON, and their class maps."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.errors import UsageError
from ingest.progress import step
from models.classes import CLASSES, IGNORE, NOT_OIL
from models.datasets.catalogue import open_dataset
from models.datasets.pairs import LabelledImages, Split, spread_out
from models.evaluation.chips import chip_record, evaluate_chips
from models.evaluation.evaluate import (
    Evaluation,
    EvaluationOptions,
    common_classes,
    evaluate,
    evaluation_record,
    predicted_classes,
)
from models.evaluation.metrics import Floats
from models.segment import Segmenter, load_segmenter


@dataclass(frozen=True)
class Comparison:
    """Evaluations of all candidates, by model id, the reference model first, and their record as plain JSON."""

    split: Split
    segmenters: dict[str, Segmenter]
    evaluations: dict[str, Evaluation]
    record: dict[str, Any]

    @property
    def reference(self) -> Evaluation:
        """The evaluation of the first model."""
        return next(iter(self.evaluations.values()))

    def class_maps(
        self, index: int, models: Iterable[str] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[np.integer]]]:
        """Return a test image (H, W), NaN = no data, and maps of labels (H, W): the truth, then each model's.

        `models` are some of them, all where None.
        """
        maps: dict[str, NDArray[np.integer]] = {}
        for model in models or self.segmenters:
            segmenter = self.segmenters[model]
            image, truth = self.split.test.pair(index, segmenter.checkpoint.preprocess)
            _, predicted = predicted_classes(segmenter, self.split.test, index, image)
            if segmenter.checkpoint.classes != CLASSES:
                predicted[predicted == 0] = NOT_OIL
            maps[model] = np.where(np.isnan(image).all(axis=0), IGNORE, predicted)
        return image[0], {"truth": truth} | maps


def compare_models(dataset: str, models: Sequence[str], options: EvaluationOptions | None = None) -> Comparison:
    """Evaluate models, by id or folder, on the test images of a data set, by name or folder.

    Differences are to the first model. Raises `UsageError` for a model named twice and a data set without images, and
    what opening the data set and the models raises.
    """
    options = options or EvaluationOptions()
    segmenters = _segmenters(models, options.object_stage)
    split = open_dataset(dataset)
    split = replace(split, test=spread_out(split.test, options.limit))
    if not len(split.test):
        raise UsageError(dataset, "has no test images", "choose another one")
    evaluations = _evaluations(split.test, segmenters, options)
    return Comparison(split, segmenters, evaluations, _record(split, segmenters, evaluations, options))


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


def _segmenters(models: Sequence[str], object_stage: bool) -> dict[str, Segmenter]:
    segmenters: dict[str, Segmenter] = {}
    for model in models:
        segmenter = load_segmenter(model, object_stage)
        if segmenter.checkpoint.id in segmenters:
            raise UsageError(model, f"duplicate model id {segmenter.checkpoint.id}", "name each model once")
        segmenters[segmenter.checkpoint.id] = segmenter
    return segmenters


def _evaluations(
    images: LabelledImages, segmenters: dict[str, Segmenter], options: EvaluationOptions
) -> dict[str, Evaluation]:
    classes = common_classes([images.classes, *(one.checkpoint.classes for one in segmenters.values())])
    evaluations = {}
    for model, one in segmenters.items():
        with step(f"evaluate {model}") as advance:
            evaluations[model] = (
                evaluate(one, images, classes, options, advance)
                if images.presence(0) is None
                else evaluate_chips(one, images, options, advance)
            )
    return evaluations


def _record(
    split: Split,
    segmenters: dict[str, Segmenter],
    evaluations: dict[str, Evaluation],
    options: EvaluationOptions,
) -> dict[str, Any]:
    first, images = next(iter(evaluations.values())), split.test
    groups, by_pixel = images.groups, images.presence(0) is None
    return {
        "format": 1,
        "dataset": {
            "name": split.name,
            "note": split.note,
            "n_images": len(images),
            "n_groups": None if groups is None else len(set(groups)),
            "labels": "pixels" if by_pixel else "images",
            "classes": images.classes,
            "compared_on": first.classes,
            "pixel_spacing": images.pixel_spacing,
        },
        "options": asdict(options),
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in ("slickwatch", "torch", "numpy", "scipy")},
        "models": {
            model: {
                "weights_sha256": segmenters[model].checkpoint.weights_sha256,
                "classes": segmenters[model].checkpoint.classes,
                "object_stage": segmenters[model].object_stage is not None,
                **(
                    evaluation_record(evaluation, first, options, images.pixel_spacing)
                    if by_pixel
                    else chip_record(evaluation, options)
                ),
            }
            for model, evaluation in evaluations.items()
        },
    }
