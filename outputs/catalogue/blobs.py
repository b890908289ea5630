"""The binary geometries of a GeoPackage: a header with bounds, then WKB (OGC 12-128r17, clause 2.1.3)."""

from __future__ import annotations

import struct
from typing import cast

import shapely
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

Bounds = tuple[float, float, float, float]  # west, south, east, north

_START = struct.Struct("<2sBBi")  # magic, version, flags, number of the reference system
_WGS84 = 4326
_EMPTY = 0b0001_0000
_LITTLE_ENDIAN, _WITH_BOUNDS = 0b0000_0001, 0b0000_0010
_BOUNDS_LENGTH = (0, 32, 48, 48, 64)  # bytes, by the indicator in bits 1 to 3 of the flags


def to_blob(geometry: BaseGeometry | None) -> bytes | None:
    """Encode a polygon or multipolygon in WGS 84 as a multipolygon. Raises `ValueError` for other types."""
    if geometry is None or geometry.is_empty:
        return None
    if isinstance(geometry, Polygon):
        geometry = MultiPolygon([geometry])
    if not isinstance(geometry, MultiPolygon):
        raise ValueError(f"expected a polygon, not a {geometry.geom_type}")
    west, south, east, north = geometry.bounds
    start = _START.pack(b"GP", 0, _LITTLE_ENDIAN | _WITH_BOUNDS, _WGS84)
    return start + struct.pack("<4d", west, east, south, north) + shapely.to_wkb(geometry, byte_order=1)


def from_blob(blob: bytes) -> BaseGeometry:
    """Decode a geometry, whichever program wrote it."""
    return shapely.from_wkb(blob[_START.size + _BOUNDS_LENGTH[_flags(blob) >> 1 & 0b111] :])


def outline_of(blob: bytes) -> MultiPolygon:
    """Decode a geometry of one of our layers."""
    return cast(MultiPolygon, from_blob(blob))


def bounds(blob: bytes) -> Bounds:
    """The bounds of a geometry, from its header if present."""
    if _flags(blob) & 0b1111 != _LITTLE_ENDIAN | _WITH_BOUNDS:
        west, south, east, north = shapely.bounds(from_blob(blob))
        return float(west), float(south), float(east), float(north)
    west, east, south, north = struct.unpack_from("<4d", blob, _START.size)
    return west, south, east, north


def is_empty(blob: bytes) -> bool:
    """Whether a geometry is empty."""
    return bool(_flags(blob) & _EMPTY)


def _flags(blob: bytes) -> int:
    return blob[3]
