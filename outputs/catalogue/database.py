"""The SQLite file of the catalogue: connections, one writer at a time, changes of rows, failures as our errors.

The spatial index of a GeoPackage is maintained by triggers that call functions such as ST_MinX. Every connection
provides them, so that a row and its index entry are written in one transaction.

Never open the catalogue through GDAL in a process that also opens it here: GDAL has its own copy of SQLite, and POSIX
drops all locks of a process on a file when any of its handles on that file is closed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest.errors import SlickwatchError, StorageError, UnreadableInput
from ingest.ledger.database import sqlite_failure
from outputs.catalogue.blobs import bounds, is_empty

LOCK_TIMEOUT_S = 30.0  # to wait for another writer
_FUNCTIONS: dict[str, Callable[[bytes], float | bool]] = {
    "ST_MinX": lambda blob: bounds(blob)[0],
    "ST_MinY": lambda blob: bounds(blob)[1],
    "ST_MaxX": lambda blob: bounds(blob)[2],
    "ST_MaxY": lambda blob: bounds(blob)[3],
    "ST_IsEmpty": is_empty,
}
_DAMAGED = ("not a database", "malformed")  # in messages of SQLite


@dataclass(frozen=True)
class Database:
    """One catalogue file, with a new connection for each transaction; usable from several threads."""

    path: Path
    lock_timeout_s: float = LOCK_TIMEOUT_S

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One read transaction, which sees one state of the catalogue. Raises `StorageError`, `UnreadableInput`."""
        # Not opened read-only: the last connection to close writes the log of the writers back to the file.
        with self._translated_errors(), closing(self._connected()) as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("BEGIN")
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One write transaction, the only one at the time, kept whole or not at all. Raises as `reading` does."""
        with self._translated_errors(), closing(self._connected()) as connection:
            # QGIS turns write-ahead logging off when it closes a GeoPackage. Both modes are safe; with the log, readers
            # and the writer do not block each other.
            with suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def _connected(self) -> sqlite3.Connection:
        address = f"{self.path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(address, uri=True, timeout=self.lock_timeout_s, isolation_level=None)
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("PRAGMA synchronous = FULL")  # committed data survive a power cut
        except sqlite3.Error:
            connection.close()
            raise
        for name, function in _FUNCTIONS.items():
            connection.create_function(name, 1, function, deterministic=True)
        return connection

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # a bug
        except sqlite3.Error as error:
            raise failure(self.path, error) from error


def failure(path: Path, error: Exception) -> SlickwatchError:
    """The error of Slickwatch for a failure of the database."""
    known = sqlite_failure(str(path), str(error).strip().rstrip("."), "catalogue")
    kind = UnreadableInput if any(words in str(error).lower() for words in _DAMAGED) else StorageError
    return kind(path, known.problem, known.remedy)


def insert(connection: sqlite3.Connection, table: str, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that all have the same columns."""
    if rows:
        columns = ", ".join(f'"{name}"' for name in rows[0])
        holes = ", ".join("?" * len(rows[0]))
        connection.executemany(
            f"INSERT INTO {table} ({columns}) VALUES ({holes})", [tuple(row.values()) for row in rows]
        )


def extend(connection: sqlite3.Connection, layer: str, column: str, value: str) -> None:
    """Extend the recorded bounds of a layer to the rows with this value; bounds never shrink, they are only a hint."""
    west, south, east, north = connection.execute(
        f"SELECT min(minx), min(miny), max(maxx), max(maxy) FROM rtree_{layer}_geom "
        f"WHERE id IN (SELECT fid FROM {layer} WHERE {column} = ?)",
        (value,),
    ).fetchone()
    if west is not None:
        connection.execute(
            "UPDATE gpkg_contents SET "
            "min_x = min(coalesce(min_x, :west), :west), min_y = min(coalesce(min_y, :south), :south), "
            "max_x = max(coalesce(max_x, :east), :east), max_y = max(coalesce(max_y, :north), :north) "
            "WHERE table_name = :layer",
            {"west": west, "south": south, "east": east, "north": north, "layer": layer},
        )
    mark_changed(connection, layer)


def mark_changed(connection: sqlite3.Connection, layer: str) -> None:
    """Record that a layer changed now."""
    now = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
    connection.execute(f"UPDATE gpkg_contents SET last_change = {now} WHERE table_name = ?", (layer,))
