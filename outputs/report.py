"""Reports of an evaluation: Markdown tables, reliability diagrams, pictures of images with truth and prediction.

Records are those of `models.evaluation.comparison`, as in table.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ingest.errors import UsageError
from ingest.files import whole_file
from ingest.markdown import markdown_table
from outputs.captions import fitted
from outputs.style import LOOKS

_SLICKS = {look.slick_class: look.colour for look in reversed(LOOKS)}  # oil: high confidence, listed first
CLASS_COLOURS: dict[str, str] = {
    "sea": "#08306b",
    "oil": _SLICKS["oil"],
    "look-alike": _SLICKS["look-alike"],
    "ship": "#ffffff",
    "land": "#8a7f66",
    "not oil": "#35506b",
    "no data": "#dfe6ec",
}
_MAIN_SCORES = {
    "pixels": ("miou", "oil_iou", "object_f1", "ece"),
    "images": ("auc", "oil_images_found", "oil_free_images_with_slick", "ece"),
}
_PIXEL_SCORES = ("miou", "oil_iou", "f1", "precision", "recall", "accuracy")
_OIL_SCORES = ("oil_f1", "oil_precision", "oil_recall")
_OBJECT_SCORES = (
    "object_precision", "object_recall", "object_f1", "matched_f1", "false_alarms_per_image",
    "false_alarms_per_1000_km2", "boundary_f1",
)  # fmt: skip
_IMAGE_SCORES = (
    "auc", "oil_images_found", "oil_free_images_with_slick", "false_slicks_per_oil_free_image",
    "false_slicks_per_1000_km2",
)  # fmt: skip
_CALIBRATION_SCORES = ("ece", "maximum_calibration_error", "brier", "oil_ece", "oil_brier")
_STRETCH = (0.5, 99.5)  # percentiles of the image that are black and white
_PANEL = 3.2  # inches of a panel's longer side


def table(record: Mapping[str, Any], pictures: Sequence[str] = ()) -> str:
    """Return the record of an evaluation as Markdown; pictures: names of files beside it."""
    dataset, options, models = record["dataset"], record["options"], record["models"]
    parts = [
        f"# Evaluation on {dataset['name']}",
        *([f"{dataset['note']}."] if dataset["note"] else []),
        f"{dataset['n_images']} images; {_labels(dataset)}. {_what_is_in_brackets(dataset, options, models)}.",
        _scores("Whole images", _IMAGE_SCORES, models),
        _scores("Pixels", _PIXEL_SCORES, models),
        _scores("By class", [*(f"{name}_iou" for name in dataset["compared_on"]), *_OIL_SCORES], models),
        _scores("Objects and outlines", _OBJECT_SCORES, models),
        _scores("Calibration", _CALIBRATION_SCORES, models),
        *(_objects(name, model) for name, model in models.items() if "objects_by_area" in model),
    ]
    parts = [part for part in parts if part]
    if len(models) > 1 and dataset["labels"] == "pixels":
        parts.append(_differences(models))
    parts.append(
        "## Models\n\n" + "\n".join(f"- `{k}`: weights SHA-256 `{m['weights_sha256']}`" for k, m in models.items())
    )
    if pictures:
        parts.append("## Pictures\n\n" + "\n\n".join(f"![{Path(name).stem}]({name})" for name in pictures))
    return "\n\n".join(parts) + "\n"


def summary(record: Mapping[str, Any]) -> str:
    """Return the main scores of an evaluation, a line a model, and why they have no intervals, if so."""
    scores = _MAIN_SCORES[record["dataset"]["labels"]]
    lines = [
        f"{name}: {model['n_images']} images, "
        + ", ".join(f"{score} {_with_interval(model, score)}" for score in scores)
        for name, model in record["models"].items()
    ]
    return "\n".join([*lines, *_no_intervals(record["models"]), *_lacking_intervals(record["models"])])


def require_replaceable(folder: Path, record: str, kind: str) -> None:
    """Raise `UsageError` for a folder, about to be replaced, that holds files but no earlier `record`."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / record).is_file():
        raise UsageError(folder, f"holds something other than {kind}", "choose a new or empty folder")


def write_reliability(path: Path, model: Mapping[str, Any], title: str) -> None:
    """Write a PNG of observed frequency against predicted probability, with the counts of each bin below."""
    figure = Figure(figsize=(5, 5.6), dpi=120, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    oil = "oil_calibration" if "oil_calibration" in model else "calibration"
    curves = {oil: ("probability of oil", _SLICKS["oil"])}
    if model["calibration"] != model[oil]:
        curves["calibration"] = ("likeliest class", CLASS_COLOURS["sea"])
    upper.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
    for shift, (key, (label, colour)) in enumerate(curves.items()):
        bins = [one for one in model[key] if one["pixels"]]
        error = model["oil_ece" if key == "oil_calibration" else "ece"]
        caption = label if error is None else f"{label}, ECE {error:.3f}"
        upper.plot([b["confidence"] for b in bins], [b["share"] for b in bins], "o-", color=colour, label=caption)
        width = 1 / len(model[key]) / len(curves)
        left = (np.arange(len(model[key])) * len(curves) + shift) * width
        lower.bar(left, [b["pixels"] for b in model[key]], width, align="edge", color=colour)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="observed frequency")
    figure.suptitle(fitted(title, 72 * figure.get_figwidth() - 20, 9), fontsize=9)
    upper.legend(loc="upper left")
    lower.set(xlabel="mean probability in the bin", ylabel="count", yscale="log", ylim=(0.5, None))
    with whole_file(path) as hidden:
        figure.savefig(hidden, format="png")


def write_picture(
    path: Path,
    image: NDArray[np.float32],
    maps: Mapping[str, NDArray[np.integer]],
    names: Mapping[int, str],
    title: str,
) -> None:
    """Write a PNG of an image beside its class maps.

    image: (H, W), NaN = no data; maps: title -> labels (H, W); names: label -> key of `CLASS_COLOURS`.
    """
    rows, columns = (1, 1 + len(maps)) if image.shape[0] >= 0.8 * image.shape[1] else (1 + len(maps), 1)
    scale = _PANEL * (1 if columns > 1 else 2) / max(image.shape)
    size = columns * image.shape[1] * scale, rows * (image.shape[0] * scale + 0.3) + 0.7
    figure = Figure(figsize=(max(size[0], 5.0), size[1]), dpi=120, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    pictures = {"image": grey(image)} | {one: coloured(labels, names) for one, labels in maps.items()}
    for panel, (panel_title, picture) in zip(panels, pictures.items(), strict=True):
        panel.imshow(picture, interpolation="nearest" if max(image.shape) < 400 else "antialiased")
        panel.set_title(panel_title, fontsize=9)
        panel.set_axis_off()
    present = dict.fromkeys(names[int(label)] for one in maps.values() for label in np.unique(one))
    legend = [Patch(facecolor=CLASS_COLOURS[name], edgecolor="0.4", label=name) for name in present]
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), fontsize=8, frameon=False)
    figure.suptitle(fitted(title, 72 * figure.get_figwidth() - 10, 10), fontsize=10)
    with whole_file(path) as hidden:
        figure.savefig(hidden, format="png")


def coloured(labels: NDArray[np.integer], names: Mapping[int, str]) -> NDArray[np.uint8]:
    """Return labels (H, W) in the colours of their classes, (H, W, 3)."""
    picture = np.zeros((*labels.shape, 3), np.uint8)
    for label, name in names.items():
        picture[labels == label] = np.round(255 * np.array(to_rgb(CLASS_COLOURS[name])))
    return picture


def grey(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return an image (H, W), NaN = no data, stretched to grey, (H, W, 3)."""
    picture = np.zeros((*image.shape, 3), np.uint8)
    picture[:] = np.round(255 * np.array(to_rgb(CLASS_COLOURS["no data"])))
    seen = ~np.isnan(image)
    if seen.any():
        black, white = np.percentile(image[seen], _STRETCH)
        shade = np.clip((image[seen] - black) / max(white - black, 1e-6), 0, 1)
        picture[seen] = np.round(255 * shade)[:, None]
    return picture


def _scores(title: str, wanted: Iterable[str], models: Mapping[str, Any]) -> str:
    known = [name for name in wanted if any(name in model for model in models.values())]
    if not known:
        return ""
    rows = [[f"`{name}`", *(_cell(model, score) for score in known)] for name, model in models.items()]
    return f"## {title}\n\n" + markdown_table(["model", *known], rows)


def _cell(model: Mapping[str, Any], score: str) -> str:
    value = model.get(score)
    return "-" if value is None else f"{value:.3f}{_brackets(model['intervals'][score])}"


def _with_interval(model: Mapping[str, Any], score: str) -> str:
    return "undefined" if model[score] is None else _cell(model, score)


def _labels(dataset: Mapping[str, Any]) -> str:
    if dataset["labels"] == "images":
        return "labels are of whole images"
    return f"classes compared: {', '.join(dataset['compared_on'])}"


def _what_is_in_brackets(dataset: Mapping[str, Any], options: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    if without := _no_intervals(models):
        return f"No intervals: {without[0]}"
    lacking = "".join(f"; {one}" for one in _lacking_intervals(models))
    drawn = "the images" if dataset["n_groups"] is None else f"the {dataset['n_groups']} groups of images of one place"
    samples = f"{options['confidence']:.0%} interval of {options['samples']} bootstrap samples of {drawn}"
    return f"In brackets: {samples}{lacking}"


def _no_intervals(models: Mapping[str, Any]) -> list[str]:
    """The reason, the same for all models, if there are no intervals."""
    return [reason for reason in dict.fromkeys(model["no_intervals"] for model in models.values()) if reason]


def _lacking_intervals(models: Mapping[str, Any]) -> list[str]:
    """Which scores have no interval for want of images of one label, the same for all models."""
    return [lack for lack in dict.fromkeys(model.get("lacking_intervals") for model in models.values()) if lack]


def _brackets(ends: Sequence[float | None]) -> str:
    low, high = ends
    return "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"


def _objects(name: str, model: Mapping[str, Any]) -> str:
    header = ["area, pixels", "area, km2", "true", "found", "matched", "predicted", "hits", "recall", "precision"]
    rows = [
        [
            _range(row["pixels"], "g"), _range(row["km2"], ".3g"),
            *(str(row[key]) for key in ("true", "found", "matched", "predicted", "hits")),
            _value(row["object_recall"]), _value(row["object_precision"]),
        ]
        for row in model["objects_by_area"]
    ]  # fmt: skip
    return f"## Objects by area: `{name}`\n\n" + markdown_table(header, rows)


def _range(ends: Sequence[float | None], form: str) -> str:
    start, stop = ends
    if start is None:
        return "-"
    return f"from {start:{form}}" if stop is None else f"{start:{form}} to {stop:{form}}"


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _differences(models: Mapping[str, Any]) -> str:
    first, *others = models
    scores = list(models[others[0]]["difference_to_first"])
    rows = []
    for name in others:
        cells = models[name]["difference_to_first"]
        rows.append([f"`{name}`", *(f"{_value(cells[s]['value'])}{_brackets(cells[s]['interval'])}" for s in scores)])
    return f"## Difference to `{first}`\n\n" + markdown_table(["model", *scores], rows)
