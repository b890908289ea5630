"""Pictures of a report on an area: where slicks lay, how often each place was looked at, and slicks by day."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Curve
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from outputs.coordinates import bounding_box
from outputs.locator import LAND, SEA
from outputs.map_frame import degree_text
from outputs.reports.document import Picture, picture_of
from outputs.style import look_of
from preprocess.coastline import land_polygons

_CELLS = 60  # along the longer side of the heat map
_DPI = 130
_COARSENESS = 400  # of the map's width, to which coasts are simplified
_COLOURS = {name: look_of(name, "High").colour for name in ("oil", "look-alike")}


@dataclass(frozen=True, eq=False)
class Window:
    """The box of an area, cut into cells; longitudes go on beyond 180 where it crosses the antimeridian."""

    area: BaseGeometry  # WGS 84, split at the antimeridian
    west: float
    east: float
    south: float
    north: float

    @classmethod
    def around(cls, area: BaseGeometry) -> Window:
        """With a margin of a twentieth on each side."""
        west, south, east, north = bounding_box(area)
        east += 360.0 if east < west else 0.0
        margin = max(east - west, north - south, 0.02) / 20
        south, north = max(south - margin, -90.0), min(north + margin, 90.0)
        return cls(area, west - margin, east + margin, south, north)

    @property
    def aspect(self) -> float:
        """Degrees of longitude that are as long as one of latitude, in the middle."""
        return 1 / max(float(np.cos(np.radians((self.south + self.north) / 2))), 0.05)

    @property
    def edges(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Longitudes and latitudes between cells, which are about square."""
        width, height = (self.east - self.west) / self.aspect, self.north - self.south
        size = max(width, height) / _CELLS
        columns, rows = max(1, round(width / size)), max(1, round(height / size))
        return np.linspace(self.west, self.east, columns + 1), np.linspace(self.south, self.north, rows + 1)

    @property
    def centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Longitudes and latitudes of the middles of cells, (rows, columns)."""
        longitude, latitude = ((edge[1:] + edge[:-1]) / 2 for edge in self.edges)
        x, y = np.meshgrid(longitude, latitude)
        return x, y

    def inside(self, geometry: BaseGeometry) -> NDArray[np.bool_]:
        """Which cells have their middle in a geometry, (rows, columns)."""
        x, y = self.centres
        return np.asarray(shapely.contains_xy(geometry, (x + 180) % 360 - 180, y))

    def eastward(self, longitude: NDArray[np.float64]) -> NDArray[np.float64]:
        """Longitudes as the window counts them."""
        return self.west + (longitude - self.west) % 360


def looks(window: Window, footprints: Sequence[BaseGeometry]) -> NDArray[np.int64]:
    """How many footprints each cell lies in, (rows, columns)."""
    counted = np.zeros(window.centres[0].shape, np.int64)
    for footprint in footprints:
        counted += window.inside(footprint)
    return counted


def heat_map(window: Window, slicks: gpd.GeoDataFrame, seen: NDArray[np.int64], coastline: Path | None) -> Picture:
    """Two maps: the area of slicks by cell, and how often each cell was looked at. Raises as `land_polygons`."""
    figure = _figure(window)
    land = _land(window, coastline)
    edges = window.edges
    place = window.eastward(slicks.centroid_lon.to_numpy(float)), slicks.centroid_lat.to_numpy(float)
    areas, _, _ = np.histogram2d(*place, bins=edges, weights=slicks.area_m2.to_numpy(float) / 1e6)
    for axes, values, title, colours in zip(
        figure.subplots(1, 2), (areas.T, seen), ("Slicks, km² in each cell", "Times looked at"), ("YlOrRd", "Blues"),
        strict=True,
    ):  # fmt: skip
        _base(axes, window, land)
        shown = np.ma.masked_equal(values, 0)
        drawn = axes.pcolormesh(*edges, shown, cmap=colours, vmin=0, vmax=max(values.max(), 1), alpha=0.85)
        figure.colorbar(drawn, ax=axes, shrink=0.75, pad=0.02)
        axes.set_title(title, fontsize=9)
        for part in shapely.get_parts(shapely.boundary(_eastward(window, window.area))):
            axes.plot(*shapely.get_coordinates(part).T, color="#1d2730", linewidth=1.2)
        if not values.any():
            axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", fontsize=11, color="#51606b")
    alt = "Two maps of the area: the area of slicks in each cell, and how often each cell was looked at"
    return _picture(figure, alt, "The outline is the area of the report; a slick counts where its centre lies.")


def day_chart(days: Sequence[date], counts: dict[str, Sequence[int]], scenes: Sequence[int]) -> Picture:
    """Slicks of each class by day as bars, and the scenes looked at as dots; days in order, without gaps."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    axes = figure.add_subplot()
    foot = np.zeros(len(days))
    position = np.arange(len(days))
    for name, numbers in counts.items():
        axes.bar(position, numbers, bottom=foot, color=_COLOURS[name], label=name, width=0.85)
        foot += numbers
    axes.plot(position, scenes, "o", color="#1d2730", markersize=3, label="scenes looked at")
    every = -(-len(days) // 12)
    axes.set_xticks(
        position[::every], [f"{day:%d %b %Y}" if len(days) < 5 else f"{day:%d %b}" for day in days[::every]]
    )
    axes.set_xlim(-0.6, len(days) - 0.4)
    axes.set_ylim(0, max(1.0, 1.15 * max(foot.max(), max(scenes))))
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, frameon=False, ncols=3, loc="upper right")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return _picture(figure, "Bars of the number of slicks by day, with the scenes looked at as dots")


def _figure(window: Window) -> Figure:
    height = 4.2 * (window.north - window.south) * window.aspect / (window.east - window.west)
    return Figure(figsize=(11, float(np.clip(height, 2.2, 9)) + 0.7), layout="constrained")


def _base(axes: Axes, window: Window, land: Sequence[BaseGeometry]) -> None:
    axes.set_facecolor(SEA)
    axes.set_xlim(window.west, window.east)
    axes.set_ylim(window.south, window.north)
    axes.set_aspect(window.aspect)
    axes.locator_params(nbins=4)
    axes.xaxis.set_major_formatter(lambda value, _: degree_text(value, "EW"))
    axes.yaxis.set_major_formatter(lambda value, _: degree_text(value, "NS"))
    axes.tick_params(labelsize=7)
    rings = [Curve(shapely.get_coordinates(ring)) for one in land for ring in shapely.get_rings(one)]
    if rings:
        axes.add_artist(PathPatch(Curve.make_compound_path(*rings), facecolor=LAND, edgecolor="none"))


def _land(window: Window, coastline: Path | None) -> list[BaseGeometry]:
    """Land polygons in the window, coarse."""
    found: list[BaseGeometry] = []
    coarseness = (window.east - window.west) / _COARSENESS
    for turn in (-360.0, 0.0, 360.0):
        box = max(window.west + turn, -180.0), window.south, min(window.east + turn, 180.0), window.north
        if box[0] < box[2]:
            land = shapely.clip_by_rect(land_polygons(box, coastline), *box)
            large = land[shapely.area(land) > coarseness**2]
            coarse = shapely.make_valid(shapely.simplify(large, coarseness))
            found += [translate(one, -turn) for one in shapely.get_parts(coarse) if one.geom_type == "Polygon"]
    # Holes the other way round stay empty.
    return [shapely.orient_polygons(one) for one in found if one.area > 0]


def _eastward(window: Window, geometry: BaseGeometry) -> BaseGeometry:
    """The parts of a geometry where the window shows them, joined again at the antimeridian."""
    parts = [translate(one, 360.0) if one.bounds[2] < window.west else one for one in shapely.get_parts(geometry)]
    return shapely.union_all(parts)


def _picture(figure: Figure, alt: str, caption: str = "") -> Picture:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI)
    return picture_of(Image.open(content), alt, caption)
