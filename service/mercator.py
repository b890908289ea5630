"""Tiles of web maps: where each lies, and the places in it. Web Mercator (EPSG:3857), y counted from the north."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.problems import Problem

DEEPEST = 22
Places = NDArray[np.float64]


@dataclass(frozen=True)
class Tile:
    """One tile; `x` and `y` count from the north-western corner of the world."""

    zoom: int
    x: int
    y: int

    @classmethod
    def of(cls, zoom: int, x: int, y: int) -> Tile:
        """The tile of an address. Raises `Problem` 404 where there is none."""
        if not (0 <= zoom <= DEEPEST and 0 <= x < 2**zoom and 0 <= y < 2**zoom):
            raise Problem(404, "There is no such tile.")
        return cls(zoom, x, y)

    def bounds(self, margin: float = 0.0) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees, with a margin in widths of the tile."""
        across = 2.0**self.zoom
        west, east = ((self.x + at) / across * 360.0 - 180.0 for at in (-margin, 1 + margin))
        south, north = (_latitude((self.y + at) / across) for at in (1 + margin, -margin))
        return west, south, east, north

    def places(self, lonlat: Places) -> Places:
        """Longitudes and latitudes (n, 2) as x, y (n, 2) in the tile: 0 at its north-western corner, 1 at the other."""
        across = 2.0**self.zoom
        sine = np.sin(np.radians(np.clip(lonlat[:, 1], -85.051129, 85.051129)))
        x = (lonlat[:, 0] + 180.0) / 360.0 * across - self.x
        y = (0.5 - np.log((1 + sine) / (1 - sine)) / (4 * math.pi)) * across - self.y
        return np.column_stack([x, y])

    def lonlat(self, x: ArrayLike, y: ArrayLike) -> tuple[Places, Places]:
        """The inverse of `places`, for any shapes that broadcast."""
        across = 2.0**self.zoom
        longitude = (self.x + np.asarray(x, float)) / across * 360.0 - 180.0
        turned = math.pi * (1 - 2 * (self.y + np.asarray(y, float)) / across)
        return longitude, np.degrees(np.arctan(np.sinh(turned)))


def _latitude(down: float) -> float:
    return math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * down))))
