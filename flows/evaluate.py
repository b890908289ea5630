"""Compare models on a data set, and write tables, reliability diagrams and pictures of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ingest.files import whole_folder, write_json
from ingest.progress import step
from models.classes import LABEL_NAMES, OIL
from models.evaluation.chips import image_scores, worst_images
from models.evaluation.comparison import Comparison, compare_models, representative_images
from models.evaluation.evaluate import EvaluationOptions
from outputs.contact_sheet import write_tiles
from outputs.report import require_replaceable, table, write_picture, write_reliability

TABLE, RECORD = "table.md", "table.json"
PICTURES = 2  # of the best, the median and the worst images each
WORST = 40  # whole images of each label on a contact sheet


def evaluate_models(
    dataset: str,
    models: Sequence[str],
    *,
    json_file: Path | None = None,
    out: Path | None = None,
    options: EvaluationOptions | None = None,
) -> dict[str, Any]:
    """Score models on the test images of a data set, by name or folder; returns the record, as in table.json.

    `json_file` gets the scores of each model, by id; the folder `out` is replaced by one with table.md, table.json,
    reliability diagrams and pictures. Differences are to the first model. Raises `UsageError` where `out` holds
    anything else, and what `compare_models` raises.
    """
    if out is not None:
        require_replaceable(out, RECORD, "an evaluation")
    comparison = compare_models(dataset, models, options)
    if out is not None:
        _write_report(out.resolve(), comparison)
    if json_file is not None:
        write_json(json_file, comparison.record["models"], indent=2)
    return comparison.record


def _write_report(out: Path, comparison: Comparison) -> None:
    record = comparison.record
    with step("draw pictures"), whole_folder(out, required=(TABLE, RECORD)) as folder:
        pictures = []
        for model, scores in record["models"].items():
            pictures.append(f"reliability-{_file_name(model)}.png")
            write_reliability(folder / pictures[-1], scores, f"{model} on {record['dataset']['name']}")
        if record["dataset"]["labels"] == "images":
            pictures += _write_contact_sheets(folder, comparison)
        else:
            pictures += _write_examples(folder, comparison)
        write_json(folder / RECORD, record, indent=2)
        (folder / TABLE).write_text(table(record, pictures))


def _write_examples(folder: Path, comparison: Comparison) -> Iterator[str]:
    oil_iou = comparison.reference.image_oil_iou()
    for kind, index in representative_images(oil_iou, PICTURES):
        name = comparison.split.test.name(index)
        title = f"{name}: {kind}, oil IoU {oil_iou[index]:.2f}"
        picture = f"{kind}-{_file_name(name)}.png"
        write_picture(folder / picture, *comparison.class_maps(index), LABEL_NAMES, title)
        yield picture


def _write_contact_sheets(folder: Path, comparison: Comparison) -> Iterator[str]:
    """The oil-free images that look most like oil to the first model, and the images with oil that look least so."""
    score, model = image_scores(comparison.reference), next(iter(comparison.segmenters))
    for kind, oil in (("oil-free", False), ("oil", True)):
        tiles = []
        for index in worst_images(comparison.split.test, score, oil, WORST):
            image, maps = comparison.class_maps(index, [model])
            tiles.append((comparison.split.test.name(index), f"{score[index]:.2f}", image, maps[model] == OIL))
        picture = f"worst-{kind}.png"
        write_tiles(folder / picture, tiles, f"{len(tiles)} worst {kind} images, {model}: probability of oil")
        yield picture


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
