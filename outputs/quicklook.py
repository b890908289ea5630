"""The quick look: one picture of a scene's backscatter and the slicks found in it.

It stays in radar geometry, turned so that north is up.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from ingest.files import whole_file
from outputs.coverage import Coverage, finding
from outputs.locator import LOCATOR, draw_locator
from outputs.map_frame import (
    DPI,
    HALO,
    LONGEST,
    NARROWEST,
    NO_DATA_COLOUR,
    Frame,
    canvas,
    draw_graticule,
    draw_north,
    draw_scale_bar,
    turn,
)
from outputs.probability import Mask, predicted_land
from outputs.rasters import strip_heights
from outputs.style import LOOKS, look_of
from preprocess.grid import Grid
from preprocess.pipeline import CalibratedScene

_STRETCH = (0.5, 99.5)  # percentiles of the sea's decibels
_LAND = "#8a7f66"
_OUTCOMES = (("Oil, found", "#1a9850"), ("Oil, missed", "#2c7fb8"), ("False", "#e31a1c"))
_TITLE = 6.7  # inches, of the scene's name
NUMBERED = 60  # slicks whose numbers are drawn
_SMALL = 14.0  # pixels; a smaller slick is circled so that it is seen


def write_quicklook(
    calibrated: CalibratedScene,
    class_probability: xr.DataArray,
    slicks: gpd.GeoDataFrame,
    path: Path,
    *,
    land: Mask | None = None,
    coverage: Coverage | None = None,
    surroundings: Sequence[BaseGeometry] | None = None,
) -> None:
    """Draw sigma nought in dB with land shaded and slicks outlined, as a PNG of at most 1600 pixels.

    Slicks are numbered in the order of the table, from 1 on.

    Sigma nought is that of the first polarisation, averaged in linear power strip by strip, flattened along range
    and stretched between percentiles of the sea. `land` is True on land, (line, pixel), and is added to the land
    that the model predicts; `coverage` goes into the caption. With the land of
    `outputs.locator.land_around` as `surroundings`, a small map shows where the scene lies. Raises `StorageError`.
    """
    ground = predicted_land(class_probability)
    if land is not None:
        ground |= land
    figure, axes, frame = _picture(calibrated, ground)
    _draw_slicks(axes, slicks, calibrated.grid, frame)
    _write_title(figure, calibrated, _summary(slicks, coverage))
    if surroundings is not None:
        draw_locator(figure, calibrated.grid, surroundings)
    _write_legend(figure, axes, _slick_handles(slicks), bool(ground.any()))
    _save(figure, calibrated, path)


def write_comparison(
    calibrated: CalibratedScene,
    slicks: gpd.GeoDataFrame,
    oil: Mask,
    published: Mask,
    summary: str,
    path: Path,
    surroundings: Sequence[BaseGeometry] | None = None,
) -> None:
    """Draw a scene whose truth is known: oil that was found, missed, or falsely found, and the numbers of the slicks.

    oil, published: (line, pixel) of the scene's grid; `surroundings` as of `write_quicklook`. Raises `StorageError`.
    """
    figure, axes, frame = _picture(calibrated, np.zeros(oil.shape, bool))
    shade = np.zeros((*oil.shape, 4))
    handles: list[Line2D | Patch] = []
    for cells, (label, colour) in zip((oil & published, oil & ~published, published & ~oil), _OUTCOMES, strict=True):
        shade[cells] = to_rgba(colour, 0.75)
        handles.append(Patch(facecolor=colour, label=label))
    axes.imshow(shade, extent=(0, oil.shape[1], oil.shape[0], 0), aspect="auto", interpolation="nearest")
    turn(axes, frame)
    _draw_numbers(axes, slicks, calibrated.grid, frame)
    _write_title(figure, calibrated, summary)
    if surroundings is not None:
        draw_locator(figure, calibrated.grid, surroundings)
    _write_legend(figure, axes, handles, ground=False)
    _save(figure, calibrated, path)


def _picture(calibrated: CalibratedScene, ground: Mask) -> tuple[Figure, Axes, Frame]:
    """The backscatter with land shaded, graticule, north and scale; ground: (line, pixel), changed."""
    sigma_nought = calibrated.sigma_nought[0]
    step = -(-max(sigma_nought.shape) // round(LONGEST * DPI))
    frame = Frame.of(calibrated.grid)
    figure, axes = canvas(frame)
    _draw_backscatter(axes, reduced(sigma_nought, step), _land(ground, step), step)
    draw_graticule(axes, frame, calibrated.grid)
    turn(axes, frame)
    draw_north(axes, frame)
    draw_scale_bar(figure, axes, frame)
    return figure, axes, frame


def _save(figure: Figure, calibrated: CalibratedScene, path: Path) -> None:
    with whole_file(path) as hidden:
        figure.savefig(hidden, dpi=DPI, format="png", metadata={"Title": calibrated.scene.id, "Software": "Slickwatch"})


def reduced(power: xr.DataArray, step: int) -> NDArray[np.float32]:
    """Mean power of squares of `step` cells, NaN where all of a square is; strip by strip."""
    height, width = power.shape
    total = np.zeros((-(-height // step), -(-width // step)))
    count = np.zeros_like(total)
    columns = np.arange(0, width, step)
    first = 0
    for lines in strip_heights(power):
        block = np.asarray(power[first : first + lines].data)
        rows = np.arange(first, first + lines) // step
        known = np.isfinite(block)
        np.add.at(total, rows, np.add.reduceat(np.where(known, block, 0.0), columns, axis=1))
        np.add.at(count, rows, np.add.reduceat(known, columns, axis=1, dtype=np.float64))
        first += lines
    return (total / np.where(count > 0, count, np.nan)).astype(np.float32)


def _land(ground: Mask, step: int) -> Mask:
    """Squares of `step` cells with land in them."""
    rows, columns = np.arange(0, ground.shape[0], step), np.arange(0, ground.shape[1], step)
    squares: Mask = np.logical_or.reduceat(np.logical_or.reduceat(ground, rows, axis=0), columns, axis=1)
    return squares


def _draw_backscatter(axes: Axes, power: NDArray[np.float32], ground: Mask, step: int) -> None:
    extent = (0.0, step * power.shape[1], step * power.shape[0], 0.0)  # columns and rows of the grid
    positive = np.where(power > 0.0, power, np.nan)
    decibels = 10.0 * np.log10(positive)
    decibels -= _range_trend(np.where(ground, np.nan, decibels))
    sea = decibels[~ground & np.isfinite(decibels)]
    low, high = np.percentile(sea, _STRETCH) if sea.size else (-10.0, 10.0)
    decibels[np.isfinite(power) & ~np.isfinite(decibels)] = low  # no power left after noise removal: black, not missing
    axes.imshow(decibels, cmap="gray", vmin=low, vmax=high, extent=extent, aspect="auto", interpolation="antialiased")
    shade = np.zeros((*ground.shape, 4))
    shade[ground] = to_rgba(_LAND, 0.7)
    axes.imshow(shade, extent=extent, aspect="auto", interpolation="nearest")


def _range_trend(sea: NDArray[np.floating]) -> NDArray[np.floating]:
    """The trend of the sea along range in dB, which hides slicks: a parabola through the medians of the columns."""
    column = np.linspace(-1.0, 1.0, sea.shape[1])
    known = np.isfinite(sea).sum(axis=0) >= max(1, sea.shape[0] // 20)
    if np.count_nonzero(known) < 10:
        return np.zeros(sea.shape[1])
    trend: NDArray[np.floating] = np.polyval(np.polyfit(column[known], np.nanmedian(sea[:, known], axis=0), 2), column)
    return trend


def _draw_slicks(axes: Axes, slicks: gpd.GeoDataFrame, grid: Grid, frame: Frame) -> None:
    for slick_class, level, outline in zip(slicks["class"], slicks.confidence_level, slicks.geometry, strict=True):
        colour = look_of(slick_class, level).colour
        on_grid = grid.from_lonlat(outline)
        rings = [shapely.get_coordinates(ring) for ring in shapely.get_rings(shapely.get_parts(on_grid))]
        axes.add_collection(LineCollection(rings, colors=colour, linewidths=1.3, path_effects=HALO))
        corners = np.concatenate(rings)
        size = np.ptp(corners, axis=0) * frame.dots_per_cell
        if size.max() < _SMALL:
            for edge, width in (("white", 2.6), (colour, 1.3)):
                axes.plot(*corners.mean(axis=0), "o", ms=12, mfc="none", mec=edge, mew=width)
    _draw_numbers(axes, slicks, grid, frame)


def _draw_numbers(axes: Axes, slicks: gpd.GeoDataFrame, grid: Grid, frame: Frame) -> None:
    """The number of each slick beside it; of many, those of the largest."""
    largest = set(slicks.area_m2.nlargest(NUMBERED).index)
    for number, (index, outline) in enumerate(slicks.geometry.items(), start=1):
        if index in largest:
            west, _, east, _ = grid.from_lonlat(outline).bounds
            row = grid.from_lonlat(outline).centroid.y
            axes.annotate(
                str(number), (east if frame.columns_rightwards else west, row), (5, 0), textcoords="offset points",
                va="center", fontsize=9, fontweight="bold", path_effects=HALO, annotation_clip=True,
            )  # fmt: skip


def _write_title(figure: Figure, calibrated: CalibratedScene, summary: str) -> None:
    scene = calibrated.scene
    width, top = figure.get_size_inches()
    middle = min(0.5, 1 - (_TITLE / 2 + LOCATOR) / width)
    polarisation = str(calibrated.sigma_nought.polarisation.values[0])
    orbit = "" if scene.relative_orbit is None else f"   relative orbit {scene.relative_orbit}"
    when = f"{scene.acquired_start:%Y-%m-%d %H:%M:%S} UTC"
    figure.text(middle, 1 - 0.42 / top, scene.id, ha="center", va="center", fontsize=10, fontweight="bold")
    second = f"{when}   {scene.platform} {scene.mode} {polarisation}{orbit}"
    figure.text(middle, 1 - 0.68 / top, second, ha="center", va="center", fontsize=9)
    figure.text(middle, 1 - 0.92 / top, summary, ha="center", va="center", fontsize=9)


def _summary(slicks: gpd.GeoDataFrame, coverage: Coverage | None) -> str:
    if slicks.empty:
        words = finding(0, coverage)
        return words[0].upper() + words[1:]
    counts = slicks.groupby("class").area_m2.agg(["count", "sum"])
    return "   ".join(
        f"{row['count']:.0f} {name} slick{'s' if row['count'] > 1 else ''}, {row['sum'] / 1e6:.3g} km²"
        for name, row in counts.iterrows()
    )


def _slick_handles(slicks: gpd.GeoDataFrame) -> list[Line2D | Patch]:
    shown = {look_of(*pair).label for pair in zip(slicks["class"], slicks.confidence_level, strict=True)}
    return [Line2D([], [], color=look.colour, linewidth=2, label=look.label) for look in LOOKS if look.label in shown]


def _write_legend(figure: Figure, axes: Axes, handles: list[Line2D | Patch], ground: bool) -> None:
    if ground:
        handles.append(Patch(facecolor=_LAND, label="Land"))
    handles.append(Patch(facecolor=NO_DATA_COLOUR, edgecolor="#9aa5ae", label="No data"))
    figure.legend(
        handles=handles,
        loc="center right",
        bbox_to_anchor=(
            max(axes.get_position().x1, 0.5 + 0.485 * NARROWEST / figure.get_figwidth()),
            0.27 / figure.get_figheight(),
        ),
        ncol=len(handles),
        frameon=False,
        fontsize=9,
        borderaxespad=0.0,
    )
