"""The catalogue of all scenes; each change is one transaction, with one writer at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
from shapely.geometry.base import BaseGeometry

from ingest.errors import UsageError
from ingest.ledger.supersession import Standing
from ingest.scene import Scene
from outputs.attributes import Attribute
from outputs.catalogue.consistency import disagreements
from outputs.catalogue.database import LOCK_TIMEOUT_S, Database
from outputs.catalogue.publication import Result, publish, settle
from outputs.catalogue.records import Published, Review, Run
from outputs.catalogue.reviews import find_slick, record_review, reviews_of
from outputs.catalogue.rows import folder_of, folder_text, scene_frame, slick_frame, time_of
from outputs.catalogue.schema import create_file, upgrade
from outputs.catalogue.selection import Selection, require_status, select_rows
from outputs.record import RunRecord, record_of

Standings = Callable[[], Mapping[str, Standing]]
_FILES: tuple[Attribute, ...] = (
    Attribute("result_folder", "text", "", "Folder of the layers of its run"),
    Attribute("product", "text", "", "Product that its run processed"),
)


class Catalogue:
    """Slicks, scenes, runs and reviews of all scenes. Usable from several threads; processes each open their own.

    Every method raises `StorageError` where the file cannot be read or written or another writer holds it too long,
    `UnreadableInput` where it is damaged. Tables are in EPSG:4326, one row per slick or scene, latest acquisition
    first, with the attributes of docs/analyst/slicks.md and docs/analyst/catalogue.md.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, path: str | Path, *, create: bool = True, lock_timeout_s: float = LOCK_TIMEOUT_S) -> Catalogue:
        """Open a catalogue, creating the file if missing; upgrade its tables. It needs no closing.

        `lock_timeout_s` is how long to wait for another writer. Raises `UsageError` for a missing file where `create`
        is false, `UnreadableInput` for another kind of file or the catalogue of a newer version, `StorageError`.
        """
        path = Path(path)
        if not path.exists():
            if not create:
                raise UsageError(path, "no such catalogue", "set --catalogue, or process a scene first")
            create_file(path)
        database = Database(path, lock_timeout_s)
        upgrade(database)
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
        candidates: gpd.GeoDataFrame | None = None,
        result_folder: Path | None = None,
        standings: Standings = dict,
        now: datetime | None = None,
    ) -> Published:
        """Publish the result of a run, all or nothing; the same result is not published twice.

        It replaces the former result of the scene and of the scenes that yield to it; if the scene yields to another
        one with a result, it is kept as superseded. `standings` says so, within the transaction, as
        `ingest.ledger.Ledger.standings` does. `footprint` is a polygon in WGS 84, by default that of the scene;
        `slicks` come from `outputs.slicks.find_slicks`, their reviews from the catalogue; `candidates` are those that
        the run rejected, as of `outputs.slicks.candidate_table`. Raises `ValueError` where the parts do not belong
        together.
        """
        folder = folder_text(result_folder, self.path)
        result = Result(
            record, scene, footprint, slicks, folder, gpd.GeoDataFrame() if candidates is None else candidates
        )
        with self._database.writing() as connection:
            return publish(connection, result, standings(), now or datetime.now(UTC))

    def settle(self, standings: Standings, now: datetime | None = None) -> list[str]:
        """Make results current, or not, as the ledger says; returns the scenes that changed.

        `standings` is called within the transaction: settled after every change of the ledger, the catalogue cannot
        disagree with it, whoever publishes meanwhile.
        """
        with self._database.writing() as connection:
            return settle(connection, standings(), now or datetime.now(UTC))

    def disagreements(self, standings: Standings) -> list[str]:
        """Where the catalogue disagrees with the ledger or with itself, a line each."""
        with self._database.reading() as connection:
            return disagreements(connection, standings())

    def slicks(self, selection: Selection = Selection(), limit: int | None = None) -> gpd.GeoDataFrame:  # noqa: B008
        """The selected slicks; by default all current ones."""
        with self._database.reading() as connection:
            return slick_frame(select_rows(connection, "slicks", selection, "id, run_id", limit))

    def former_slicks(self, scene_id: str) -> gpd.GeoDataFrame:
        """The superseded slicks of a scene."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT * FROM former_slicks WHERE scene_id = ? ORDER BY fid", (scene_id,))
            return slick_frame([dict(row) for row in rows])

    def slick(self, slick_id: str) -> gpd.GeoDataFrame:
        """One slick, in one row: the current one of this id, else the last superseded one. Raises `UsageError`."""
        with self._database.reading() as connection:
            return slick_frame([find_slick(connection, slick_id)])

    def scenes(self, selection: Selection = Selection()) -> gpd.GeoDataFrame:  # noqa: B008 - frozen
        """The selected scenes with their footprints, also those without slicks; by default all current ones."""
        with self._database.reading() as connection:
            return scene_frame(select_rows(connection, "scenes", selection, "scene_id"))

    def runs(self, scene_id: str | None = None) -> list[Run]:
        """All runs, or those of a scene; last ended first."""
        query = "SELECT * FROM runs WHERE scene_id = coalesce(?, scene_id) ORDER BY ended_at DESC, fid DESC"
        with self._database.reading() as connection:
            return [self._run(row) for row in connection.execute(query, (scene_id,))]

    def run(self, run_id: str) -> Run:
        """One run. Raises `UsageError` for an unknown id."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT * FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        if row is None:
            raise UsageError(run_id, f"no such run in {self.path}", "use the run_id of a slick or scene")
        return self._run(row)

    def review(
        self,
        slick_id: str,
        status: str,
        reviewer: str,
        notes: str | None = None,
        now: datetime | None = None,
        expected: int | None = None,
    ) -> Review:
        """Record an analyst's review of a current slick; `unreviewed` withdraws a former one.

        `expected` is the number of reviews that the reviewer knows of, where others may review too. Raises
        `UsageError` for an invalid status, an empty name, or an unknown or superseded slick, `OtherReview`.
        """
        require_status(status)
        if not reviewer.strip():
            raise UsageError(slick_id, "missing name of the reviewer", "set --reviewer")
        with self._database.writing() as connection:
            at = now or datetime.now(UTC)
            return record_review(connection, slick_id, status, reviewer.strip(), notes, at, expected)

    def reviews(self, slick_id: str) -> list[Review]:
        """All reviews of a slick, oldest first."""
        with self._database.reading() as connection:
            return reviews_of(connection, slick_id)

    def reviewed(self) -> gpd.GeoDataFrame:
        """Confirmed and rejected slicks, superseded ones too, each id once, with `result_folder` and `product`.

        In the order of their reviews: where two of one scene overlap, the later one counts.
        """
        query = """
            SELECT slick.*, runs.result_folder, runs.record, max(reviews.fid) AS last_review
            FROM (SELECT * FROM slicks UNION ALL
                  SELECT * FROM former_slicks AS former WHERE fid = (SELECT max(fid) FROM former_slicks AS other
                      WHERE other.id = former.id) AND id NOT IN (SELECT id FROM slicks)) AS slick
            JOIN runs ON runs.run_id = slick.run_id JOIN reviews ON reviews.slick_id = slick.id
            WHERE slick.status IN ('confirmed', 'rejected') GROUP BY slick.id ORDER BY last_review
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
