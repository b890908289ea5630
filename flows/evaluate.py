"""Evaluating models on a data set with truth: scores, tables, reliability diagrams and pictures."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ingest.errors import UsageError
from ingest.files import whole_folder, write_json
from ingest.progress import step
from models.checkpoint import Checkpoint, load_model
from models.classes import CLASSES, IGNORE, NOT_OIL
from models.datasets import LabelledImages, Split, copy_group, open_dataset
from models.evaluation.evaluate import (
    Evaluation,
    EvaluationOptions,
    class_probability,
    common_classes,
    evaluate,
)
from models.evaluation.record import evaluation_record
from outputs.report import table, write_picture, write_reliability

PICTURES = 2  # of the best, of the middle and of the worst images each
_NAMES = dict(enumerate(CLASSES)) | {NOT_OIL: "not oil", IGNORE: "no data"}


@dataclass(frozen=True)
class Candidate:
    """A model that takes part."""

    network: nn.Module
    checkpoint: Checkpoint


def evaluate_models(
    dataset: str,
    models: Sequence[str],
    *,
    json_file: Path | None = None,
    out: Path | None = None,
    options: EvaluationOptions | None = None,
) -> dict[str, Any]:
    """Score models on the test images of a data set, by name or folder; returns the record, as in table.json.

    `json_file` gets what the record says of each model, by id; the folder `out` is replaced by one with table.md,
    table.json, reliability diagrams and pictures. The first model is what the others are held to. Raises `UsageError`
    where `out` holds anything else, and what opening the data set and the models raises.
    """
    if out is not None:
        _require_ours(out)
    candidates = _candidates(models)
    split = open_dataset(dataset)
    options = options or EvaluationOptions()
    groups = groups_of_copies(split)
    evaluations = _evaluations(split.test, groups, candidates, options)
    record = _record(split, groups, candidates, evaluations, options)
    if out is not None:
        _publish(out.resolve(), record, evaluations, candidates, split.test)
    if json_file is not None:
        write_json(json_file, record["models"], indent=2)
    return record


def summary(record: dict[str, Any]) -> str:
    """Return the record in a line a model."""
    return "\n".join(
        f"{name}: {model['n_images']} images, "
        + ", ".join(f"{score} {_with_interval(model, score)}" for score in ("miou", "oil_iou", "object_f1", "ece"))
        for name, model in record["models"].items()
    )


def _with_interval(model: dict[str, Any], score: str) -> str:
    low, high = model["intervals"][score]
    if model[score] is None or low is None:
        return "undefined"
    return f"{model[score]:.3f} [{low:.3f}, {high:.3f}]"


def _candidates(models: Sequence[str]) -> dict[str, Candidate]:
    candidates: dict[str, Candidate] = {}
    for model in models:
        network, checkpoint = load_model(model)
        if checkpoint.id in candidates:
            raise UsageError(model, f"a second model with the id {checkpoint.id}", "name each model once")
        candidates[checkpoint.id] = Candidate(network, checkpoint)
    return candidates


def groups_of_copies(split: Split) -> list[Hashable] | None:
    """Which test images show the same place, where that is known: in SOS, whose images come in turned copies."""
    if not split.name.startswith("sos"):
        return None
    names = [split.test.name(i) for i in range(len(split.test))]
    return [copy_group(name) or name for name in names]


def _evaluations(
    images: LabelledImages,
    groups: list[Hashable] | None,
    candidates: dict[str, Candidate],
    options: EvaluationOptions,
) -> dict[str, Evaluation]:
    classes = common_classes([images.classes, *(one.checkpoint.classes for one in candidates.values())])
    evaluations = {}
    for model, one in candidates.items():
        with step(f"evaluate {model}") as advance:
            preprocess = one.checkpoint.preprocess
            evaluations[model] = evaluate(one.network, preprocess, images, classes, options, advance, groups)
    return evaluations


def _record(
    split: Split,
    groups: list[Hashable] | None,
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


def _require_ours(out: Path) -> None:
    """The folder will be replaced: let nobody lose what another program put there."""
    if out.is_dir() and any(out.iterdir()) and not (out / "table.json").is_file():
        raise UsageError(out, "holds something other than an evaluation", "choose a new or empty folder")


def _publish(
    out: Path,
    record: dict[str, Any],
    evaluations: dict[str, Evaluation],
    candidates: dict[str, Candidate],
    images: LabelledImages,
) -> None:
    with whole_folder(out, required=("table.md", "table.json")) as folder:
        names = []
        for model, scored in record["models"].items():
            names.append(f"reliability-{_file_name(model)}.png")
            write_reliability(folder / names[-1], scored, f"{model} on {record['dataset']['name']}")
        oil_iou = next(iter(evaluations.values())).image_oil_iou()
        for kind, index in chosen_images(oil_iou, PICTURES):
            names.append(f"{kind}-{_file_name(images.name(index))}.png")
            title = f"{images.name(index)}: {kind}, oil IoU {oil_iou[index]:.2f}"
            _write_picture(folder / names[-1], images, index, candidates, title)
        (folder / "table.json").write_text(json.dumps(record, indent=2) + "\n")
        (folder / "table.md").write_text(table(record, names))


def chosen_images(oil_iou: NDArray[np.float64], n: int) -> list[tuple[str, int]]:
    """Choose the n best, middle and worst images by oil IoU, each at most once; without any oil, the first n."""
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


def _write_picture(
    path: Path, images: LabelledImages, index: int, candidates: dict[str, Candidate], title: str
) -> None:
    maps = {}
    for model, one in candidates.items():
        image, labels = images.pair(index, one.checkpoint.preprocess)
        no_data = np.isnan(image).all(axis=0)
        predicted = class_probability(one.network, image).argmax(axis=0)
        if one.checkpoint.classes != CLASSES:
            predicted[predicted == 0] = NOT_OIL
        maps[model] = np.where(no_data, IGNORE, predicted)
    write_picture(path, image[0], {"truth": labels} | maps, _NAMES, title)


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
