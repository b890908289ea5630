"""From class probabilities to slicks: which cells make one slick, their outline and what is known of them.

Three thresholds on the probability of the class (hysteresis, as SkyTruth Cerulean does): cells at `grow`
or above that touch, also by a corner, belong together; such a group is a slick when one of its cells
reaches `keep`; its outline goes around its cells at `outline` or above, each patch of them becoming one
part of the MultiPolygon. So a thin trail that fades here and there stays one slick, and a faint smear
that nowhere convinces the model is none.

Cells on land and without data are taken away before anything is grouped, and outlines follow the cells'
edges exactly: no slick can reach onto land, into missing data or out of the scene, its area is that of
its cells, and two slicks never overlap. Simplified outlines would have none of this.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import geopandas as gpd
import numpy as np
import shapely
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from rasterio import features
from scipy import ndimage
from shapely.geometry import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

from ingest.errors import UsageError
from outputs.attributes import (
    SCHEMA_VERSION,
    Mask,
    confidence_attributes,
    mean_db,
    ring_around,
    shape_attributes,
    slick_table,
)
from outputs.record import software_version
from preprocess.geolocate import Geolocation, geodesic_area_perimeter
from preprocess.pipeline import CalibratedScene

Window = tuple[slice, slice]
_CORNERS_TOUCH = np.ones((3, 3), dtype=bool)
_DECIMALS = 7  # RFC 7946, 11.2: a centimetre; the same in every format
_NOT_SEA = ("oil", "ship", "land")  # Look-alikes are sea surface, and part of the surroundings.


@dataclass(frozen=True)
class SlickOptions:
    """What counts as a slick. Raises `UsageError` unless 0 < grow <= outline <= keep <= 1.

    The surroundings are the sea cells from `ring_gap` to `ring_gap + ring_width` cells off the outline.
    """

    grow: float = 0.3
    outline: float = 0.5
    keep: float = 0.7
    minimum_area_m2: float = 100_000.0
    classes: tuple[str, ...] = ("oil",)
    medium: float = 0.7  # mean probability from which the confidence is called Medium
    high: float = 0.85
    ring_gap: int = 2
    ring_width: int = 12
    minimum_ring: int = 20  # fewer cells of sea around a slick say nothing about contrast

    def __post_init__(self) -> None:
        if not self.classes:
            raise UsageError("slick classes", "none is given", "choose oil, look-alike or both")
        if not 0.0 < self.grow <= self.outline <= self.keep <= 1.0:
            raise UsageError(
                "slick thresholds",
                f"grow {self.grow}, outline {self.outline} and keep {self.keep} are out of order",
                "choose 0 < grow <= outline <= keep <= 1",
            )

    def thresholds(self) -> str:
        """The figures that decide what is a slick, as JSON for the slick table."""
        names = ("grow", "outline", "keep", "minimum_area_m2")
        return json.dumps({name: getattr(self, name) for name in names})


@dataclass(frozen=True, eq=False)
class _Planes:
    """The scene as the grouping sees it, each (line, pixel), and where its cells lie."""

    probability: xr.DataArray  # (class, line, pixel), read by windows
    plane: NDArray[np.floating]  # the class looked for
    blocked: Mask  # land or no data
    group: NDArray[np.int32]  # 0 where below `grow`
    cells: Affine  # (column, row) of a cell's corner to (pixel, line)
    end: tuple[float, float]  # (pixel, line) of the last corner of the image


@dataclass(frozen=True, eq=False)
class _Slick:
    """One group that became a slick; its cells are those of `group` at `outline` or above in `window`."""

    group: int
    window: Window
    image_outline: MultiPolygon  # x = pixel, y = line
    outline: MultiPolygon  # lon/lat
    area: float
    perimeter: float


def find_slicks(
    class_probability: xr.DataArray,
    calibrated: CalibratedScene,
    *,
    land: Mask | None,
    options: SlickOptions,
    model_id: str,
    oil_probability: NDArray[np.floating] | None = None,
    weights_sha256: str | None = None,
    config_hash: str | None = None,
    run_id: str | None = None,
    processed_at: datetime | None = None,
) -> gpd.GeoDataFrame:
    """Slicks of a scene with their attributes, one row each, in EPSG:4326; the columns are `ATTRIBUTES`.

    `class_probability` is (class, line, pixel), NaN where there is no data; only single class planes of it
    are read, so it may be a memory map larger than the memory. `land` is True on land, (line, pixel). `oil_probability`
    is what an object stage says of each slick, on its cells (line, pixel), NaN where it says nothing.
    Rows are ordered by class, then by first line. Raises `UsageError` for a class the model does not know.
    """
    moment = processed_at or datetime.now(UTC)
    common = {
        **_scene_attributes(calibrated, moment),
        "model_id": model_id,
        "weights_sha256": weights_sha256,
        "config_hash": config_hash,
        "software_version": software_version(),
        "run_id": run_id,
        "thresholds": options.thresholds(),
        "schema_version": SCHEMA_VERSION,
        "status": "unreviewed",
    }
    rows: list[dict[str, object]] = []
    outlines: list[MultiPolygon] = []
    taken = np.zeros(class_probability.shape[1:], dtype=bool)
    blocked = _blocked(class_probability, land, options.classes[0])
    for name in options.classes:
        planes = _planes(class_probability, name, blocked, taken, calibrated, options)
        slicks = list(_slicks(planes, calibrated.geolocation, options))
        for slick, measured in zip(slicks, _measured(slicks, planes, calibrated, options), strict=True):
            identity = _identity(calibrated.scene.id, model_id, weights_sha256, name, slick.image_outline)
            judged = _judged(slick, planes, oil_probability, name, options)
            rows.append({**common, **measured, **judged, "id": identity, "class": name})
            outlines.append(slick.outline)
            taken[slick.window] |= _cells_of(slick, planes, options)
    return slick_table(rows, outlines)


def polygonise(cells: Mask, transform: Affine) -> MultiPolygon:
    """The outline of the True cells, holes kept; one part for each patch of cells that share edges.

    `transform` takes (column, row) of cell corners to x, y. Patches that only touch by a corner become
    parts of their own, which is what keeps the result valid. Rasterising it gives the cells back.
    """
    patches = features.shapes(cells.view(np.uint8), mask=cells, connectivity=4, transform=transform)
    rings = [geometry["coordinates"] for geometry, _ in patches]
    return MultiPolygon([Polygon(exterior, holes) for exterior, *holes in rings])


def cell_corners(grid: xr.DataArray, looks: tuple[int, int]) -> Affine:
    """The affine map from (column, row) of a raster's cell corners to full-resolution (pixel, line).

    `grid` has the coordinates `line` and `pixel` of cell centres, `looks` are (azimuth, range).
    """
    azimuth, ground_range = looks
    return Affine(
        ground_range, 0.0, float(grid.pixel[0]) - ground_range / 2.0, 0.0, azimuth, float(grid.line[0]) - azimuth / 2.0
    )


def predicted_land(class_probability: xr.DataArray) -> Mask:
    """Cells (line, pixel) where no class is likelier than land; none where the model does not know land."""
    names = class_names(class_probability)
    if "land" not in names:
        return np.zeros(class_probability.shape[1:], dtype=bool)
    plane = class_plane(class_probability, "land")
    predicted: Mask = np.isfinite(plane)
    for name in names:
        predicted &= plane >= class_plane(class_probability, name)
    return predicted


def shifted(cells: Affine, row: int, column: int) -> Affine:
    """The affine map of the part of a raster that begins at a row and a column."""
    return Affine(cells.a, 0.0, cells.c + column * cells.a, 0.0, cells.e, cells.f + row * cells.e)


def class_plane(class_probability: xr.DataArray, name: str, window: Window | None = None) -> NDArray[np.floating]:
    """One class's plane (line, pixel) or a window of it; no copy of probabilities in memory or mapped to it.

    Raises `UsageError` for a class the model does not know.
    """
    names = class_names(class_probability)
    if name not in names:
        raise UsageError(name, "not a class of this model", f"choose among {', '.join(names)}")
    return np.asarray(class_probability[names.index(name)][window or ...].data)


def class_names(class_probability: xr.DataArray) -> list[str]:
    """The names of a raster's classes, in order."""
    return [str(name) for name in class_probability["class"].values]


def _blocked(probability: xr.DataArray, land: Mask | None, name: str) -> Mask:
    """Cells where no slick can be: without data, on land, or land to the model."""
    blocked: Mask = np.isnan(class_plane(probability, name))
    if land is not None:
        blocked |= land
    blocked |= predicted_land(probability)
    return blocked


def _planes(
    probability: xr.DataArray, name: str, blocked: Mask, taken: Mask, calibrated: CalibratedScene, options: SlickOptions
) -> _Planes:
    plane = class_plane(probability, name)
    candidate = plane >= options.grow
    candidate &= ~blocked
    candidate &= ~taken
    group = np.empty(plane.shape, dtype=np.int32)
    ndimage.label(candidate, structure=_CORNERS_TOUCH, output=group)
    cells = cell_corners(probability, calibrated.looks)
    end = _scene_end(probability, calibrated.geolocation, calibrated.looks)
    return _Planes(probability, plane, blocked, group, cells, end)


def _slicks(planes: _Planes, geolocation: Geolocation, options: SlickOptions) -> Iterator[_Slick]:
    boxes = ndimage.find_objects(planes.group)
    for group in _large_enough(planes, geolocation, options):
        rows, columns = boxes[group - 1]
        cells = (planes.group[rows, columns] == group) & (planes.plane[rows, columns] >= options.outline)
        image_outline = polygonise(cells, shifted(planes.cells, rows.start, columns.start))
        image_outline = shapely.transform(image_outline, lambda at: np.minimum(at, planes.end))
        outline = _rounded(geolocation.to_lonlat(image_outline))
        area, perimeter = geodesic_area_perimeter(outline)
        if area >= options.minimum_area_m2:
            yield _Slick(int(group), (rows, columns), image_outline, outline, area, perimeter)


def _large_enough(planes: _Planes, geolocation: Geolocation, options: SlickOptions) -> NDArray[np.int32]:
    """Groups that reach `keep` and whose number of cells can make the smallest area.

    One pass over the scene spares thousands of specks the way through polygons and geodesy; what is
    near the smallest area is left for these to decide.
    """
    counts = np.bincount(planes.group[planes.plane >= options.outline])
    kept = np.unique(planes.group[planes.plane >= options.keep])
    kept = kept[kept > 0]
    large: NDArray[np.int32] = kept[counts[kept] * _largest_cell(planes, geolocation) >= 0.9 * options.minimum_area_m2]
    return large


def _largest_cell(planes: _Planes, geolocation: Geolocation) -> float:
    """Area of the scene's largest cell in m2, by its corners, edges and middle."""
    height, width = planes.plane.shape
    areas = []
    for row in (0, height // 2, height - 1):
        for column in (0, width // 2, width - 1):
            corner = shifted(planes.cells, row, column)
            cell = box(corner.c, corner.f, corner.c + corner.a, corner.f + corner.e)
            areas.append(geodesic_area_perimeter(geolocation.to_lonlat(cell))[0])
    return max(areas)


def _scene_end(grid: xr.DataArray, geolocation: Geolocation, looks: tuple[int, int]) -> tuple[float, float]:
    """Where the image itself ends, as (pixel, line) of its last corner.

    The last cells of a multilooked raster may reach beyond the image, by less than a cell.
    """
    ends = []
    for coordinate, last, look in (
        (grid.pixel, geolocation.grid.pixel[-1], looks[1]),
        (grid.line, geolocation.grid.line[-1], looks[0]),
    ):
        raster_end = float(coordinate[-1]) + look / 2.0
        ends.append(min(raster_end, max(float(last) + 0.5, raster_end - look + 1.0)))
    return ends[0], ends[1]


def _rounded(outline: MultiPolygon) -> MultiPolygon:
    """The outline to `_DECIMALS`, valid, exteriors counter-clockwise."""
    rounded = _with_decimals(outline)
    if not rounded.is_valid:
        rounded = _with_decimals(shapely.set_precision(outline, 10.0**-_DECIMALS))
    polygons = [part for part in shapely.get_parts(rounded) if isinstance(part, Polygon)]
    return shapely.orient_polygons(MultiPolygon(polygons))


def _with_decimals(outline: BaseGeometry) -> BaseGeometry:
    return shapely.set_coordinates(outline, np.round(shapely.get_coordinates(outline), _DECIMALS))


def _identity(scene_id: str, model_id: str, weights: str | None, name: str, image_outline: MultiPolygon) -> str:
    """A short name that any rerun gives again.

    From image coordinates, which are whole or half numbers, and not from degrees, whose last digits
    differ between versions of a projection library.
    """
    digest = hashlib.blake2b(digest_size=8)
    for text in (scene_id, model_id, weights or "", name):
        digest.update(text.encode() + b"\0")
    digest.update(shapely.to_wkb(image_outline.normalize(), byte_order=1))
    return digest.hexdigest()


def _cells_of(slick: _Slick, planes: _Planes, options: SlickOptions) -> Mask:
    mask: Mask = planes.group[slick.window] == slick.group
    return mask & (planes.plane[slick.window] >= options.outline)


def _judged(
    slick: _Slick, planes: _Planes, oil_probability: NDArray[np.floating] | None, name: str, options: SlickOptions
) -> dict[str, object]:
    """What the object stage says of a slick of oil, in place of the mean of the pixels' look-alike."""
    if oil_probability is None or name != "oil":
        return {}
    said = oil_probability[slick.window][_cells_of(slick, planes, options)]
    said = said[np.isfinite(said)]
    return {"lookalike_probability": 1 - float(said.max())} if said.size else {}


def _scene_attributes(calibrated: CalibratedScene, processed_at: datetime) -> dict[str, object]:
    scene = calibrated.scene
    return {
        "scene_id": scene.id,
        "platform": scene.platform,
        "mode": scene.mode,
        "polarisation": "+".join(str(p) for p in calibrated.sigma_nought.polarisation.values),
        "relative_orbit": scene.relative_orbit,
        "acquired_start": scene.acquired_start,
        "acquired_end": scene.acquired_end,
        "processed_at": processed_at,
        "latency_s": (processed_at - scene.acquired_end).total_seconds(),
    }


def _measured(
    slicks: Sequence[_Slick], planes: _Planes, calibrated: CalibratedScene, options: SlickOptions
) -> list[dict[str, object]]:
    """The attributes of each slick, in the order of `slicks`.

    Sigma nought is computed once for each run of lines that slicks cover, never for the rest of the scene.
    """
    polarisation = _co_polarisation(calibrated)
    sigma_nought = calibrated.sigma_nought.sel(polarisation=polarisation)
    around = [_widened(s.window, options.ring_gap + options.ring_width, planes.plane.shape) for s in slicks]
    measured: dict[int, dict[str, object]] = {}
    for members in _runs_of_lines(around):
        first, last = min(around[i][0].start for i in members), max(around[i][0].stop for i in members)
        lines = np.asarray(sigma_nought[first:last].data)
        for i in members:
            rows, columns = around[i]
            power = lines[rows.start - first : rows.stop - first, columns]
            radar = _radar_attributes(slicks[i], around[i], power, polarisation, planes, options)
            measured[i] = {**radar, **_outline_attributes(slicks[i], calibrated)}
    return [measured[i] for i in range(len(slicks))]


def _co_polarisation(calibrated: CalibratedScene) -> str:
    known = [str(p) for p in calibrated.sigma_nought.polarisation.values]
    return next((p for p in ("VV", "HH") if p in known), known[0])


def _widened(window: Window, by: int, scene: tuple[int, ...]) -> Window:
    rows, columns = window
    return (
        slice(max(rows.start - by, 0), min(rows.stop + by, scene[0])),
        slice(max(columns.start - by, 0), min(columns.stop + by, scene[1])),
    )


def _runs_of_lines(windows: Sequence[Window]) -> Iterator[list[int]]:
    """Indices of the windows, those whose lines overlap together."""
    members: list[int] = []
    end = 0
    for i in sorted(range(len(windows)), key=lambda i: windows[i][0].start):
        if members and windows[i][0].start >= end:
            yield members
            members = []
        end = max(end, windows[i][0].stop) if members else windows[i][0].stop
        members.append(i)
    if members:
        yield members


def _outline_attributes(slick: _Slick, calibrated: CalibratedScene) -> dict[str, object]:
    centre = slick.image_outline.centroid
    incidence = float(calibrated.geolocation.incidence_angle(centre.y, centre.x))
    return {
        **shape_attributes(slick.outline, slick.area, slick.perimeter),
        "part_count": len(slick.image_outline.geoms),
        "incidence_angle_deg": incidence,
    }


def _radar_attributes(
    slick: _Slick,
    around: Window,
    power: NDArray[np.floating],
    polarisation: str,
    planes: _Planes,
    options: SlickOptions,
) -> dict[str, object]:
    """Probability and backscatter of a slick and of the sea around it; `power` is sigma nought of `around`."""
    group, plane, blocked = planes.group[around], planes.plane[around], planes.blocked[around]
    cells = (group == slick.group) & (plane >= options.outline)
    ring = ring_around(cells, options.ring_gap, options.ring_width)
    ring &= ~blocked & (group == 0) & _sea(planes.probability, around) & np.isfinite(power)
    inside_db = mean_db(power[cells])
    outside_db = mean_db(power[ring]) if np.count_nonzero(ring) >= options.minimum_ring else None
    return {
        **confidence_attributes(plane[cells], options.medium, options.high),
        "lookalike_probability": _mean_of("look-alike", planes.probability, around, cells),
        "sigma0_vv_db": inside_db if polarisation == "VV" else None,
        "contrast_db": None if inside_db is None or outside_db is None else inside_db - outside_db,
        "edge_touching": _touches_edge(cells, blocked, around, planes.plane.shape),
    }


def _mean_of(name: str, probability: xr.DataArray, window: Window, cells: Mask) -> float | None:
    """Mean probability of a class over cells; null where the model does not know the class."""
    if name not in class_names(probability):
        return None
    return float(np.mean(class_plane(probability, name, window)[cells], dtype=np.float64))


def _sea(probability: xr.DataArray, window: Window) -> Mask:
    """Cells where sea is more likely than a slick, a ship or land."""
    sea = class_plane(probability, "sea", window)
    clear = np.ones(sea.shape, dtype=bool)
    for name in set(_NOT_SEA) & set(class_names(probability)):
        clear &= sea > class_plane(probability, name, window)
    return clear


def _touches_edge(cells: Mask, blocked: Mask, around: Window, scene: tuple[int, ...]) -> bool:
    """Whether a cell of the slick lies beside land or missing data, or on the raster's border."""
    rim = ndimage.binary_dilation(cells, structure=_CORNERS_TOUCH)
    border = np.zeros_like(cells)
    for axis, (window, length) in enumerate(zip(around, scene, strict=True)):
        along = np.moveaxis(border, axis, 0)
        along[0] |= window.start == 0
        along[-1] |= window.stop == length
    return bool(np.any(rim & blocked) or np.any(cells & border))
