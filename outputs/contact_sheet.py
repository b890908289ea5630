"""A contact sheet: real and synthetic images side by side, each with its labels."""

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
from outputs.report import CLASS_COLOURS, coloured

_PANEL = 1.5  # inches a side
_CAPTION = 0.25  # inches of the line above each row
_GAP = 0.35  # of a panel's width, between two sets
_DPI = 120
_OIL_RAMP = LinearSegmentedColormap.from_list("oil", [CLASS_COLOURS["sea"], CLASS_COLOURS["oil"]])


@dataclass(frozen=True)
class Sample:
    """A pair to show; `oil_probability` (H, W), 0..1, for soft labels."""

    name: str
    image: NDArray[np.uint8]  # (H, W)
    labels: NDArray[np.integer]  # (H, W)
    oil_probability: NDArray[np.floating] | None = None


def write_contact_sheet(
    path: Path, sets: Mapping[str, Sequence[Sample]], class_names: Mapping[int, str], title: str
) -> None:
    """Write a PNG with a row a sample and, for each set, columns of images, labels and, where given, oil probability.

    sets: samples by title, at least one each; class_names: label -> key of `outputs.report.CLASS_COLOURS`. Images are
    shown without a stretch, 0 black and 255 white. Raises `StorageError`.
    """
    columns = {name: _columns(samples) for name, samples in sets.items()}
    rows = max(len(samples) for samples in sets.values())
    widths = [width for kinds in columns.values() for width in (*(1.0 for _ in kinds), _GAP)][:-1]
    figure = Figure(figsize=(sum(widths) * _PANEL + 0.2, rows * (_PANEL + _CAPTION) + 1.3), dpi=_DPI)
    height = figure.get_figheight()
    grid = figure.add_gridspec(
        rows, len(widths), width_ratios=widths, wspace=0.04, hspace=_CAPTION / _PANEL, left=0.1 / figure.get_figwidth(),
        right=1 - 0.1 / figure.get_figwidth(), top=1 - 0.85 / height, bottom=0.4 / height,
    )  # fmt: skip
    left = 0
    for name, samples in sets.items():
        for row, sample in enumerate(samples):
            panels = [figure.add_subplot(grid[row, left + i]) for i in range(len(columns[name]))]
            _draw(panels, columns[name], sample, class_names, name if row == 0 else None)
        left += len(columns[name]) + 1
    figure.suptitle(title, fontsize=10, y=1 - 0.12 / height, va="top")
    figure.legend(handles=_legend(sets, class_names), loc="lower center", ncols=8, fontsize=8, frameon=False)
    with whole_file(path) as hidden:
        figure.savefig(hidden, format="png")


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
        panel.set_title(sample.name if kind == "image" else kind if set_name else "", fontsize=7, pad=3)
    if set_name:
        panels[0].annotate(
            set_name, (0, 1), (0, 17), xycoords="axes fraction", textcoords="offset points", fontsize=9, weight="bold"
        )


def _legend(sets: Mapping[str, Sequence[Sample]], class_names: Mapping[int, str]) -> list[Patch]:
    present = {int(label) for samples in sets.values() for one in samples for label in np.unique(one.labels)}
    names = [name for label, name in class_names.items() if label in present]
    return [Patch(facecolor=CLASS_COLOURS[name], edgecolor="0.4", label=name) for name in names]
