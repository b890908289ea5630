"""Vector tiles (MVT) of the map: slicks, candidates, footprints of scenes, and land."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import mapbox_vector_tile
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry
from sqlalchemy import ColumnElement

from outputs.catalogue.blobs import from_blob
from outputs.catalogue.layers import CANDIDATES, SCENES, SLICKS, Layer
from outputs.catalogue.search import Reader, Shapes
from preprocess.coastline import land_polygons
from service.mercator import Tile

MEDIA_TYPE = "application/vnd.mapbox-vector-tile"
LAND_FROM = 6  # zoom from which land is drawn by tiles; before, the page has a coarse one
_EXTENT = 4096  # steps across a tile
_SHOWN = 512  # pixels across it on a screen
_MARGIN = 1 / 64  # of a tile, so that outlines do not end at its edge
_SMALLEST = 6  # pixels; a slick below is a dot
_COARSENESS = 0.5  # pixels
_ATTRIBUTES = {
    SLICKS: ("id", "class", "confidence_mean", "confidence_level", "status"),
    CANDIDATES: ("id", "class", "oil_probability"),
    SCENES: ("scene_id", "slick_count"),
}
_FIRST = {SLICKS: "confidence_mean", CANDIDATES: "oil_probability", SCENES: "slick_count"}


def layer_tile(reader: Reader, layer: Layer, tile: Tile, conditions: tuple[ColumnElement[bool], ...]) -> bytes:
    """A tile of a layer's rows under conditions: outlines, and dots with their `count`. Raises as `Reader` does."""
    west, south, east, north = tile.bounds()
    cell = (east - west) / _SHOWN * _SMALLEST, (north - south) / _SHOWN * _SMALLEST
    asked = Shapes(layer, _ATTRIBUTES[layer], tile.bounds(), cell, _FIRST[layer], conditions)
    outlines, dots = reader.shapes(asked)
    shapes = [from_blob(row.pop("geom")) for row in outlines]
    places = tile.places(np.array([(dot.pop("x"), dot.pop("y")) for dot in dots], float).reshape(-1, 2))
    features = [
        *_features(_in_tile(shapes, tile), outlines),
        *_features((shapely.Point(place) for place in np.floor(places * _EXTENT)), dots),
    ]
    return _encoded(layer.name, features)


def land_tile(tile: Tile, coastline: Path | None) -> bytes:
    """A tile of land. Raises as `preprocess.coastline.land_polygons` does."""
    return _land(tile, coastline)


@lru_cache(maxsize=512)
def _land(tile: Tile, coastline: Path | None) -> bytes:
    box = tile.bounds(_MARGIN)
    near = shapely.clip_by_rect(land_polygons(box, coastline), *box)
    return _encoded("land", _features(_in_tile(near, tile)))


def _in_tile(shapes: Iterable[BaseGeometry], tile: Tile) -> NDArray[np.object_]:
    """Outlines of degrees in steps of the tile, as coarse as a screen shows them, cut off beyond its margin."""
    found = np.array([*shapes, None], dtype=object)[:-1]
    coarse = shapely.simplify(
        shapely.transform(found, lambda lonlat: tile.places(lonlat) * _EXTENT), _COARSENESS * _EXTENT / _SHOWN
    )
    whole = np.where(shapely.is_valid(coarse), coarse, shapely.make_valid(coarse))
    near, far = -_MARGIN * _EXTENT, (1 + _MARGIN) * _EXTENT
    return np.asarray(shapely.clip_by_rect(whole, near, near, far, far))


def _features(shapes: Iterable[BaseGeometry], rows: Iterable[Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
    shapes = list(shapes)
    attributes = [{}] * len(shapes) if rows is None else rows
    return [
        {"geometry": shape, "properties": {name: value for name, value in row.items() if value is not None}}
        for shape, row in zip(shapes, attributes, strict=True)
        if not shape.is_empty
    ]


def _encoded(name: str, features: list[dict[str, Any]]) -> bytes:
    made: bytes = mapbox_vector_tile.encode(
        [{"name": name, "features": features}], default_options={"y_coord_down": True, "extents": _EXTENT}
    )
    return made
