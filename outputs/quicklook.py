"""The quick look: one picture that shows at a glance what was seen and what was found.

It stays in the radar's own geometry, turned so that north is up.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from pyproj import Geod

from ingest.files import whole_file
from outputs.attributes import Mask
from outputs.rasters import strip_heights
from outputs.slicks import cell_corners, predicted_land
from outputs.style import LOOKS, Look
from preprocess.geolocate import Geolocation
from preprocess.pipeline import CalibratedScene

_WGS84 = Geod(ellps="WGS84")
_DPI = 100
_LONGEST = 14.0  # inches of the image; with title and legend the picture stays below 1600 pixels
_HEADER, _FOOTER, _SIDE = 0.8, 0.5, 0.15  # inches around the image
_NARROWEST = 8.5  # inches that title and legend need
_STRETCH = (0.5, 99.5)  # percentiles of the sea's decibels
_LAND, _NOTHING = "#8a7f66", "#dfe6ec"
_SMALL = 14.0  # a slick of fewer pixels gets a ring around it, or nobody would see it
_HALO = [withStroke(linewidth=2.6, foreground="white", alpha=0.8)]


@dataclass(frozen=True)
class _Frame:
    """Where the picture lies in image coordinates, what a line and a pixel are on the ground, how it is turned."""

    left: float
    right: float
    top: float
    bottom: float
    line_spacing: float  # m
    pixel_spacing: float  # m
    lines_upwards: bool
    pixels_rightwards: bool
    north: tuple[float, float]  # on the picture, rightwards and upwards, length 1

    @property
    def inches_per_metre(self) -> float:
        """The scale of the picture."""
        return _LONGEST / max(self.width, self.height)

    @property
    def width(self) -> float:
        """Metres across."""
        return (self.right - self.left) * self.pixel_spacing

    @property
    def height(self) -> float:
        """Metres along."""
        return (self.bottom - self.top) * self.line_spacing


def write_quicklook(
    calibrated: CalibratedScene,
    class_probability: xr.DataArray,
    slicks: gpd.GeoDataFrame,
    path: Path,
    *,
    land: Mask | None = None,
) -> None:
    """Draw sigma nought in dB with land shaded and slicks outlined, as a PNG of at most 1600 pixels.

    Sigma nought is that of the first polarisation, averaged in linear power by strips of lines, less its
    fall along range, and stretched over the sea's percentiles. `land` is True on land, (line, pixel), and
    adds to what the model takes for land. Raises `StorageError`.
    """
    sigma_nought = calibrated.sigma_nought[0]
    step = -(-max(sigma_nought.shape) // round(_LONGEST * _DPI))
    power = _reduced(sigma_nought, step)
    ground = _land(class_probability, land, step)
    frame = _frame(sigma_nought, calibrated)
    figure, axes = _canvas(frame)
    _draw_backscatter(axes, power, ground, _extent(sigma_nought, calibrated.looks, step))
    _draw_slicks(axes, slicks, calibrated.geolocation, frame)
    _turn(axes, frame)
    _draw_north(axes, frame)
    _write_title(figure, calibrated, slicks)
    _write_legend(figure, axes, slicks, bool(ground.any()))
    _draw_scale_bar(figure, axes, frame)
    with whole_file(path) as hidden:
        figure.savefig(hidden, dpi=_DPI, metadata={"Title": calibrated.scene.id, "Software": "Slickwatch"})


def _reduced(power: xr.DataArray, step: int) -> NDArray[np.float32]:
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


def _land(probability: xr.DataArray, land: Mask | None, step: int) -> Mask:
    """Squares of `step` cells that hold land of the mask or of the model."""
    ground = predicted_land(probability)
    if land is not None:
        ground |= land
    rows, columns = np.arange(0, ground.shape[0], step), np.arange(0, ground.shape[1], step)
    squares: Mask = np.logical_or.reduceat(np.logical_or.reduceat(ground, rows, axis=0), columns, axis=1)
    return squares


def _frame(grid: xr.DataArray, calibrated: CalibratedScene) -> _Frame:
    left, right, bottom, top = _extent(grid, calibrated.looks, 1)
    line, pixel = (top + bottom) / 2.0, (left + right) / 2.0
    across = _metres(calibrated.geolocation, (line, left), (line, right))
    along = _metres(calibrated.geolocation, (top, pixel), (bottom, pixel))
    upwards = bool(along[1] > 0.0)
    # Both axes turn together, or the picture would be a mirror image of the map.
    rightwards = upwards if across[0] * along[1] > across[1] * along[0] else not upwards
    north = np.array([across[1] / np.hypot(*across), along[1] / np.hypot(*along)])
    north *= (1.0 if rightwards else -1.0, 1.0 if upwards else -1.0)
    north /= np.hypot(*north)
    return _Frame(
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        line_spacing=float(np.hypot(*along)) / (bottom - top),
        pixel_spacing=float(np.hypot(*across)) / (right - left),
        lines_upwards=upwards,
        pixels_rightwards=rightwards,
        north=(float(north[0]), float(north[1])),
    )


def _extent(grid: xr.DataArray, looks: tuple[int, int], step: int) -> tuple[float, float, float, float]:
    """Left, right, bottom, top of a raster averaged by `step` cells, in pixels and lines."""
    cells = cell_corners(grid, looks)
    rows, columns = (-(-length // step) * step for length in grid.shape)
    return cells.c, cells.c + columns * cells.a, cells.f + rows * cells.e, cells.f


def _metres(geolocation: Geolocation, start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    """Metres east and north from one (line, pixel) to another."""
    longitude, latitude = geolocation.lonlat([start[0], end[0]], [start[1], end[1]])
    azimuth, _, distance = _WGS84.inv(longitude[0], latitude[0], longitude[1], latitude[1])
    return float(distance * np.sin(np.radians(azimuth))), float(distance * np.cos(np.radians(azimuth)))


def _canvas(frame: _Frame) -> tuple[Figure, Axes]:
    """A figure with axes for the image, true to scale on the ground."""
    width, height = frame.width * frame.inches_per_metre, frame.height * frame.inches_per_metre
    page = max(width + 2 * _SIDE, _NARROWEST), height + _HEADER + _FOOTER
    figure = Figure(figsize=page, facecolor="white")
    FigureCanvasAgg(figure)
    place = (0.5 - width / 2 / page[0], _FOOTER / page[1], width / page[0], height / page[1])
    return figure, figure.add_axes(place, facecolor=_NOTHING, xticks=[], yticks=[])


def _draw_backscatter(
    axes: Axes, power: NDArray[np.float32], ground: Mask, extent: tuple[float, float, float, float]
) -> None:
    positive = np.where(power > 0.0, power, np.nan)
    decibels = 10.0 * np.log10(positive)
    decibels -= _range_trend(np.where(ground, np.nan, decibels))
    sea = decibels[~ground & np.isfinite(decibels)]
    low, high = np.percentile(sea, _STRETCH) if sea.size else (-10.0, 10.0)
    decibels[np.isfinite(power) & ~np.isfinite(decibels)] = low  # noise removal left nothing: black, not missing
    axes.imshow(decibels, cmap="gray", vmin=low, vmax=high, extent=extent, aspect="auto", interpolation="antialiased")
    shade = np.zeros((*ground.shape, 4))
    shade[ground] = to_rgba(_LAND, 0.7)
    axes.imshow(shade, extent=extent, aspect="auto", interpolation="nearest")


def _range_trend(sea: NDArray[np.floating]) -> NDArray[np.floating]:
    """The fall of the sea's decibels along range as a parabola through the columns' medians; it hides slicks."""
    column = np.linspace(-1.0, 1.0, sea.shape[1])
    known = np.isfinite(sea).sum(axis=0) >= max(1, sea.shape[0] // 20)
    if np.count_nonzero(known) < 10:
        return np.zeros(sea.shape[1])
    trend: NDArray[np.floating] = np.polyval(np.polyfit(column[known], np.nanmedian(sea[:, known], axis=0), 2), column)
    return trend


def _turn(axes: Axes, frame: _Frame) -> None:
    axes.set_xlim((frame.left, frame.right) if frame.pixels_rightwards else (frame.right, frame.left))
    axes.set_ylim((frame.top, frame.bottom) if frame.lines_upwards else (frame.bottom, frame.top))


def _look(slick_class: str, level: str) -> Look:
    return next(look for look in LOOKS if look.slick_class == slick_class and look.level in (None, level))


def _draw_slicks(axes: Axes, slicks: gpd.GeoDataFrame, geolocation: Geolocation, frame: _Frame) -> None:
    per_pixel = _DPI * frame.inches_per_metre * frame.pixel_spacing
    per_line = _DPI * frame.inches_per_metre * frame.line_spacing
    for slick_class, level, outline in zip(slicks["class"], slicks.confidence_level, slicks.geometry, strict=True):
        colour = _look(slick_class, level).colour
        rings = [_on_image(ring, geolocation) for ring in shapely.get_rings(shapely.get_parts(outline))]
        axes.add_collection(LineCollection(rings, colors=colour, linewidths=1.3, path_effects=_HALO))
        every = np.concatenate(rings)
        size = np.ptp(every, axis=0) * (per_pixel, per_line)
        if size.max() < _SMALL:
            for edge, width in (("white", 2.6), (colour, 1.3)):
                axes.plot(*every.mean(axis=0), "o", ms=12, mfc="none", mec=edge, mew=width)


def _on_image(ring: shapely.LinearRing, geolocation: Geolocation) -> NDArray[np.float64]:
    """A ring in degrees as (n, 2) pixel and line."""
    longitude, latitude = shapely.get_coordinates(ring).T
    line, pixel = geolocation.line_pixel(longitude, latitude)
    return np.column_stack([pixel, line])


def _draw_north(axes: Axes, frame: _Frame) -> None:
    """An arrow in the upper right corner."""
    east, up = frame.north
    inch = np.array([1.0, 1.0]) / (frame.width * frame.inches_per_metre, frame.height * frame.inches_per_metre)
    middle, half = 1.0 - 0.42 * inch, 0.25 * inch * (east, up)
    axes.annotate(
        "N",
        xy=tuple(middle + half),
        xytext=tuple(middle - half),
        xycoords="axes fraction",
        textcoords="axes fraction",
        ha="center",
        va="center",
        fontsize=11,
        fontweight="bold",
        path_effects=_HALO,
        arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 1.6, "path_effects": _HALO},
    )


def _draw_scale_bar(figure: Figure, axes: Axes, frame: _Frame) -> None:
    """A bar of 1, 2 or 5 times a power of ten metres under the image, on the left."""
    place = axes.get_position()
    longest = min(frame.width / 3.0, 1.8 / frame.inches_per_metre)
    power = 10.0 ** np.floor(np.log10(longest))
    length = max(step * power for step in (1.0, 2.0, 5.0) if step * power <= longest)
    start = min(place.x0, (figure.get_figwidth() - _NARROWEST) / 2 / figure.get_figwidth() + 0.015)
    end = start + length * frame.inches_per_metre / figure.get_figwidth()
    height = 0.27 / figure.get_figheight()
    figure.add_artist(Line2D([start, end], [height, height], color="black", linewidth=3, solid_capstyle="butt"))
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    figure.text(end, height, f"  {text}", va="center", fontsize=9)


def _write_title(figure: Figure, calibrated: CalibratedScene, slicks: gpd.GeoDataFrame) -> None:
    scene = calibrated.scene
    top = figure.get_figheight()
    polarisation = str(calibrated.sigma_nought.polarisation.values[0])
    orbit = "" if scene.relative_orbit is None else f"   relative orbit {scene.relative_orbit}"
    when = f"{scene.acquired_start:%Y-%m-%d %H:%M:%S} UTC"
    figure.text(0.5, 1 - 0.2 / top, scene.id, ha="center", va="center", fontsize=10, fontweight="bold")
    second = f"{when}   {scene.platform} {scene.mode} {polarisation}{orbit}"
    figure.text(0.5, 1 - 0.42 / top, second, ha="center", va="center", fontsize=9)
    figure.text(0.5, 1 - 0.63 / top, _summary(slicks), ha="center", va="center", fontsize=9)


def _summary(slicks: gpd.GeoDataFrame) -> str:
    if slicks.empty:
        return "No slicks found"
    counts = slicks.groupby("class").area_m2.agg(["count", "sum"])
    return "   ".join(
        f"{row['count']:.0f} {name} slick{'s' if row['count'] > 1 else ''}, {row['sum'] / 1e6:.3g} km²"
        for name, row in counts.iterrows()
    )


def _write_legend(figure: Figure, axes: Axes, slicks: gpd.GeoDataFrame, ground: bool) -> None:
    shown = {_look(*pair).label: _look(*pair) for pair in zip(slicks["class"], slicks.confidence_level, strict=True)}
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=look.colour, linewidth=2, label=look.label) for look in LOOKS if look.label in shown
    ]
    if ground:
        handles.append(Patch(facecolor=_LAND, label="Land"))
    handles.append(Patch(facecolor=_NOTHING, edgecolor="#9aa5ae", label="No data"))
    figure.legend(
        handles=handles,
        loc="center right",
        bbox_to_anchor=(
            max(axes.get_position().x1, 0.5 + 0.485 * _NARROWEST / figure.get_figwidth()),
            0.27 / figure.get_figheight(),
        ),
        ncol=len(handles),
        frameon=False,
        fontsize=9,
        borderaxespad=0.0,
    )
