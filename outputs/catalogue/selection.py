"""Which slicks or scenes are wanted, as a query in SQL; areas use the spatial index."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from ingest.areas import box_area
from ingest.errors import UsageError
from outputs.attributes import time_text
from outputs.catalogue.blobs import Bounds, from_blob
from outputs.catalogue.records import STATUSES

CLASSES = ("oil", "look-alike")
_MODEL = {"slicks": "? IN (model_id, weights_sha256)", "scenes": "model_id = ?"}


@dataclass(frozen=True)
class Selection:
    """Slicks or scenes by place, time of acquisition (both ends included), model and attributes; None selects all.

    `bbox` is west, south, east, north in degrees; it crosses the antimeridian if west > east. Scenes have no status,
    class, area or confidence, and are not selected by them. Raises `UsageError` for an invalid box, status or class and
    for bounds that nothing meets, `ValueError` for a time without a time zone.
    """

    bbox: Bounds | None = None
    since: datetime | None = None
    until: datetime | None = None
    status: str | Sequence[str] | None = None
    model: str | None = None  # id; for slicks also the SHA-256 of the weights
    current: bool = True  # False: superseded ones as well
    within: BaseGeometry | None = None  # polygons in WGS 84 that they touch, as `bbox`
    classes: Sequence[str] = ()  # empty: any
    minimum_area_km2: float | None = None
    maximum_area_km2: float | None = None
    minimum_confidence: float | None = None  # of `confidence_mean`, 0..1
    area: BaseGeometry | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        for status in self.statuses:
            require_status(status)
        for name in self.classes:
            if name not in CLASSES:
                raise UsageError(name, "not a class of slicks", f"use {' or '.join(CLASSES)}")
        _require_order(self.minimum_area_km2, self.maximum_area_km2, "area", "the smaller area as the minimum")
        _require_order(self.since, self.until, "time", "the earlier time as the beginning")
        area: BaseGeometry | None = None if self.bbox is None else box_area(*self.bbox, subject="bbox")
        if self.within is not None:
            area = self.within if area is None else area.intersection(self.within)
        if area is not None:
            shapely.prepare(area)
            object.__setattr__(self, "area", area)

    @property
    def statuses(self) -> tuple[str, ...]:
        """The statuses wanted; empty: any."""
        return (self.status,) if isinstance(self.status, str) else tuple(self.status or ())

    def condition(self, layer: str) -> tuple[str, list[Any]]:
        """The SQL condition for rows of a layer, and its values."""
        tests: list[str] = []
        values: list[Any] = []
        for test, value in (
            ("acquired_start >= ?", None if self.since is None else time_text(self.since)),
            ("acquired_start <= ?", None if self.until is None else time_text(self.until)),
            (_MODEL[layer.removeprefix("former_")], self.model),
        ):
            if value is not None:
                tests.append(test)
                values.append(value)
        for test, wanted in self._of_slicks() if layer.endswith("slicks") else ():
            tests.append(test)
            values += wanted
        if self.area is not None:
            near = f"SELECT id FROM rtree_{layer}_geom WHERE maxx >= ? AND minx <= ? AND maxy >= ? AND miny <= ?"
            boxes = [part.bounds for part in shapely.get_parts(self.area)]
            tests.append(f"fid IN ({' UNION '.join([near] * len(boxes))}) AND meets_area(geom)")
            values += [value for west, south, east, north in boxes for value in (west, east, south, north)]
        return " AND ".join(tests) or "TRUE", values

    def _of_slicks(self) -> Iterator[tuple[str, Sequence[Any]]]:
        """The tests of attributes that slicks alone have, each with its values."""
        for column, wanted in (("status", self.statuses), ("class", self.classes)):
            if wanted:
                yield f'"{column}" IN ({", ".join("?" * len(wanted))})', wanted
        for test, bound in (
            ("area_m2 >= ? * 1e6", self.minimum_area_km2),
            ("area_m2 <= ? * 1e6", self.maximum_area_km2),
            ("confidence_mean >= ?", self.minimum_confidence),
        ):
            if bound is not None:
                yield test, [bound]


def _require_order(low: Any, high: Any, what: str, remedy: str) -> None:
    if low is not None and high is not None and low > high:
        raise UsageError(what, f"nothing is between {low} and {high}", f"give {remedy}")


def require_status(status: str) -> None:
    """Raise `UsageError` for an invalid status of a slick."""
    if status not in STATUSES:
        raise UsageError(status, "invalid status", f"use {', '.join(STATUSES)}")


def select_rows(
    connection: sqlite3.Connection, layer: str, selection: Selection, order: str, limit: int | None = None
) -> list[dict[str, Any]]:
    """The rows selected, latest acquisition first."""
    parts: list[str] = []
    values: list[Any] = []
    for table in (layer,) if selection.current else (layer, f"former_{layer}"):
        condition, wanted = selection.condition(table)
        parts.append(f"SELECT * FROM {table} WHERE {condition}")
        values += wanted
    if selection.area is not None:  # the spatial index has only boxes
        meets = partial(_meets, selection.area)
        connection.create_function("meets_area", 1, meets, deterministic=True)
    query = f"{' UNION ALL '.join(parts)} ORDER BY acquired_start DESC, {order} LIMIT ?"
    return [dict(row) for row in connection.execute(query, (*values, -1 if limit is None else limit))]


def _meets(area: BaseGeometry, blob: bytes) -> bool:
    return bool(shapely.intersects(area, from_blob(blob)))
