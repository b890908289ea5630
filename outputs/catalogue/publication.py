"""Publication of one result in the catalogue, within one transaction, and what it supersedes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import geopandas as gpd
from shapely.geometry.base import BaseGeometry

from ingest.scene import Scene
from outputs.attributes import ATTRIBUTES, time_text
from outputs.catalogue.blobs import to_blob
from outputs.catalogue.database import extend, insert, mark_changed
from outputs.catalogue.records import Published
from outputs.catalogue.reviews import last_review, suggested_statuses
from outputs.catalogue.rows import SCENE_COLUMNS, SLICK_EXTRAS, coverage_values, names, run_row, scene_row, slick_rows
from outputs.record import RunRecord


@dataclass(frozen=True, eq=False)
class Result:
    """The result of a run. Raises `ValueError` where its parts do not belong together."""

    record: RunRecord
    scene: Scene
    footprint: BaseGeometry | None
    slicks: gpd.GeoDataFrame
    folder: str | None
    supersedes: tuple[str, ...]  # scenes of which this one is a later processing

    def __post_init__(self) -> None:
        ids = self.slicks["id"]
        if self.record.scene_id != self.scene.id or not (self.slicks["scene_id"] == self.scene.id).all():
            raise ValueError(f"the record, scene and slicks are not of one scene, {self.scene.id}")
        if not (self.slicks["run_id"] == self.record.run_id).all():
            raise ValueError(f"not all slicks are of run {self.record.run_id}")
        if self.record.slick_count != len(ids) or ids.isna().any() or ids.duplicated().any():
            raise ValueError(f"the run has {self.record.slick_count} slicks, but there are {ids.nunique()} ids")
        if self.slicks.crs != "EPSG:4326":
            raise ValueError(f"the slicks are in {self.slicks.crs}, not in EPSG:4326")
        if self.scene.id in self.supersedes:
            raise ValueError(f"{self.scene.id} cannot supersede itself")


def publish(connection: sqlite3.Connection, result: Result, now: datetime) -> Published:
    """Write a result, unless the same is published already; `connection` is in a write transaction."""
    run_id = result.record.run_id
    if connection.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone():
        return _published(connection, run_id, repeated=True)
    record_supersessions(connection, result.scene.id, result.supersedes)
    successor = successor_of(connection, result.scene.id)
    replaced = [] if successor else replaced_runs(connection, result.scene.id, result.supersedes)
    same = _same_result(connection, result, successor)
    if same is not None:
        replaced = [run for run in replaced if run["run_id"] != same["run_id"]]
        _record_repetition(connection, same, result)
        supersede(connection, replaced, same["run_id"], result.record, now)
        return _published(connection, same["run_id"], True, replaced)
    suggestions = suggested_statuses(connection, replaced, result.slicks)
    supersede(connection, replaced, run_id, result.record, now)
    insert(connection, "runs", [run_row(result.record, result.folder, now) | _state(successor, now)])
    _insert_slicks(connection, result, suggestions, successor, now)
    _insert_scene(connection, result, successor)
    return _published(connection, run_id, False, replaced)


def _same_result(connection: sqlite3.Connection, result: Result, successor: Successor | None) -> sqlite3.Row | None:
    """The scene's last run, if it has the same state, model, options and slicks as this one."""
    record, state = result.record, "superseded" if successor else "current"
    run: sqlite3.Row | None = connection.execute(
        "SELECT * FROM runs WHERE scene_id = ? ORDER BY fid DESC", (record.scene_id,)
    ).fetchone()
    if run is None or (run["state"], run["config_hash"]) != (state, record.config_hash):
        return None
    if model_key(run["weights_sha256"], run["model_id"]) != model_key(record.weights_sha256, record.model_id):
        return None
    layer = "former_slicks" if successor else "slicks"
    ids = {id for (id,) in connection.execute(f"SELECT id FROM {layer} WHERE run_id = ?", (run["run_id"],))}
    return run if ids == set(result.slicks["id"]) else None


def _record_repetition(connection: sqlite3.Connection, run: sqlite3.Row, result: Result) -> None:
    """Record that a run gave the same result; its files are now the result's."""
    folder = result.folder or run["result_folder"]
    connection.execute("UPDATE runs SET result_folder = ? WHERE run_id = ?", (folder, run["run_id"]))
    if run["run_id"] != result.record.run_id:
        ended = time_text(result.record.ended_at)
        connection.execute(
            "UPDATE runs SET repeated_at = max(coalesce(repeated_at, ''), ?) WHERE run_id = ?", (ended, run["run_id"])
        )
    values = {"result_folder": folder, **coverage_values(result.record)}
    changes = ", ".join(f"{name} = :{name}" for name in values)
    connection.execute(f"UPDATE scenes SET {changes} WHERE run_id = :run_id", {**values, "run_id": run["run_id"]})


def _state(successor: Successor | None, now: datetime) -> dict[str, str | None]:
    why = f"reprocessed as {successor.scene_id}" if successor else None
    return {"state": "superseded" if successor else "current", "why": why, **_superseded(successor, now)}


def _superseded(successor: Successor | None, now: datetime) -> dict[str, str | None]:
    run_id, since = (successor.run_id, time_text(now)) if successor else (None, None)
    return {"superseded_by": run_id, "superseded_at": since}


def _insert_slicks(
    connection: sqlite3.Connection,
    result: Result,
    suggestions: dict[str, str],
    successor: Successor | None,
    now: datetime,
) -> None:
    """A slick reviewed under its id keeps the review; others begin unreviewed."""
    stamp = {"catalogued_at": time_text(now), **_superseded(successor, now)}
    rows = []
    for row, outline in zip(slick_rows(result.slicks), result.slicks.geometry, strict=True):
        review = last_review(connection, row["id"])
        suggestion = suggestions.get(row["id"]) if review["status"] == "unreviewed" else None
        rows.append(row | review | stamp | {"former_status": suggestion, "geom": to_blob(outline)})
    layer = "former_slicks" if successor else "slicks"
    insert(connection, layer, rows)
    extend(connection, layer, "run_id", result.record.run_id)


def _insert_scene(connection: sqlite3.Connection, result: Result, successor: Successor | None) -> None:
    """Among the current scenes, or among the former ones where a later processing came first."""
    outline = to_blob(result.scene.footprint if result.footprint is None else result.footprint)
    row = scene_row(result.scene, result.record, result.folder, successor.scene_id if successor else None)
    layer = "former_scenes" if successor else "scenes"
    for table in ("scenes", "former_scenes"):
        connection.execute(f"DELETE FROM {table} WHERE scene_id = ?", (result.scene.id,))
    insert(connection, layer, [row | {"geom": outline}])
    extend(connection, layer, "scene_id", result.scene.id)


def _published(
    connection: sqlite3.Connection, run_id: str, repeated: bool, superseded: Sequence[sqlite3.Row] = ()
) -> Published:
    (state,) = connection.execute("SELECT state FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    return Published(run_id, repeated, state == "current", tuple(str(other["run_id"]) for other in superseded))


@dataclass(frozen=True)
class Successor:
    """The later processing of a scene, and the last run on it."""

    scene_id: str
    run_id: str


def record_supersessions(connection: sqlite3.Connection, scene_id: str, supersedes: Iterable[str]) -> None:
    """Record which scenes a scene supersedes; the latest publication counts."""
    for other in supersedes:
        former = (scene_id, other)
        connection.execute("DELETE FROM supersessions WHERE scene_id = ? AND superseded_by = ?", former)
        connection.execute("INSERT OR REPLACE INTO supersessions (superseded_by, scene_id) VALUES (?, ?)", former)


def successor_of(connection: sqlite3.Connection, scene_id: str) -> Successor | None:
    """The later processing of a scene in the catalogue, if any."""
    query = """
        SELECT scene_id, run_id FROM runs
        WHERE scene_id = (SELECT superseded_by FROM supersessions WHERE scene_id = ?) ORDER BY fid DESC
    """
    run = connection.execute(query, (scene_id,)).fetchone()
    return None if run is None else Successor(*run)


def replaced_runs(connection: sqlite3.Connection, scene_id: str, supersedes: Iterable[str]) -> list[sqlite3.Row]:
    """The current runs of a scene and of the scenes that it supersedes."""
    scenes = (scene_id, *supersedes)
    holes = ", ".join("?" * len(scenes))
    return connection.execute(
        f"SELECT * FROM runs WHERE state = 'current' AND scene_id IN ({holes})", scenes
    ).fetchall()


def supersede(
    connection: sqlite3.Connection, runs: Sequence[sqlite3.Row], by: str, record: RunRecord, now: datetime
) -> None:
    """Move the slicks and scenes of `runs` to the former ones, superseded by run `by`, in favour of `record`."""
    columns = ", ".join(["geom", *names((*ATTRIBUTES, *SLICK_EXTRAS[:2]))])
    for run in runs:
        connection.execute(
            f"INSERT INTO former_slicks ({columns}, superseded_by, superseded_at) "
            f"SELECT {columns}, ?, ? FROM slicks WHERE run_id = ?",
            (by, time_text(now), run["run_id"]),
        )
        connection.execute("DELETE FROM slicks WHERE run_id = ?", (run["run_id"],))
        connection.execute(
            "UPDATE runs SET state = 'superseded', superseded_by = ?, superseded_at = ?, why = ? WHERE run_id = ?",
            (by, time_text(now), _reason(run, record), run["run_id"]),
        )
        if run["scene_id"] != record.scene_id:
            _supersede_scene(connection, run["scene_id"], record.scene_id)
        extend(connection, "former_slicks", "run_id", run["run_id"])
        mark_changed(connection, "slicks")


def _supersede_scene(connection: sqlite3.Connection, scene_id: str, by: str) -> None:
    columns = ", ".join(["geom", *names(SCENE_COLUMNS[:-1])])
    connection.execute("DELETE FROM former_scenes WHERE scene_id = ?", (scene_id,))
    connection.execute(
        f"INSERT INTO former_scenes ({columns}, superseded_by) SELECT {columns}, ? FROM scenes WHERE scene_id = ?",
        (by, scene_id),
    )
    connection.execute("DELETE FROM scenes WHERE scene_id = ?", (scene_id,))
    extend(connection, "former_scenes", "scene_id", scene_id)
    mark_changed(connection, "scenes")


def _reason(run: sqlite3.Row, record: RunRecord) -> str:
    if run["scene_id"] != record.scene_id:
        return f"reprocessed as {record.scene_id}"
    if model_key(run["weights_sha256"], run["model_id"]) != model_key(record.weights_sha256, record.model_id):
        return f"different model, {record.model_id}"
    return (
        "different options"
        if run["config_hash"] != record.config_hash
        else "different slicks from the same model and options"
    )


def model_key(weights_sha256: str | None, model_id: str) -> tuple[str, str]:
    """Identifies a model by its weights, or by its id where the hash is unknown."""
    return ("id", model_id) if weights_sha256 is None else ("weights", weights_sha256)
