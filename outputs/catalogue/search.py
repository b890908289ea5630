"""Pages of a layer's rows by conditions, for services: bound in time, and never an upgrade or a write.

Conditions are SQLAlchemy expressions over `Layer.table`, so that every value is bound and no text becomes SQL.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import ColumnElement, Select, and_, false, func, literal, or_, select, true
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.sql.expression import Executable

from ingest.errors import StorageError
from outputs.catalogue.blobs import bounds, from_blob
from outputs.catalogue.database import Database
from outputs.catalogue.layers import Layer
from outputs.catalogue.schema import require_version

Relation = Literal["intersects", "within", "contains", "crosses", "overlaps", "touches", "equals", "disjoint"]
COUNTED = 10_000  # more rows than this are not counted
_DIALECT = SQLiteDialect(paramstyle="named")
_STEPS = 20_000  # of SQLite's machine between two looks at the clock
_RELATIONS: dict[str, Callable[[BaseGeometry, BaseGeometry], Any]] = {
    # Prepared is the wanted geometry, which comes first.
    "intersects": shapely.intersects,
    "within": shapely.contains,
    "contains": shapely.within,
    "crosses": shapely.crosses,
    "overlaps": shapely.overlaps,
    "touches": shapely.touches,
    "equals": shapely.equals,
    "disjoint": shapely.disjoint,
}


@dataclass(frozen=True)
class Search:
    """Rows wanted: all conditions hold, in this order (attribute, whether it descends), `limit` after `offset`."""

    layer: Layer
    conditions: tuple[ColumnElement[bool], ...] = ()
    order: tuple[tuple[str, bool], ...] = ()
    limit: int = 100
    offset: int = 0


@dataclass(frozen=True)
class Page:
    """Rows as stored, each with its geometry as `geom`; `matched` is None where there are more than `COUNTED`."""

    rows: list[dict[str, Any]]
    matched: int | None
    more: bool  # rows follow


@dataclass(frozen=True)
class Extent:
    """Where and when the rows of a layer lie: bounds in degrees, first and last acquisition as text; None if empty."""

    bounds: tuple[float, float, float, float] | None
    first: str | None
    last: str | None


@dataclass(frozen=True)
class Reader:
    """Reads a catalogue that others write, open only while it reads; the file may come, go or be replaced meanwhile.

    Every method raises `StorageError` where the file is missing, locked or cannot be read, `UnreadableInput` where it
    is damaged or of another version, `TimeoutError` where a search takes longer than `longest_s`.
    """

    path: Path
    lock_timeout_s: float = 2.0
    longest_s: float = 10.0

    def page(self, search: Search) -> Page:
        """The rows of a search."""
        table = search.layer.table
        columns = [column for column in table.c if column.name != "fid"]
        found = select(*columns).where(*search.conditions).order_by(*_order(search))
        found = found.limit(search.limit + 1).offset(search.offset)
        counted = select(func.count()).select_from(
            select(table.c.fid).where(*search.conditions).limit(COUNTED + 1).subquery()
        )
        with self._reading() as connection:
            rows = [dict(row) for row in _run(connection, found)]
            (matched,) = _run(connection, counted)[0]
        return Page(rows[: search.limit], matched if matched <= COUNTED else None, len(rows) > search.limit)

    def row(self, layer: Layer, key: str) -> dict[str, Any] | None:
        """The row with this key; None if there is none."""
        page = self.page(Search(layer, (layer.table.c[layer.key] == key,), limit=1))
        return page.rows[0] if page.rows else None

    def extent(self, layer: Layer) -> Extent:
        """The extent of a layer; its bounds may be wider than its rows."""
        acquired = layer.table.c.acquired_start
        with self._reading() as connection:
            ((first, last),) = _run(connection, select(func.min(acquired), func.max(acquired)))
            query = "SELECT min_x, min_y, max_x, max_y FROM gpkg_contents WHERE table_name = ?"
            west, south, east, north = connection.execute(query, (layer.name,)).fetchone()
        return Extent(None if west is None else (west, south, east, north), first, last)

    def check(self) -> None:
        """Raise as all methods do, without reading rows."""
        with self._reading():
            pass

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if not self.path.is_file():
            raise StorageError(self.path, "no such file", "publish a scene, or give another catalogue")
        end = time.monotonic() + self.longest_s
        try:
            with Database(self.path, self.lock_timeout_s).reading() as connection:
                require_version(connection, self.path)
                connection.create_function("relates", 3, _relates, deterministic=True)
                connection.create_function("folded", 1, _folded, deterministic=True)
                connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
                yield connection
        except StorageError as error:
            if "interrupted" in str(error.__cause__):
                raise TimeoutError(f"not finished after {self.longest_s:g} s") from error
            raise


def related(layer: Layer, relation: Relation, geometry: BaseGeometry) -> ColumnElement[bool]:
    """The condition that a row's geometry stands in a relation to another one, by the spatial index."""
    table, wkb = layer.table, shapely.to_wkb(geometry)
    holds = func.relates(literal(relation), literal(wkb), table.c.geom) == 1
    if relation == "disjoint":
        return holds
    boxes = [part.bounds for part in shapely.get_parts(geometry) if not part.is_empty]
    if not boxes:
        return false()
    near = or_(*(_overlaps(layer, *box) for box in boxes))
    return and_(table.c.fid.in_(select(layer.index.c.id).where(near)), holds)


def folded(text: ColumnElement[str]) -> ColumnElement[str]:
    """A text without regard to case, in any script."""
    return func.folded(text)


def everywhere() -> ColumnElement[bool]:
    """The condition that every row meets."""
    return true()


def _overlaps(layer: Layer, west: float, south: float, east: float, north: float) -> ColumnElement[bool]:
    index = layer.index.c
    return and_(index.maxx >= west, index.minx <= east, index.maxy >= south, index.miny <= north)


def _order(search: Search) -> Iterator[ColumnElement[Any]]:
    """Ends with the key, so that pages neither overlap nor leave gaps."""
    columns = search.layer.table.c
    for name, descends in (*(search.order or (("acquired_start", True),)), (search.layer.key, False)):
        yield columns[name].desc() if descends else columns[name].asc()


def _run(connection: sqlite3.Connection, statement: Executable | Select[Any]) -> Sequence[sqlite3.Row]:
    compiled = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})  # type: ignore[union-attr]
    return connection.execute(str(compiled), compiled.params).fetchall()


@lru_cache(maxsize=64)
def _prepared(wkb: bytes) -> tuple[BaseGeometry, tuple[float, float, float, float] | None]:
    """The geometry, and its bounds where it is a box."""
    geometry = shapely.from_wkb(wkb)
    shapely.prepare(geometry)
    is_box = geometry.geom_type == "Polygon" and geometry.equals(geometry.envelope)
    return geometry, geometry.bounds if is_box else None


def _relates(relation: str, wkb: bytes, blob: bytes | None) -> bool | None:
    if blob is None:
        return None
    wanted, box = _prepared(wkb)
    if relation == "intersects" and box is not None:
        west, south, east, north = bounds(blob)
        if box[0] <= west and box[1] <= south and east <= box[2] and north <= box[3]:
            return True
    try:
        return bool(_RELATIONS[relation](wanted, from_blob(blob)))
    except shapely.errors.GEOSException:  # an outline that somebody edited, and which crosses itself
        return False


def _folded(text: object) -> str | None:
    return None if text is None else str(text).casefold()
