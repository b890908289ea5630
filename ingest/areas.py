"""Areas of interest from GeoJSON, WKT or a box, as WGS 84 lon/lat geometries split at the antimeridian."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.affinity import translate
from shapely.errors import ShapelyError
from shapely.geometry import MultiPolygon, Polygon, box, shape
from shapely.geometry.base import BaseGeometry
from shapely.validation import explain_validity

from ingest.errors import UsageError

LARGEST_FILE = 64 * 1024 * 1024  # bytes
_GIVE = "give a GeoJSON or WKT file, WKT text, or west,south,east,north"
_NUMBER = r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*"
_BOX = re.compile(",".join([_NUMBER] * 4))
_WKT = re.compile(r"(?:SRID=(?P<srid>\d+);)?\s*(?P<geometry>(?:MULTI)?(?:POLYGON|POINT|LINESTRING)|GEOMETRYCOLLECTION)\b", re.I)  # fmt: skip # noqa: E501
# What shapely raises for members that are missing or of the wrong type.
_NO_GEOMETRY = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError, ShapelyError,
)  # fmt: skip
# WGS 84 in longitude and latitude, or with heights, which are left out, as names, URNs and addresses say it.
_WGS84 = re.compile(r"(CRS:?84h?|EPSG[:/]+([\d.]*[:/])?(4326|4979))\Z", re.I)
_SRIDS = (None, "4326", "4979")

Point = tuple[float, float]
Fail = Callable[[str, str], UsageError]  # problem, remedy


@dataclass(frozen=True)
class Area:
    """One area of interest: valid, counter-clockwise, within ±180 degrees, split at the antimeridian."""

    name: str
    geometry: Polygon | MultiPolygon


def read_areas(given: str | Path) -> tuple[Area, ...]:
    """Read areas from a file (GeoJSON or WKT) or a text (WKT, GeoJSON, or ``west,south,east,north``).

    Each feature of a GeoJSON file is an area, named by its property ``name``, else its id, else its number. Edges are
    straight in lon/lat (RFC 7946); one that spans more than 180 degrees goes the short way, across the antimeridian,
    and a box whose west is beyond its east crosses it as well. A ring that goes around a pole encloses it.
    Raises `UsageError`, naming the file and the feature, for anything that is not an area.
    """
    if isinstance(given, Path):
        return _read_file(given)
    text = given.strip()
    if not text:
        raise UsageError("the area", "is empty", _GIVE)
    if match := _BOX.fullmatch(text):
        west, south, east, north = map(float, match.groups())
        return (Area("area 1", box_area(west, south, east, north, subject=text)),)
    if text.startswith("{") or _WKT.match(text):
        return _read_text(text, "the area", "area 1")
    return _read_file(Path(given))


def read_footprint(text: object) -> Polygon | MultiPolygon | None:
    """The outline of a scene in a catalogue, as WKT or GeoJSON; None for a bad one, which must not cost the scene.

    The outline is then read from the product.
    """
    try:
        return _read_text(text.strip(), "the footprint", "footprint")[0].geometry if isinstance(text, str) else None
    except (UsageError, ShapelyError):
        return None


def together(areas: Iterable[Area]) -> BaseGeometry:
    """One geometry of several areas, for a query that covers all of them."""
    return shapely.orient_polygons(shapely.union_all([area.geometry for area in areas]))


def box_area(west: float, south: float, east: float, north: float, subject: str = "the box") -> Polygon | MultiPolygon:
    """The area between two meridians, from `west` eastward, and two parallels, all in degrees.

    Raises `UsageError` if degrees are out of range or the box is empty.
    """
    fail = partial(UsageError, subject)
    if not all(map(math.isfinite, (west, south, east, north))) or max(abs(west), abs(east)) > 360:
        raise fail("invalid longitude", "give longitudes from -180 to 180")
    if not -90 <= south < north <= 90:
        raise fail("invalid latitudes", "give west,south,east,north with south below north, from -90 to 90")
    if west == east:
        raise fail("west and east are the same", "give west,south,east,north with different longitudes")
    # -180 and 180 are the same meridian: eastward from one to the other is all the way round.
    width = east - west if west < east else east - west + 360
    if not 0 < width <= 360:
        raise fail(f"is {width:g} degrees wide", "give longitudes from -180 to 180")
    return _polygonal([_wrapped(box(west, south, west + width, north))])


def _read_file(path: Path) -> tuple[Area, ...]:
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise UsageError(path, f"is larger than {LARGEST_FILE >> 20} MB", "give simpler areas")
        text = content.decode("utf-8-sig").strip()
    except FileNotFoundError as error:
        raise UsageError(path, "no such file, and not an area as text", _GIVE) from error
    except OSError as error:
        raise UsageError(path, f"cannot be read ({error.strerror})", "check the path and its permissions") from error
    except ValueError as error:  # a zero byte in the path, or a file that is not text
        raise UsageError(str(path), "not UTF-8 text", _GIVE) from error
    return _read_text(text, str(path), path.stem)


def _read_text(text: str, subject: str, name: str) -> tuple[Area, ...]:
    if _WKT.match(text):
        return (Area(name, _area(_from_wkt(text, subject), partial(UsageError, subject))),)
    if not text.startswith("{"):
        raise UsageError(subject, "neither GeoJSON nor WKT", _GIVE)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = f" ({error})" if isinstance(error, json.JSONDecodeError) else ""
        raise UsageError(subject, f"not valid JSON{reason}", "save it again as GeoJSON") from error
    return _from_geojson(document, subject, name)


def _from_wkt(text: str, subject: str) -> BaseGeometry:
    match = _WKT.match(text)
    if match and match["srid"] not in _SRIDS:
        raise UsageError(subject, f"is in EPSG:{match['srid']}", "give longitudes and latitudes in EPSG:4326")
    try:
        with np.errstate(invalid="ignore"):  # NaN is reported with its point
            return shapely.from_wkt(text.partition(";")[2] if match and match["srid"] else text)
    except shapely.GEOSException as error:
        reason = " ".join(str(error).split()).removeprefix("ParseException: ")
        raise UsageError(subject, f"not valid WKT ({reason})", "check its brackets and numbers") from error


def _from_geojson(document: dict[str, Any], subject: str, name: str) -> tuple[Area, ...]:
    _require_wgs84(document, subject)
    if document.get("type") != "FeatureCollection":
        named = _name(document) if document.get("type") == "Feature" else None
        return (Area(named or name, _area(_geometry(document, subject), partial(UsageError, subject))),)
    features = document.get("features")
    if not isinstance(features, list) or not features:
        raise UsageError(subject, "has no features", "draw at least one polygon")
    areas = tuple(_feature_area(feature, number, subject) for number, feature in enumerate(features, 1))
    twice = [each for each, count in Counter(area.name for area in areas).items() if count > 1]
    if twice:
        raise UsageError(subject, f"has several areas named {twice[0]!r}", "give each feature a name of its own")
    return areas


def _feature_area(feature: Any, number: int, subject: str) -> Area:
    name = _name(feature) if isinstance(feature, dict) else None
    which = f"{subject}, feature {number}" + (f" ({name})" if name else "")
    return Area(name or f"area {number}", _area(_geometry(feature, which), partial(UsageError, which)))


def _name(feature: dict[str, Any]) -> str | None:
    properties = feature.get("properties")
    given = {str(key).lower(): value for key, value in properties.items()} if isinstance(properties, dict) else {}
    for value in (given.get("name"), given.get("title"), feature.get("id")):
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return " ".join(str(value).split())
    return None


def _require_wgs84(document: dict[str, Any], subject: str) -> None:
    # RFC 7946 dropped the member, but data in a system other than WGS 84 would be misread.
    crs = document.get("crs")
    if not isinstance(crs, dict):
        return
    properties = crs.get("properties")
    name = "unknown"
    if isinstance(properties, dict):
        name = str(properties["name"]) if "name" in properties else f"EPSG:{properties.get('code', 'unknown')}"
    if not _WGS84.search(name):
        raise UsageError(subject, f"is in the coordinate system {name}", "save it in EPSG:4326")


def _geometry(document: Any, subject: str) -> BaseGeometry:
    is_feature = isinstance(document, dict) and document.get("type") == "Feature"
    geometry = document.get("geometry") if is_feature else document
    if not isinstance(geometry, dict) or not isinstance(geometry.get("type"), str):
        raise UsageError(subject, "has no geometry", "draw a polygon")
    try:
        with np.errstate(invalid="ignore"):  # NaN is reported with its point
            return shape(_without_heights(geometry))
    except _NO_GEOMETRY as error:
        raise UsageError(subject, "not a GeoJSON geometry", "save it again as GeoJSON") from error


def _without_heights(value: Any) -> Any:
    """A GeoJSON geometry with two numbers a position; some writers give a height to a part of the positions only."""
    if isinstance(value, dict):
        return {name: _without_heights(inner) for name, inner in value.items()}
    if not isinstance(value, list) or not value:
        return value
    return [_without_heights(inner) for inner in value] if isinstance(value[0], list | dict) else value[:2]


def _area(geometry: BaseGeometry, fail: Fail) -> Polygon | MultiPolygon:
    if geometry.is_empty:
        raise fail("is empty", "draw a polygon")
    return _polygonal([_divided(polygon, fail) for polygon in _polygons(geometry, fail) if not polygon.is_empty])


def _polygons(geometry: BaseGeometry, fail: Fail) -> Iterator[Polygon]:
    if isinstance(geometry, Polygon):
        yield geometry
    elif hasattr(geometry, "geoms") and geometry.geom_type in ("MultiPolygon", "GeometryCollection"):
        for part in geometry.geoms:
            yield from _polygons(part, fail)
    else:
        raise fail(f"is a {geometry.geom_type}, which has no area", "draw a polygon")


def _divided(polygon: Polygon, fail: Fail) -> BaseGeometry:
    """A polygon cut at the antimeridian, ring by ring.

    `antimeridian.fix_polygon` is not used: it fails on holes written beyond 180 degrees and on holes around a pole,
    and takes the inside of a clockwise ring around a pole for the rest of the world.
    """
    shell = _enclosed(list(polygon.exterior.coords), fail)
    holes = [_enclosed(list(ring.coords), fail) for ring in polygon.interiors if not ring.is_empty]
    for hole in holes:
        if not shell.buffer(1e-9).covers(hole):
            raise fail("hole outside the polygon", "draw holes inside their polygon")
    return shell.difference(shapely.union_all(holes)) if holes else shell


def _enclosed(ring: list[tuple[float, ...]], fail: Fail) -> BaseGeometry:
    """The area a ring encloses; around a pole, everything up to it."""
    points = _unwrapped(ring, fail)
    first, last = points[0], points[-1]
    if abs(last[0] - first[0]) > 1:
        # It came back one turn further on: it encloses the nearer pole.
        pole = math.copysign(90.0, math.fsum(latitude for _, latitude in points))
        points += [(last[0], pole), (first[0], pole)]
    polygon = Polygon(points)
    if not polygon.is_valid:
        raise fail(f"invalid polygon ({explain_validity(polygon)})", "draw it without self-intersections")
    west, _, east, _ = polygon.bounds
    if east - west > 360:
        raise fail("circles the Earth more than once", "draw it once")
    return _wrapped(polygon)


def _unwrapped(ring: list[tuple[float, ...]], fail: Fail) -> list[Point]:
    """The ring's points with longitudes that continue beyond 180 degrees instead of jumping back."""
    points: list[Point] = []
    turns = 0  # whole turns, so that a closed ring closes exactly
    for number, (longitude, latitude, *_) in enumerate(ring):
        if not (abs(longitude) <= 360 and abs(latitude) <= 90):  # rejects NaN too
            problem = f"invalid point {longitude:g}, {latitude:g}, outside the range of coordinates"
            raise fail(problem, "give longitude and latitude in degrees, in this order")
        step = longitude - ring[number - 1][0] if number else 0.0
        # An edge of 360 degrees is a border of the whole map, not a jump.
        turns -= 0 if abs(step) <= 180 or abs(step) == 360 else round(step / 360)
        points.append((longitude + 360 * turns, latitude))
    return points


def _wrapped(polygon: Polygon) -> BaseGeometry:
    """A polygon with longitudes beyond 180 degrees, cut there, with each piece shifted into range."""
    west, _, east, _ = polygon.bounds
    turns = range(math.floor((west + 180) / 360), math.ceil((east + 180) / 360))
    pieces = [polygon.intersection(box(360 * turn - 180, -90, 360 * turn + 180, 90)) for turn in turns]
    moved = [translate(piece, -360 * turn) for piece, turn in zip(pieces, turns, strict=True)]
    return shapely.union_all(moved)


def _polygonal(parts: list[BaseGeometry]) -> Polygon | MultiPolygon:
    """The union without the stray lines and points left where parts touch the antimeridian."""
    pieces = [piece for piece in shapely.get_parts(shapely.union_all(parts)) if isinstance(piece, Polygon)]
    oriented = [shapely.orient_polygons(piece) for piece in pieces if piece.area > 0]
    return oriented[0] if len(oriented) == 1 else MultiPolygon(oriented)
