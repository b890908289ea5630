"""Formats of answers: which there are, which one a request wants, and features written in each."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from starlette.requests import Request

from outputs.attributes import column
from outputs.catalogue.blobs import from_blob
from outputs.catalogue.layers import Layer
from outputs.catalogue.rows import time_of
from outputs.coordinates import bounding_box
from outputs.vectors import write_flatgeobuf
from service.problems import Problem

_DECIMALS = 7  # RFC 7946, 11.2
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Format:
    """A format: its name in `f=`, its media type, and what else asks for it."""

    name: str
    media_type: str
    title: str
    accepts: tuple[str, ...] = ()


JSON = Format("json", "application/json", "JSON")
HTML = Format("html", "text/html", "HTML", ("application/xhtml+xml",))
GEOJSON = Format("geojson", "application/geo+json", "GeoJSON", ("application/json", "application/vnd.geo+json"))
CSV = Format("csv", "text/csv", "CSV")
FLATGEOBUF = Format("fgb", "application/flatgeobuf", "FlatGeobuf", ("application/vnd.flatgeobuf",))
SCHEMA = Format("json", "application/schema+json", "JSON Schema", ("application/json",))
OPENAPI = Format("json", "application/vnd.oai.openapi+json;version=3.0", "OpenAPI", ("application/json",))
PAGES = (JSON, HTML)
FEATURES = (GEOJSON, HTML, CSV, FLATGEOBUF)


def wanted(request: Request, given: Mapping[str, str], offered: Sequence[Format]) -> Format:
    """The format that `f`, else the header Accept asks for; the first one offered where neither does.

    Raises `Problem`: 400 for an unknown `f`, 406 where nothing acceptable is offered.
    """
    if (name := given.get("f")) is not None:
        for one in offered:
            if name in (one.name, *(("json",) if one is GEOJSON else ())):
                return one
        raise Problem(400, f"f is one of {', '.join(one.name for one in offered)}.")
    ranges = _accepted(request.headers.get("accept", "*/*"))
    for media_range in ranges:
        for one in offered:
            if any(_matches(media_range, media) for media in (one.media_type.partition(";")[0], *one.accepts)):
                return one
    raise Problem(406, f"There is {', '.join(one.media_type for one in offered)}; see the header Accept.")


def write_geojson(layer: Layer, rows: Sequence[Row], collection: Mapping[str, Any]) -> bytes:
    """A feature collection; `collection` has its members beside the features."""
    start = json.dumps({"type": "FeatureCollection", **collection}, separators=(",", ":"))
    features = ",".join(_features(layer, rows))
    return f'{start[:-1]},"features":[{features}]}}'.encode()


def write_feature(layer: Layer, row: Row, further: Mapping[str, Any]) -> bytes:
    """One feature; `further` has its members beside the usual ones."""
    (feature,) = _features(layer, [row])
    return f"{feature[:-1]},{json.dumps(further)[1:]}".encode()


def write_csv(layer: Layer, rows: Sequence[Row]) -> bytes:
    """A line for each row: its attributes, then its geometry as WKT."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")  # RFC 4180
    writer.writerow([*layer.kinds, "geometry"])
    shapes = shapely.to_wkt(_geometries(rows), rounding_precision=_DECIMALS)
    for row, shape in zip(rows, shapes, strict=True):
        writer.writerow([*properties(layer, row).values(), shape])
    return text.getvalue().encode()


def write_fgb(layer: Layer, rows: Sequence[Row]) -> bytes:
    """A FlatGeobuf file, see `write_flatgeobuf`."""
    columns = {
        one.name: column([_value(row[one.name], one.kind) for row in rows], one.kind) for one in layer.attributes
    }
    frame = gpd.GeoDataFrame(columns, geometry=_geometries(rows), crs="EPSG:4326")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{layer.name}.fgb"
        write_flatgeobuf(frame, path)
        return path.read_bytes()


def properties(layer: Layer, row: Row) -> dict[str, Any]:
    """The attributes of a row as JSON values."""
    return {
        name: bool(row[name]) if kind == "flag" and row[name] is not None else row[name]
        for name, kind in layer.kinds.items()
    }


def _features(layer: Layer, rows: Sequence[Row]) -> Iterable[str]:
    geometries = _geometries(rows)
    for row, geometry, shape in zip(rows, geometries, shapely.to_geojson(geometries), strict=True):
        members = {"type": "Feature", "id": row[layer.key], "properties": properties(layer, row)}
        if geometry is not None:
            members["bbox"] = bounding_box(geometry)
        start = json.dumps(members, separators=(",", ":"))
        yield f'{start[:-1]},"geometry":{shape or "null"}}}'


def _geometries(rows: Sequence[Row]) -> NDArray[np.object_]:
    """Rounded, exteriors counter-clockwise (RFC 7946); None where unknown."""
    shapes = [None if row["geom"] is None else from_blob(row["geom"]) for row in rows]
    found = np.array([*shapes, None], dtype=object)[:-1]  # an array of objects even where all are alike
    rounded: NDArray[np.object_] = shapely.transform(found, lambda points: points.round(_DECIMALS))
    return shapely.orient_polygons(rounded)


def _value(value: Any, kind: str) -> Any:
    if value is None:
        return None
    return time_of(value) if kind == "time" else bool(value) if kind == "flag" else value


def _accepted(header: str) -> list[str]:
    """The media ranges of a header Accept, the most wanted first."""
    weighted = []
    for number, part in enumerate(header.split(",")):
        media, *options = (piece.strip().lower() for piece in part.split(";"))
        weight = next((option[2:] for option in options if option.startswith("q=")), "1")
        try:
            quality = float(weight)
        except ValueError:
            quality = 0.0
        if quality > 0:
            weighted.append((-quality, media == "*/*", number, media))
    return [media for *_, media in sorted(weighted)]


def _matches(media_range: str, media_type: str) -> bool:
    return media_range in ("*/*", media_type, f"{media_type.partition('/')[0]}/*")
