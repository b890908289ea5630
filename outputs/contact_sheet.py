"""Contact sheets: pairs of image and labels, set beside set; many images with the outlines of their slicks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ingest.files import whole_file
from outputs.captions import fitted
from outputs.report import CLASS_COLOURS, coloured, grey

_PANEL = 1.5  # inches a side
_CAPTION = 0.25  # inches of the line above each row
_GAP = 0.35  # of a panel's width, between two sets
_DPI = 120
_TILE = 1.7  # inches a side of the images of a sheet without labels
_NARROWEST = 4.0  # inches, for the title
_OIL_RAMP = LinearSegmentedColormap.from_list("oil", [CLASS_COLOURS["sea"], CLASS_COLOURS["oil"]])


@dataclass(frozen=True)
class Sample:
    """A pair to show; `oil_probability` (H, W), 0..1, for soft labels."""

    name: str
    image: NDArray[np.uint8]  # (H, W)
    labels: NDArray[np.integer]  # (H, W)
    oil_probability: NDArray[np.floating] | None = None


def write_pairs(path: Path, sets: Mapping[str, Sequence[Sample]], class_names: Mapping[int, str], title: str) -> None:
    """Write a PNG with a row a sample and, for each set, columns of images, labels and, where given, oil probability.

    sets: samples by title, at least one each; class_names: label -> key of `outputs.report.CLASS_COLOURS`. Images are
    shown without a stretch, 0 black and 255 white. Raises `StorageError`.
    """
    with whole_file(path) as hidden:
        pairs(sets, class_names, title).savefig(hidden, format="png")


def write_tiles(
    path: Path, tiles: Sequence[tuple[str, str, NDArray[np.float32], NDArray[np.bool_]]], title: str, columns: int = 8
) -> None:
    """Write a PNG of many images with the outlines of their slicks.

    tiles: name, figure, image (H, W) with NaN = no data, and True on slicks (H, W), each; at least one. Raises
    `StorageError`.
    """
    with whole_file(path) as hidden:
        outlined_tiles(tiles, title, columns).savefig(hidden, format="png")


def pairs(sets: Mapping[str, Sequence[Sample]], class_names: Mapping[int, str], title: str) -> Figure:
    """Draw what `write_pairs` writes."""
    columns = {name: _columns(samples) for name, samples in sets.items()}
    rows = max(len(samples) for samples in sets.values())
    widths = [width for kinds in columns.values() for width in (*(1.0 for _ in kinds), _GAP)][:-1]
    inner = sum(widths) * _PANEL
    figure = Figure(figsize=(max(inner + 0.2, _NARROWEST), rows * (_PANEL + _CAPTION) + 1.3), dpi=_DPI)
    height, margin = figure.get_figheight(), (1 - inner / figure.get_figwidth()) / 2
    grid = figure.add_gridspec(
        rows, len(widths), width_ratios=widths, wspace=0.04, hspace=_CAPTION / _PANEL, left=margin, right=1 - margin,
        top=1 - 0.85 / height, bottom=0.4 / height,
    )  # fmt: skip
    left = 0
    for name, samples in sets.items():
        for row, sample in enumerate(samples):
            panels = [figure.add_subplot(grid[row, left + i]) for i in range(len(columns[name]))]
            _draw(panels, columns[name], sample, class_names, name if row == 0 else None)
        left += len(columns[name]) + 1
    figure.suptitle(title, fontsize=10, y=1 - 0.12 / height, va="top")
    figure.legend(handles=_legend(sets, class_names), loc="lower center", ncols=8, fontsize=8, frameon=False)
    return figure


def outlined_tiles(
    tiles: Sequence[tuple[str, str, NDArray[np.float32], NDArray[np.bool_]]], title: str, columns: int = 8
) -> Figure:
    """Draw what `write_tiles` writes."""
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    tallest = max(image.shape[0] / image.shape[1] for _, _, image, _ in tiles)
    width = max(_TILE * columns, _NARROWEST)
    figure = Figure(figsize=(width, (width / columns * tallest + 0.25) * rows + 0.5), dpi=100, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, (name, score, image, slicks) in zip(panels, tiles, strict=False):
        panel.imshow(grey(image))
        if slicks.any():
            panel.contour(slicks, levels=[0.5], colors=[CLASS_COLOURS["oil"]], linewidths=0.7)
        panel.set_title(f"{fitted(name, 72 * _TILE - 40, 6)} {score}", fontsize=6)
    for panel in panels:
        panel.set_axis_off()
    figure.suptitle(fitted(title, 72 * width - 10, 10), fontsize=10)
    return figure


def _columns(samples: Sequence[Sample]) -> tuple[str, ...]:
    soft = any(sample.oil_probability is not None for sample in samples)
    return ("image", "label", "oil probability") if soft else ("image", "label")


def _draw(
    panels: Sequence[Axes],
    kinds: Sequence[str],
    sample: Sample,
    class_names: Mapping[int, str],
    set_name: str | None,
) -> None:
    """Draw a pair; the first row of a set has the titles of the set and of its columns."""
    for panel, kind in zip(panels, kinds, strict=True):
        panel.set_axis_off()
        if kind == "image":
            panel.imshow(sample.image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        elif kind == "label":
            panel.imshow(coloured(sample.labels, class_names), interpolation="nearest")
        elif sample.oil_probability is not None:
            panel.imshow(sample.oil_probability, cmap=_OIL_RAMP, vmin=0, vmax=1, interpolation="nearest")
        caption = fitted(sample.name, 72 * _PANEL - 9, 7) if kind == "image" else kind if set_name else ""
        panel.set_title(caption, fontsize=7, pad=3)
    if set_name:
        heading = fitted(set_name, 72 * _PANEL * len(panels) - 9, 9, "bold")
        panels[0].annotate(
            heading, (0, 1), (0, 17), xycoords="axes fraction", textcoords="offset points", fontsize=9, weight="bold"
        )


def _legend(sets: Mapping[str, Sequence[Sample]], class_names: Mapping[int, str]) -> list[Patch]:
    present = {int(label) for samples in sets.values() for one in samples for label in np.unique(one.labels)}
    names = [name for label, name in class_names.items() if label in present]
    return [Patch(facecolor=CLASS_COLOURS[name], edgecolor="0.4", label=name) for name in names]
