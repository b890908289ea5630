"""Questions to the catalogue: which rows of a layer, in which order; areas are looked up in the spatial index."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import shapely
from shapely.geometry import MultiPolygon, Polygon

from ingest.areas import box_area
from ingest.errors import UsageError
from outputs.catalogue.blobs import Bounds, from_blob
from outputs.catalogue.records import STATUSES
from outputs.catalogue.rows import time_text

_MODEL = {"slicks": "? IN (model_id, weights_sha256)", "scenes": "model_id = ?"}


@dataclass(frozen=True)
class Selection:
    """Which rows are wanted; what is None does not matter. Times are those of the acquisition, both ends included.

    `bbox` is west, south, east, north in degrees; across the antimeridian where west is the greater. Raises
    `UsageError` for a box or a status that is none, `ValueError` for a time without a zone.
    """

    bbox: Bounds | None = None
    since: datetime | None = None
    until: datetime | None = None
    status: str | Sequence[str] | None = None
    model: str | None = None  # id, or SHA-256 of its weights
    current: bool = True  # False: those that were superseded as well
    area: Polygon | MultiPolygon | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        for status in self.statuses:
            require_status(status)
        if self.bbox is not None:
            area = box_area(*self.bbox, subject="bbox")
            shapely.prepare(area)
            object.__setattr__(self, "area", area)

    @property
    def statuses(self) -> tuple[str, ...]:
        """The statuses wanted; none: any."""
        return (self.status,) if isinstance(self.status, str) else tuple(self.status or ())

    def condition(self, layer: str) -> tuple[str, list[Any]]:
        """What SQL asks of a row of a layer, and the values for it."""
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
        if self.statuses:
            tests.append(f"status IN ({', '.join('?' * len(self.statuses))})")
            values += self.statuses
        if self.area is not None:
            near = f"SELECT id FROM rtree_{layer}_geom WHERE maxx >= ? AND minx <= ? AND maxy >= ? AND miny <= ?"
            boxes = [part.bounds for part in shapely.get_parts(self.area)]
            tests.append(f"fid IN ({' UNION '.join([near] * len(boxes))}) AND meets_area(geom)")
            values += [value for west, south, east, north in boxes for value in (west, east, south, north)]
        return " AND ".join(tests) or "TRUE", values

    def prepare(self, connection: sqlite3.Connection) -> None:
        """Give a connection the exact test that goes with this selection's area; the index knows only boxes."""
        if self.area is not None:
            connection.create_function("meets_area", 1, _meets(self.area), deterministic=True)


def _meets(area: Polygon | MultiPolygon) -> Callable[[bytes], bool]:
    return lambda blob: bool(shapely.intersects(area, from_blob(blob)))


def rows(
    connection: sqlite3.Connection,
    layer: str,
    selection: Selection,
    order: str,
    limit: int | None,
    offset: int,
) -> list[dict[str, Any]]:
    """The rows wanted, the latest acquisition first, from the layer and its twin where those are wanted."""
    query, values = statement(layer, "*", selection)
    selection.prepare(connection)
    paged = f"{query} ORDER BY acquired_start DESC, {order} LIMIT ? OFFSET ?"
    return [dict(row) for row in connection.execute(paged, (*values, -1 if limit is None else limit, offset))]


def count(connection: sqlite3.Connection, layer: str, selection: Selection) -> int:
    """How many rows there are."""
    query, values = statement(layer, "fid", selection)
    selection.prepare(connection)
    return int(connection.execute(f"SELECT count(*) FROM ({query})", values).fetchone()[0])


def statement(layer: str, columns: str, selection: Selection) -> tuple[str, list[Any]]:
    """The SQL for a selection without order, and its values."""
    parts: list[str] = []
    values: list[Any] = []
    for table in (layer,) if selection.current else (layer, f"former_{layer}"):
        condition, wanted = selection.condition(table)
        parts.append(f"SELECT {columns} FROM {table} WHERE {condition}")
        values += wanted
    return " UNION ALL ".join(parts), values


def require_status(status: str) -> None:
    """Raise `UsageError` for what is no status of a slick."""
    if status not in STATUSES:
        raise UsageError(status, "not a status of a slick", f"give {', '.join(STATUSES)}")
