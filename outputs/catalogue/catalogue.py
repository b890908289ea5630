"""The catalogue over all scenes. Every change is one transaction of the only writer at the time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
from shapely.geometry.base import BaseGeometry

from ingest.errors import UsageError
from ingest.scene import Scene
from outputs.attributes import Attribute
from outputs.catalogue import queries
from outputs.catalogue.blobs import Bounds
from outputs.catalogue.database import PATIENCE_S, Database
from outputs.catalogue.publication import Result, publish
from outputs.catalogue.queries import Selection
from outputs.catalogue.records import Published, Review, Run, State
from outputs.catalogue.rows import (
    folder_of,
    folder_text,
    scene_frame,
    slick_frame,
    time_of,
    time_text,
)
from outputs.catalogue.schema import begin, check
from outputs.record import RunRecord, record_of

_FILES: tuple[Attribute, ...] = (
    Attribute("result_folder", "text", "", "Where the layers of its run are"),
    Attribute("product", "text", "", "The product that its run was given"),
)


class Catalogue:
    """Slicks, scenes, runs and reviews of all scenes. Usable from several threads; processes each open their own.

    Every method raises `StorageError` where the file cannot be read or written or another writer holds it too long,
    `UnreadableInput` where it is damaged; in one line. Tables are in EPSG:4326, one row a slick or scene, the latest
    acquisition first; with the attributes of docs/analyst/slicks.md and docs/analyst/catalogue.md.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, path: str | Path, *, create: bool = True, patience_s: float = PATIENCE_S) -> Catalogue:
        """Open a catalogue's file, made where there is none; upgrade its tables. Nothing stays open: there is no close.

        `patience_s` is how long to wait for another writer. Raises `UsageError` for a missing file where `create` is
        false, `UnreadableInput` for another kind of file or the catalogue of a newer program, `StorageError`.
        """
        path = Path(path)
        if not path.exists():
            if not create:
                raise UsageError(path, "no such catalogue", "name one with --catalogue, or process a scene")
            begin(path)
        database = Database(path, patience_s)
        check(database)
        return cls(database)

    @property
    def path(self) -> Path:
        """Its file."""
        return self._database.path

    def publish(
        self,
        record: RunRecord,
        scene: Scene,
        footprint: BaseGeometry | None,
        slicks: gpd.GeoDataFrame,
        *,
        result_folder: Path | None = None,
        supersedes: Iterable[str] = (),
        now: datetime | None = None,
    ) -> Published:
        """Put a run's result in, all or nothing; as often as you like: what is there already is not doubled.

        It takes the place of the scene's former result, and of those of the scenes in `supersedes`, which this one is
        a later processing of (docs/operator/ledger.md). A processing superseded before its result came is kept as
        superseded. `footprint` is a polygon in WGS 84, by default the scene's own; `slicks` are those of
        `outputs.slicks.find_slicks`, whose reviews are the catalogue's. Raises `ValueError` where the parts do not
        belong together.
        """
        folder = folder_text(result_folder, self.path)
        result = Result(record, scene, footprint, slicks, folder, tuple(dict.fromkeys(supersedes)))
        with self._database.writing() as connection:
            return publish(connection, result, now or datetime.now(UTC))

    # What there is

    def slicks(
        self,
        bbox: Bounds | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        status: str | Sequence[str] | None = None,
        model: str | None = None,
        current: bool = True,
        limit: int | None = None,
        offset: int = 0,
    ) -> gpd.GeoDataFrame:
        """The slicks that `Selection` describes. Raises as it does."""
        selection = Selection(bbox, since, until, status, model, current)
        with self._database.reading() as connection:
            return slick_frame(queries.rows(connection, "slicks", selection, "id, run_id", limit, offset))

    def count_slicks(
        self,
        bbox: Bounds | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        status: str | Sequence[str] | None = None,
        model: str | None = None,
        current: bool = True,
    ) -> int:
        """How many slicks `slicks` gives without a limit."""
        selection = Selection(bbox, since, until, status, model, current)
        with self._database.reading() as connection:
            return queries.count(connection, "slicks", selection)

    def slick(self, slick_id: str) -> gpd.GeoDataFrame:
        """One slick, in one row: the current one of this id, else the last that was superseded. Raises `UsageError`."""
        with self._database.reading() as connection:
            return slick_frame([_known(connection, slick_id)])

    def scenes(
        self,
        bbox: Bounds | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        model: str | None = None,
        current: bool = True,
        limit: int | None = None,
        offset: int = 0,
    ) -> gpd.GeoDataFrame:
        """The scenes analysed, clean ones too, with their footprints; `model` is an id. Raises as `slicks` does."""
        selection = Selection(bbox, since, until, None, model, current)
        with self._database.reading() as connection:
            return scene_frame(queries.rows(connection, "scenes", selection, "scene_id", limit, offset))

    def runs(
        self,
        scene_id: str | None = None,
        state: State | None = None,
        since: datetime | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Run]:
        """Runs, the last ended first; those of a scene, in a state, ended since."""
        query = """
            SELECT * FROM runs WHERE (:scene IS NULL OR scene_id = :scene) AND (:state IS NULL OR state = :state)
                AND (:since IS NULL OR ended_at >= :since)
            ORDER BY ended_at DESC, fid DESC LIMIT :limit OFFSET :offset
        """
        values = {
            "scene": scene_id,
            "state": state,
            "since": None if since is None else time_text(since),
            "limit": -1 if limit is None else limit,
            "offset": offset,
        }
        with self._database.reading() as connection:
            return [self._run(row) for row in connection.execute(query, values)]

    def run(self, run_id: str) -> Run:
        """One run. Raises `UsageError` where there is none of this id."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT * FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        if row is None:
            raise UsageError(run_id, f"no such run in {self.path}", "see run_id of a slick or a scene")
        return self._run(row)

    def last_run_at(self) -> datetime | None:
        """When the last run that was published ended, also one that found the same again; None before the first."""
        with self._database.reading() as connection:
            (ended,) = connection.execute("SELECT max(max(ended_at, coalesce(repeated_at, ''))) FROM runs").fetchone()
        return time_of(ended)

    # What analysts say

    def review(
        self, slick_id: str, status: str, reviewer: str, notes: str | None = None, now: datetime | None = None
    ) -> Review:
        """Record what an analyst says of a current slick; `unreviewed` takes a former word back.

        Raises `UsageError` for another status, no name, or a slick that is unknown or superseded.
        """
        queries.require_status(status)
        if not reviewer.strip():
            raise UsageError(slick_id, "a review needs the reviewer's name", "give it with --reviewer")
        said = (status, time_text(now or datetime.now(UTC)), reviewer.strip(), notes)
        with self._database.writing() as connection:
            slick = _known(connection, slick_id)
            if slick["superseded_by"] is not None:
                problem = f"superseded by the result of run {slick['superseded_by']}"
                raise UsageError(slick_id, problem, "review the slicks of that run")
            connection.execute(
                "UPDATE slicks SET status = ?, reviewed_at = ?, reviewer = ?, notes = ? WHERE id = ?", (*said, slick_id)
            )
            return _reviews(connection, slick_id)[-1]

    def reviews(self, slick_id: str) -> list[Review]:
        """All that was ever said of a slick, in that order."""
        with self._database.reading() as connection:
            return _reviews(connection, slick_id)

    def reviewed(self) -> gpd.GeoDataFrame:
        """Slicks that are confirmed or rejected, superseded ones too, each id once, with `result_folder` and `product`.

        In the order of their reviews: where two of one scene overlap, the later one is the last word.
        """
        query = """
            SELECT slick.*, runs.result_folder, runs.record, max(reviews.fid) AS said
            FROM (SELECT * FROM slicks UNION ALL
                  SELECT * FROM former_slicks AS former WHERE fid = (SELECT max(fid) FROM former_slicks AS other
                      WHERE other.id = former.id) AND id NOT IN (SELECT id FROM slicks)) AS slick
            JOIN runs ON runs.run_id = slick.run_id JOIN reviews ON reviews.slick_id = slick.id
            WHERE slick.status IN ('confirmed', 'rejected') GROUP BY slick.id ORDER BY said
        """
        with self._database.reading() as connection:
            found = [dict(row) for row in connection.execute(query)]
        for row in found:
            inputs = record_of(row["record"]).inputs
            folder = folder_of(row["result_folder"], self.path)
            row |= {"result_folder": folder and str(folder), "product": inputs[0].path if inputs else None}
        return slick_frame(found, _FILES)

    def _run(self, row: sqlite3.Row) -> Run:
        return Run(
            record=record_of(row["record"]),
            state=row["state"],
            catalogued_at=datetime.fromisoformat(row["catalogued_at"]),
            repeated_at=time_of(row["repeated_at"]),
            superseded_by=row["superseded_by"],
            superseded_at=time_of(row["superseded_at"]),
            why=row["why"],
            result_folder=folder_of(row["result_folder"], self.path),
        )


def _known(connection: sqlite3.Connection, slick_id: str) -> dict[str, Any]:
    for layer in ("slicks", "former_slicks"):
        row = connection.execute(f"SELECT * FROM {layer} WHERE id = ? ORDER BY fid DESC", (slick_id,)).fetchone()
        if row is not None:
            return dict(row)
    raise UsageError(slick_id, "no such slick in the catalogue", "see slickwatch slicks list")


def _reviews(connection: sqlite3.Connection, slick_id: str) -> list[Review]:
    rows = connection.execute("SELECT * FROM reviews WHERE slick_id = ? ORDER BY fid", (slick_id,))
    return [
        Review(
            row["slick_id"],
            row["run_id"],
            row["status"],
            row["reviewer"],
            row["notes"],
            datetime.fromisoformat(row["reviewed_at"]),
        )
        for row in rows
    ]
