"""Pages of a layer's rows by conditions, for services: bound in time, and never an upgrade or a write.

Conditions are SQLAlchemy expressions over `Layer.table`, so that every value is bound and no text becomes SQL.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Select,
    and_,
    cast,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.sql.expression import Executable

from ingest.errors import StorageError
from outputs.catalogue.blobs import bounds, from_blob
from outputs.catalogue.database import Database
from outputs.catalogue.layers import SCENES, SLICKS, Layer
from outputs.catalogue.records import Review
from outputs.catalogue.reviews import reviews_of
from outputs.catalogue.rows import folder_of
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
class Shapes:
    """What a map shows of a layer within a box of degrees: west, south, east, north.

    What is smaller than a cell, (width, height) in degrees, becomes a dot, one of each cell.
    """

    layer: Layer
    attributes: tuple[str, ...]
    box: tuple[float, float, float, float]
    cell: tuple[float, float]
    order: str  # the attribute whose largest value a dot shows
    conditions: tuple[ColumnElement[bool], ...] = ()
    most: int = 1000


@dataclass(frozen=True)
class Waiting:
    """A slick to be reviewed."""

    id: str
    score: float


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

    def shapes(self, asked: Shapes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What a map of a box shows: the rows with an outline as `geom`, and dots for those too small for one.

        At most `most` outlines, the largest. A dot is at `x`, `y` in degrees; where several rows are close together
        it stands for `count` of them and has the attributes of the first in `order`.
        """
        layer, index = asked.layer, asked.layer.index.c
        names = [layer.table.c[name] for name in asked.attributes]
        size = func.max((index.maxx - index.minx) / asked.cell[0], (index.maxy - index.miny) / asked.cell[1])
        joined = layer.table.join(layer.index, layer.table.c.fid == index.id)
        large = select(*names, layer.table.c.geom, size.label("size")).select_from(joined)
        large = large.where(_overlaps(layer, *asked.box), size >= 1.0, *asked.conditions).order_by(size.desc())
        with self._reading() as connection:
            outlines = [dict(row) for row in _run(connection, large.limit(asked.most + 1))]
            least = outlines[asked.most]["size"] if len(outlines) > asked.most else 0.0
            dots = [dict(row) for row in _run(connection, _dots(asked, names, joined, size, max(least, 1.0)))]
        return [row for row in outlines if row["size"] > least], dots

    def folders(self, conditions: Sequence[ColumnElement[bool]], limit: int) -> list[tuple[str, Path | None]]:
        """Scenes and the folders of their results, the latest first; None where a result was published without one."""
        scenes = SCENES.table
        found = select(scenes.c.scene_id, literal_column("result_folder").label("folder")).select_from(scenes)
        found = found.where(*conditions).order_by(scenes.c.acquired_start.desc(), scenes.c.scene_id).limit(limit)
        with self._reading() as connection:
            return [(row["scene_id"], folder_of(row["folder"], self.path)) for row in _run(connection, found)]

    def reviews(self, slick_id: str) -> list[Review]:
        """All reviews of a slick, oldest first."""
        with self._reading() as connection:
            return reviews_of(connection, slick_id)

    def queue(self) -> list[Waiting]:
        """The slicks without a review, highest score first.

        The score is the entropy of the calibrated probability of oil, in bits, times log2(1 + area in km2): a label
        teaches most where the model doubts, and of a large slick it teaches more pixels.
        """
        columns = SLICKS.table.c
        wanted = select(columns.id, columns.confidence_mean, columns.area_m2).where(columns.status == "unreviewed")
        with self._reading() as connection:
            found = [Waiting(row["id"], _score(*row[1:])) for row in _run(connection, wanted)]
        return sorted(found, key=lambda one: (-one.score, one.id))

    def stamp(self) -> str:
        """A text that is another one after each change of the file."""
        parts = []
        for path in (self.path, self.path.with_name(f"{self.path.name}-wal")):
            with suppress(OSError):
                state = path.stat()
                parts.append(f"{state.st_ino:x}.{state.st_mtime_ns:x}.{state.st_size:x}")
        return "-".join(parts)

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


def _score(probability: float | None, area_m2: float | None) -> float:
    p = 0.5 if probability is None else min(max(probability, 0.0), 1.0)  # not known: as doubtful as can be
    doubt = -sum(one * math.log2(one) for one in (p, 1 - p) if one > 0)
    return doubt * math.log2(1 + (area_m2 or 0.0) / 1e6)


def _overlaps(layer: Layer, west: float, south: float, east: float, north: float) -> ColumnElement[bool]:
    index = layer.index.c
    return and_(index.maxx >= west, index.minx <= east, index.maxy >= south, index.miny <= north)


def _dots(
    asked: Shapes, names: Sequence[ColumnElement[Any]], joined: FromClause, size: ColumnElement[Any], below: float
) -> Select[Any]:
    index, (west, south, east, north) = asked.layer.index.c, asked.box
    x, y = (index.minx + index.maxx) / 2, (index.miny + index.maxy) / 2
    column, row = (
        cast((place - start) / step, Integer)
        for place, start, step in ((x, west, asked.cell[0]), (y, south, asked.cell[1]))
    )
    # In SQLite the attributes beside a lone max() are those of its row.
    first = func.max(asked.layer.table.c[asked.order]).label("first")
    found = select(*names, x.label("x"), y.label("y"), func.count().label("count"), first).select_from(joined)
    is_small = size <= below if below > 1.0 else size < 1.0
    inside = and_(x >= west, x < east, y >= south, y < north)
    return found.where(_overlaps(asked.layer, *asked.box), is_small, inside, *asked.conditions).group_by(column, row)


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
