"""The SQLite file below the catalogue: its connections, one writer at a time, and failures told in one line.

A GeoPackage keeps its spatial index by triggers that call functions such as ST_MinX. Every connection here has
them, so that a row, its entry in the index and all that belongs to it are one transaction.

Never open the catalogue through GDAL in a process that also opens it here: GDAL brings an SQLite of its own, and
POSIX drops all locks that a process holds on a file when any of its handles on it is closed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ingest.errors import SlickwatchError, StorageError, UnreadableInput
from outputs.catalogue.blobs import bounds, is_empty

PATIENCE_S = 30.0  # to wait for another writer

_FUNCTIONS: dict[str, Callable[[bytes], float | bool]] = {
    "ST_MinX": lambda blob: bounds(blob)[0],
    "ST_MinY": lambda blob: bounds(blob)[1],
    "ST_MaxX": lambda blob: bounds(blob)[2],
    "ST_MaxY": lambda blob: bounds(blob)[3],
    "ST_IsEmpty": is_empty,
}
# What the driver says, the kind of failure, what is wrong and what to do.
_FAILURES: dict[str, tuple[type[SlickwatchError], str, str]] = {
    "locked": (StorageError, "another process holds it", "wait until it is done, or end that process"),
    "readonly": (StorageError, "it cannot be written", "give yourself the right to write the file and its folder"),
    "unable to open": (StorageError, "it cannot be opened", "name a file in a folder that you may write"),
    "disk is full": (StorageError, "the disk is full", "make room, then run again: nothing was half-written"),
    "disk i/o": (StorageError, "the disk did not take it", "make room or look after it: nothing was half-written"),
    "not a database": (UnreadableInput, "not a catalogue: not even a GeoPackage", "name another file"),
    "malformed": (UnreadableInput, "the file is damaged", "restore a copy of it, or recover it with sqlite3 .recover"),
}


@dataclass(frozen=True)
class Database:
    """Connections to one catalogue, a new one for each transaction; usable from several threads."""

    path: Path
    patience_s: float = PATIENCE_S

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One transaction that sees one state of the catalogue. Raises `StorageError`, `UnreadableInput`."""
        # Not opened as read-only: when it is the last to close, it brings what the writers logged into the file.
        with self._told(), closing(self._connected()) as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("BEGIN")
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that is the only writer; all of it is kept, or nothing. Raises as `reading` does."""
        with self._told(), closing(self._connected()) as connection:
            # QGIS turns write-ahead logging off when it closes a GeoPackage; both ways are safe, with it readers
            # and the writer do not wait for each other.
            with suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def _connected(self) -> sqlite3.Connection:
        address = f"{self.path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(address, uri=True, timeout=self.patience_s, isolation_level=None)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA synchronous = FULL")  # what is committed outlives a power cut
        for name, function in _FUNCTIONS.items():
            connection.create_function(name, 1, function, deterministic=True)
        return connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # a mistake of ours
        except sqlite3.Error as error:
            raise failure(self.path, error) from error


def failure(path: Path, error: Exception) -> SlickwatchError:
    """A failure of the database as one that people understand."""
    told = str(error).strip().rstrip(".")
    for fragment, (kind, problem, remedy) in _FAILURES.items():
        if fragment in told.lower():
            return kind(path, problem, remedy)
    return StorageError(path, f"the database failed: {told}", "see whether the file is a catalogue and whole")
