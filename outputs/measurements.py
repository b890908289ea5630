"""Measuring slicks: size and shape, confidence, backscatter and contrast."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyproj
import shapely
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import MultiPolygon

from outputs.options import SlickOptions
from outputs.outlines import CORNERS_TOUCH, Groups, Slick
from outputs.probability import Mask, class_names, class_plane
from preprocess.grid import Grid, Window
from preprocess.pipeline import CalibratedScene

Floats = NDArray[np.floating]
Progress = Callable[[int, int], None]  # done, in all
_CO_POLARISATIONS = ("VV", "HH")
_NOT_SEA = ("oil", "ship", "land")  # Look-alikes are sea surface, and part of the surroundings.


def measurements(
    slicks: Sequence[Slick],
    groups: Groups,
    probability: xr.DataArray,
    calibrated: CalibratedScene,
    options: SlickOptions,
    progress: Progress = lambda done, total: None,
) -> list[dict[str, object]]:
    """The attributes of each slick, in the order of `slicks`; `progress` takes the slicks measured and all.

    Sigma nought is computed once per run of lines that slicks cover, never for the rest of the scene.
    """
    polarisation = _co_polarisation(calibrated)
    sigma_nought = calibrated.sigma_nought.sel(polarisation=polarisation)
    noise_floor = None if calibrated.noise_floor is None else calibrated.noise_floor.sel(polarisation=polarisation)
    around = [_widened(s.window, options.ring_gap + options.ring_width, groups.plane.shape) for s in slicks]
    measured: dict[int, dict[str, object]] = {}
    for members in _runs_of_lines(around):
        first, last = min(around[i][0].start for i in members), max(around[i][0].stop for i in members)
        lines = np.asarray(sigma_nought[first:last].data)
        noise = None if noise_floor is None else np.asarray(noise_floor[first:last].data)
        for i in members:
            rows, columns = around[i]
            here = slice(rows.start - first, rows.stop - first), columns
            radar = _radar_attributes(
                slicks[i], around[i], lines[here], None if noise is None else noise[here], polarisation, groups,
                probability, options,
            )  # fmt: skip
            measured[i] = {**radar, **_outline_attributes(slicks[i], calibrated.grid)}
            progress(len(measured), len(slicks))
    return [measured[i] for i in range(len(slicks))]


def shape_attributes(outline: MultiPolygon, area: float, perimeter: float) -> dict[str, float]:
    """Size and shape of a slick.

    `outline` is in degrees, longitude first, and may be split at the antimeridian; `area` (m2) and
    `perimeter` (m) are geodesic. Lengths and bearings are taken in an azimuthal equidistant plane around
    the slick, whose scale is within 2e-4 at 200 km from the centre.
    """
    plane, longitude, latitude = _around(outline)
    corners = shapely.get_coordinates(shapely.minimum_rotated_rectangle(plane))[:4]
    sides = np.diff(np.vstack([corners, corners[:1]]), axis=0)[:2]
    lengths = np.hypot(sides[:, 0], sides[:, 1])
    length, width = float(lengths.max()), float(lengths.min())
    east, north = sides[int(np.argmax(lengths))]
    return {
        "area_m2": area,
        "perimeter_m": perimeter,
        "length_m": length,
        "width_m": width,
        "orientation_deg": float(np.degrees(np.arctan2(east, north)) % 180.0),
        "centroid_lon": longitude,
        "centroid_lat": latitude,
        "polsby_popper": 4.0 * np.pi * area / perimeter**2,
        "fill_factor": area / (length * width),
        "aspect_ratio": length / width,
    }


def confidence_attributes(probability: Floats, medium: float, high: float) -> dict[str, object]:
    """Mean, median and maximum of the class probabilities (n,) of a slick's cells, and the level in words."""
    mean = float(np.mean(probability, dtype=np.float64))
    return {
        "confidence_mean": mean,
        "confidence_median": float(np.median(probability)),
        "confidence_max": float(np.max(probability)),
        "confidence_level": "High" if mean >= high else "Medium" if mean >= medium else "Low",
    }


def mean_db(power: Floats) -> float | None:
    """Mean of linear power in decibels; null without cells, or where noise removal left no power."""
    finite = power[np.isfinite(power)]
    mean = float(np.mean(finite, dtype=np.float64)) if finite.size else 0.0
    return 10.0 * float(np.log10(mean)) if mean > 0.0 else None


def ring_around(slick: Mask, gap: int, width: int) -> Mask:
    """The cells between `gap` and `gap + width` cells away from a slick, counted along rows and columns.

    The gap excludes the blurred rim of the slick from the sea it is compared with.
    """
    return _grown(slick, gap + width) & ~_grown(slick, gap)


def _outline_attributes(slick: Slick, grid: Grid) -> dict[str, object]:
    centre = slick.image_outline.centroid
    incidence = float(grid.geolocation.incidence_angle(centre.y, centre.x))
    return {
        **shape_attributes(slick.outline, slick.area, slick.perimeter),
        "part_count": len(slick.image_outline.geoms),
        "incidence_angle_deg": incidence,
    }


def _around(outline: MultiPolygon) -> tuple[MultiPolygon, float, float]:
    """The outline in metres east and north of its own centre of area, and the centre's lon/lat."""
    first = shapely.get_coordinates(outline)[0]
    for _ in range(2):  # The second pass puts the centre where true north is straight up.
        project = pyproj.Proj(proj="aeqd", lon_0=first[0], lat_0=first[1], ellps="WGS84")
        lonlat = shapely.get_coordinates(outline)
        plane = shapely.set_coordinates(outline, np.column_stack(project(lonlat[:, 0], lonlat[:, 1])))
        centre = plane.centroid
        first = project(centre.x, centre.y, inverse=True)
    return plane, float(first[0]), float(first[1])


def _radar_attributes(
    slick: Slick,
    around: Window,
    power: Floats,
    noise: Floats | None,
    polarisation: str,
    groups: Groups,
    probability: xr.DataArray,
    options: SlickOptions,
) -> dict[str, object]:
    """Probability and backscatter of a slick and of the sea around it; `power` and `noise` are those of `around`."""
    cells, blocked = groups.cells(slick.group, around, options.outline), groups.blocked[around]
    ring = ring_around(cells, options.ring_gap, options.ring_width)
    ring &= ~blocked & (groups.group[around] == 0) & _sea(probability, around) & np.isfinite(power)
    inside_db = mean_db(power[cells])
    floor_db = None if noise is None else mean_db(noise[cells])
    outside_db = mean_db(power[ring]) if np.count_nonzero(ring) >= options.minimum_ring else None
    return {
        **confidence_attributes(groups.plane[around][cells], options.medium, options.high),
        "lookalike_probability": _mean_of("look-alike", probability, around, cells),
        "sigma0_vv_db": inside_db if polarisation == "VV" else None,
        "contrast_db": _above(inside_db, outside_db),
        "noise_floor_margin_db": _above(inside_db, floor_db) if polarisation in _CO_POLARISATIONS else None,
        "edge_touching": _touches_edge(cells, blocked, around, groups.plane.shape),
    }


def _above(value_db: float | None, reference_db: float | None) -> float | None:
    """How far a value lies above another; null where one is unknown."""
    return None if value_db is None or reference_db is None else value_db - reference_db


def _co_polarisation(calibrated: CalibratedScene) -> str:
    known = [str(p) for p in calibrated.sigma_nought.polarisation.values]
    return next((p for p in _CO_POLARISATIONS if p in known), known[0])


def _widened(window: Window, by: int, scene: tuple[int, ...]) -> Window:
    rows, columns = window
    return (
        slice(max(rows.start - by, 0), min(rows.stop + by, scene[0])),
        slice(max(columns.start - by, 0), min(columns.stop + by, scene[1])),
    )


def _runs_of_lines(windows: Sequence[Window]) -> Iterator[list[int]]:
    """Yield the indices of windows whose lines overlap, group by group."""
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
    rim = ndimage.binary_dilation(cells, structure=CORNERS_TOUCH)
    border = np.zeros_like(cells)
    for axis, (window, length) in enumerate(zip(around, scene, strict=True)):
        along = np.moveaxis(border, axis, 0)
        along[0] |= window.start == 0
        along[-1] |= window.stop == length
    return bool(np.any(rim & blocked) or np.any(cells & border))


def _grown(cells: Mask, by: int) -> Mask:
    """Cells within `by` of a True one: a square, hence separable and cheap on large windows."""
    grown = cells.view(np.uint8)
    for axis in (0, 1):
        grown = ndimage.maximum_filter1d(grown, 2 * by + 1, axis=axis, mode="constant")
    return grown.astype(bool)
