"""From image coordinates to longitude and latitude at sea level, and back.

The tie points of the annotation lie at terrain height: where the terrain is 500 m high, the annotated
position is some 600 m away from the piece of sea that the radar would see at the same range. Slicks
float, so every tie point is first moved along its range direction to height 0, which also makes the
field smooth near coasts. Between tie points the normal vectors of the ellipsoid are interpolated, not
angles: they have neither a jump at the antimeridian nor a singularity at the poles. Figures are in
docs/decisions/0009-geolocation.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from pyproj import Geod
from scipy.interpolate import NdBSpline, make_interp_spline
from scipy.spatial import KDTree
from shapely import LinearRing, LineString, MultiPolygon, Polygon, box
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from ingest.errors import UnreadableInput
from ingest.safe.metadata import GeolocationGrid

Floats = NDArray[np.float64]

_WGS84 = Geod(ellps="WGS84")
_WORLD = box(-180.0, -90.0, 180.0, 90.0)  # degrees
_SPEED_OF_LIGHT = 299_792_458.0  # m/s
_EARTH_RADIUS = 6_371_000.0  # m
# Long edges are cut into steps of this length, so that chords in lon/lat stay within
# step^2 / (8 R) * tan(latitude) of the image's straight lines: 0.15 m at 60 degrees.
_STEP = 2_000.0  # m
# Near a pole the step is halved until no chord spans more degrees of longitude: at a distance d from the
# pole that keeps it within 0.0003 d. Over the pole itself the halving stops at 8 m.
_LARGEST_TURN = 3.0
_REFINEMENTS = 9
# Points outside the grid by up to this share of its extent still have image coordinates.
_MARGIN = 0.1
_NEWTON_STEPS = 20
_TOLERANCE = 1e-12  # in the length of a unit vector: 6 micrometres on the ground


@dataclass(frozen=True, eq=False)
class Geolocation:
    """The mapping of one image's full-resolution coordinates to WGS 84 at sea level.

    Along lines it interpolates linearly, as the range scale of an image changes irregularly with
    azimuth; along pixels by a cubic spline where there are enough tie points. Outside the grid
    it extrapolates linearly. Raises `UnreadableInput` where the grid is too small, unordered or not finite.
    """

    grid: GeolocationGrid
    _normal: _Surface = field(init=False, repr=False)
    _incidence: _Surface = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check(self.grid)
        longitude, latitude, incidence_angle = _at_sea_level(self.grid)
        object.__setattr__(self, "_normal", _Surface(self.grid, _normal_vector(longitude, latitude)))
        object.__setattr__(self, "_incidence", _Surface(self.grid, incidence_angle))

    def lonlat(self, line: ArrayLike, pixel: ArrayLike) -> tuple[Floats, Floats]:
        """Longitude in [-180, 180) and latitude of image coordinates, in degrees; broadcasts."""
        x, y, z = np.moveaxis(self._normal(line, pixel), -1, 0)
        longitude = np.degrees(np.arctan2(y, x))
        return np.where(longitude >= 180.0, longitude - 360.0, longitude), np.degrees(np.arctan2(z, np.hypot(x, y)))

    def line_pixel(self, longitude: ArrayLike, latitude: ArrayLike) -> tuple[Floats, Floats]:
        """Line and pixel of longitudes and latitudes in degrees, the inverse of `lonlat`; broadcasts.

        NaN where a point lies further outside the grid than a tenth of its extent.
        """
        lon, lat = np.broadcast_arrays(np.asarray(longitude, np.float64), np.asarray(latitude, np.float64))
        finite = np.isfinite(lon) & np.isfinite(lat)
        target = _normal_vector(np.where(finite, lon, 0.0), np.where(finite, lat, 0.0))
        line, pixel = self._solve(target.reshape(-1, 3))
        line[~finite.ravel()] = pixel[~finite.ravel()] = np.nan
        return line.reshape(lon.shape), pixel.reshape(lon.shape)

    def incidence_angle(self, line: ArrayLike, pixel: ArrayLike) -> Floats:
        """Angle of incidence at sea level in degrees; broadcasts."""
        return self._incidence(line, pixel)

    def to_lonlat(self, geometry: Polygon | MultiPolygon) -> MultiPolygon:
        """Polygons of image coordinates (x = pixel, y = line) as valid RFC 7946 polygons in degrees.

        Long edges are densified, exteriors run counter-clockwise, holes are kept, and what crosses the
        antimeridian is split there. A polygon around a pole is closed along the antimeridian.
        """
        step = self._step()
        regions = [self._region(polygon, step) for polygon in shapely.get_parts(geometry) if not polygon.is_empty]
        return _multi_polygon(regions)

    def footprint(self, number_of_lines: int, number_of_samples: int) -> Polygon | MultiPolygon:
        """The image's outline along the outer edges of its border pixels, by RFC 7946."""
        outline = self.to_lonlat(box(-0.5, -0.5, number_of_samples - 0.5, number_of_lines - 0.5))
        return outline.geoms[0] if len(outline.geoms) == 1 else outline

    def _solve(self, target: Floats) -> tuple[Floats, Floats]:
        """Newton's method in the tangent plane of each target (n, 3), from the nearest tie point."""
        east, north = _east_north(target)
        line, pixel = self._nearest_tie_point(target)
        (line_low, line_high), (pixel_low, pixel_high) = _reach(self.grid.line), _reach(self.grid.pixel)
        for _ in range(_NEWTON_STEPS):
            at = self._normal(line, pixel)
            miss_east, miss_north = _dot(at, east), _dot(at, north)
            # On the far side of the Earth the tangent plane has another root.
            good = (np.hypot(miss_east, miss_north) < _TOLERANCE) & (_dot(at, target) > 0.0)
            if good.all():
                break
            by_line, by_pixel = self._normal.gradient(line, pixel)
            a, b = _dot(by_line, east), _dot(by_pixel, east)
            c, d = _dot(by_line, north), _dot(by_pixel, north)
            determinant = a * d - b * c
            line = np.clip(line - (d * miss_east - b * miss_north) / determinant, line_low, line_high)
            pixel = np.clip(pixel - (a * miss_north - c * miss_east) / determinant, pixel_low, pixel_high)
        return np.where(good, line, np.nan), np.where(good, pixel, np.nan)

    def _nearest_tie_point(self, target: Floats) -> tuple[Floats, Floats]:
        line, pixel = (axis.ravel() for axis in np.meshgrid(self.grid.line, self.grid.pixel, indexing="ij"))
        nearest = KDTree(self._normal(line, pixel)).query(target)[1]
        return line[nearest].astype(np.float64), pixel[nearest].astype(np.float64)

    def _step(self) -> float:
        """Pixels or lines, whichever are fewer, that make up `_STEP` metres in the middle of the image."""
        line, pixel = np.mean(self.grid.line[[0, -1]]), np.mean(self.grid.pixel[[0, -1]])
        by_line, by_pixel = self._normal.gradient(line, pixel)
        spacing = _EARTH_RADIUS * max(float(np.linalg.norm(by_line)), float(np.linalg.norm(by_pixel)))
        return _STEP / spacing

    def _region(self, polygon: Polygon, step: float) -> BaseGeometry:
        """One polygon of image coordinates in lon/lat, within -180..180 degrees."""
        for _ in range(_REFINEMENTS):
            dense = shapely.segmentize(polygon, step)
            rings = [self._unwrapped(ring) for ring in (dense.exterior, *dense.interiors)]
            if max(np.abs(np.diff(ring[:, 0])).max() for ring in rings) < _LARGEST_TURN:
                break
            step *= 0.5
        if all(_is_plain(ring) for ring in rings):
            return shapely.make_valid(Polygon(rings[0], rings[1:]), method="structure", keep_collapsed=False)
        exterior, *holes = (_folded(ring) for ring in rings)
        return exterior.difference(shapely.union_all(holes))

    def _unwrapped(self, ring: LinearRing) -> Floats:
        """A ring of image coordinates as (n, 2) lon/lat, longitudes continuous across the antimeridian."""
        pixel, line = shapely.get_coordinates(ring).T
        longitude, latitude = self.lonlat(line, pixel)
        return np.stack([np.unwrap(longitude, period=360.0), latitude], axis=-1)


def geodesic_area_perimeter(geometry: Polygon | MultiPolygon) -> tuple[float, float]:
    """Area in m2 and length of the outline, holes included, in m of lon/lat polygons on the WGS 84 ellipsoid.

    The cut that RFC 7946 requires at the antimeridian is not part of the outline.
    """
    oriented = shapely.orient_polygons(geometry)
    area, _ = _WGS84.geometry_area_perimeter(oriented)
    outline = oriented.boundary
    if max(np.abs(geometry.bounds[::2])) < 180.0:
        return abs(area), _length(outline)
    east, west = (outline.intersection(_meridian(longitude)) for longitude in (180.0, -180.0))
    cut = translate(west, 360.0).intersection(east)
    return abs(area), _length(outline) - 2.0 * _length(cut)


class _Surface:
    """A field on the tie points (G, R, ...), interpolated inside the grid and continued linearly outside."""

    def __init__(self, grid: GeolocationGrid, values: Floats) -> None:
        by_pixel = make_interp_spline(grid.pixel, values, k=min(3, len(grid.pixel) - 1), axis=1)
        by_line = make_interp_spline(grid.line, np.moveaxis(by_pixel.c, 0, 1), k=1, axis=0)
        self._spline = NdBSpline((by_line.t, by_pixel.t), by_line.c, (by_line.k, by_pixel.k))
        self._low = float(grid.line[0]), float(grid.pixel[0])
        self._high = float(grid.line[-1]), float(grid.pixel[-1])

    def __call__(self, line: ArrayLike, pixel: ArrayLike) -> Floats:
        """Values (*broadcast, ...) at image coordinates."""
        at, beyond = self._split(line, pixel)
        value: Floats = self._spline(at)
        if np.any(beyond):
            by_line, by_pixel = self._derivatives(at)
            spare = (...,) + (None,) * (value.ndim - at.ndim + 1)
            value = value + beyond[..., 0][spare] * by_line + beyond[..., 1][spare] * by_pixel
        return value

    def gradient(self, line: ArrayLike, pixel: ArrayLike) -> Floats:
        """Derivatives by line and by pixel, stacked in front; outside the grid those at its border."""
        return self._derivatives(self._split(line, pixel)[0])

    def _derivatives(self, at: Floats) -> Floats:
        return np.stack([self._spline(at, nu=(1, 0)), self._spline(at, nu=(0, 1))])

    def _split(self, line: ArrayLike, pixel: ArrayLike) -> tuple[Floats, Floats]:
        """Image coordinates as the nearest position in the grid and the remainder, both (*broadcast, 2)."""
        wanted = np.stack(np.broadcast_arrays(np.asarray(line, np.float64), np.asarray(pixel, np.float64)), axis=-1)
        at = np.clip(wanted, self._low, self._high)
        return at, wanted - at


def _check(grid: GeolocationGrid) -> None:
    fields = (grid.longitude, grid.latitude, grid.height, grid.incidence_angle, grid.slant_range_time)
    shape = len(grid.line), len(grid.pixel)
    problem = None
    if min(shape) < 2:
        problem = f"{shape[0]} x {shape[1]} tie points are too few"
    elif any(values.shape != shape for values in fields):
        problem = "the tie points do not fill the grid"
    elif np.any(np.diff(grid.line) <= 0) or np.any(np.diff(grid.pixel) <= 0):
        problem = "the tie points are not in ascending order"
    elif not all(np.isfinite(values).all() for values in fields):
        problem = "some tie points are not finite"
    elif np.any(grid.incidence_angle <= 0.0) or np.any(grid.incidence_angle >= 90.0):
        problem = "incidence angles are not between 0 and 90 degrees"
    if problem:
        raise UnreadableInput("geolocation grid", problem, "download the product again")


def _normal_vector(longitude: ArrayLike, latitude: ArrayLike) -> Floats:
    """Unit vectors normal to the ellipsoid, (..., 3), of degrees."""
    lon, lat = np.radians(longitude), np.radians(latitude)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def _east_north(normal: Floats) -> tuple[Floats, Floats]:
    """Unit vectors to the east and the north of normal vectors (..., 3); at a pole, those of longitude 0."""
    x, y, z = np.moveaxis(normal, -1, 0)
    longitude = np.arctan2(y, x)
    east = np.stack([-np.sin(longitude), np.cos(longitude), np.zeros_like(z)], axis=-1)
    north = np.stack([-z * np.cos(longitude), -z * np.sin(longitude), np.hypot(x, y)], axis=-1)
    return east, north


def _dot(a: Floats, b: Floats) -> Floats:
    product: Floats = np.einsum("...i,...i->...", a, b)
    return product


def _at_sea_level(grid: GeolocationGrid) -> tuple[Floats, Floats, Floats]:
    """Longitude, latitude and incidence angle (G, R) at height 0, in degrees.

    The sea that shares a tie point's azimuth and slant range lies nearer to the sensor's track than terrain
    does, on the triangle of the Earth's centre, the sensor and the point.
    """
    raised = _EARTH_RADIUS + grid.height
    slant_range = 0.5 * _SPEED_OF_LIGHT * grid.slant_range_time
    orbit = np.sqrt(raised**2 + slant_range**2 + 2.0 * raised * slant_range * np.cos(np.radians(grid.incidence_angle)))
    shift = _EARTH_RADIUS * (
        _central_angle(_EARTH_RADIUS, orbit, slant_range) - _central_angle(raised, orbit, slant_range)
    )
    longitude, latitude, _ = _WGS84.fwd(grid.longitude, grid.latitude, _range_azimuth(grid), shift)
    cosine = (orbit**2 - _EARTH_RADIUS**2 - slant_range**2) / (2.0 * _EARTH_RADIUS * slant_range)
    return longitude, latitude, np.degrees(np.arccos(cosine))


def _central_angle(radius: ArrayLike, orbit: Floats, slant_range: Floats) -> Floats:
    """Angle at the Earth's centre between the sensor and a point at a radius, in radians."""
    cosine: Floats = (np.square(radius) + orbit**2 - slant_range**2) / (2.0 * np.asarray(radius) * orbit)
    return np.arccos(cosine)


def _range_azimuth(grid: GeolocationGrid) -> Floats:
    """Direction of increasing range (G, R), in degrees clockwise from north; terrain does not change it."""
    normal = _normal_vector(grid.longitude, grid.latitude)
    outwards = np.gradient(normal, grid.pixel.astype(np.float64), axis=1)
    east, north = _east_north(normal)
    return np.degrees(np.arctan2(_dot(outwards, east), _dot(outwards, north)))


def _reach(axis: NDArray[np.int64]) -> tuple[float, float]:
    margin = _MARGIN * float(axis[-1] - axis[0])
    return float(axis[0]) - margin, float(axis[-1]) + margin


def _is_plain(ring: Floats) -> bool:
    """Whether an unwrapped ring neither leaves -180..180 degrees nor goes around a pole."""
    return bool(np.abs(ring[:, 0]).max() <= 180.0 and abs(ring[-1, 0] - ring[0, 0]) < 180.0)


def _folded(ring: Floats) -> BaseGeometry:
    """The region inside an unwrapped ring, cut at the antimeridian and folded into -180..180 degrees."""
    turn = ring[-1, 0] - ring[0, 0]
    if abs(turn) > 180.0:
        return _cap(ring, np.copysign(360.0, turn))
    region = shapely.make_valid(Polygon(ring), method="structure", keep_collapsed=False)
    west, _, east, _ = region.bounds
    turns = range(int(np.floor((west + 180.0) / 360.0)), int(np.floor((east + 180.0) / 360.0)) + 1)
    return shapely.union_all([shapely.intersection(translate(region, -360.0 * turn), _WORLD) for turn in turns])


def _cap(ring: Floats, turn: float) -> BaseGeometry:
    """The region between a pole and an unwrapped ring around it, which gains `turn` degrees of longitude."""
    pole = np.copysign(90.0, ring[:, 1].mean())
    # A turn more on both sides, so that the cut lies at the antimeridian wherever the ring begins.
    whole = np.array([turn, 0.0])
    turns = np.concatenate([ring - whole, ring, ring + whole])
    region = Polygon([*turns, (turns[-1, 0], pole), (turns[0, 0], pole)])
    return shapely.intersection(shapely.make_valid(region, method="structure", keep_collapsed=False), _WORLD)


def _multi_polygon(regions: Sequence[BaseGeometry]) -> MultiPolygon:
    """The polygons among some geometries, oriented by RFC 7946, as one valid multipolygon."""
    gathered = MultiPolygon(_polygons(regions))
    if not gathered.is_valid:
        gathered = MultiPolygon(_polygons([shapely.union_all(regions)]))
    return shapely.orient_polygons(gathered)


def _polygons(regions: Sequence[BaseGeometry]) -> list[Polygon]:
    parts = shapely.get_parts(shapely.get_parts(list(regions)))  # twice: collections of multipolygons
    return [part for part in parts if isinstance(part, Polygon) and part.area > 0.0]


def _meridian(longitude: float) -> LineString:
    return LineString([(longitude, -90.0), (longitude, 90.0)])


def _length(geometry: BaseGeometry) -> float:
    lines = [part for part in shapely.get_parts(geometry) if isinstance(part, LineString)]
    return float(sum(_WGS84.geometry_length(line) for line in lines))
