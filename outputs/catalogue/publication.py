"""Publication of one result within one transaction, and which results are current, as the ledger decides"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import geopandas as gpd
from shapely.geometry.base import BaseGeometry

from ingest.ledger.supersession import Standing
from ingest.scene import Scene
from outputs.attributes import ATTRIBUTES, SLICK_EXTRAS, time_text
from outputs.catalogue.blobs import to_blob
from outputs.catalogue.database import extend, insert, mark_changed
from outputs.catalogue.records import Published
from outputs.catalogue.reviews import last_review, suggested_statuses
from outputs.catalogue.rows import (
    CANDIDATE_EXTRAS,
    SCENE_COLUMNS,
    coverage_values,
    names,
    run_row,
    scene_row,
    slick_rows,
)
from outputs.record import RunRecord

FORGOTTEN = "forgotten"
# The layers whose rows belong to runs, each with its former one, and their columns that stay when a run is superseded.
_LAYERS = {
    "slicks": (*ATTRIBUTES, *SLICK_EXTRAS[:2]),
    "candidates": (*ATTRIBUTES, *SLICK_EXTRAS[:2], *CANDIDATE_EXTRAS),
}


@dataclass(frozen=True, eq=False)
class Result:
    """The result of a run. Raises `ValueError` where its parts do not belong together."""

    record: RunRecord
    scene: Scene
    footprint: BaseGeometry | None
    slicks: gpd.GeoDataFrame
    folder: str | None
    candidates: gpd.GeoDataFrame = field(default_factory=gpd.GeoDataFrame)  # rejected ones

    @property
    def has_candidates(self) -> bool:
        """Whether there are rejected ones; the table may else lack its columns."""
        return len(self.candidates) > 0

    def __post_init__(self) -> None:
        ids = self.slicks["id"]
        if self.record.scene_id != self.scene.id or not (self.slicks["scene_id"] == self.scene.id).all():
            raise ValueError(f"the record, scene and slicks are not of one scene, {self.scene.id}")
        if not (self.slicks["run_id"] == self.record.run_id).all():
            raise ValueError(f"not all slicks are of run {self.record.run_id}")
        if self.record.slick_count != len(ids) or ids.isna().any() or ids.duplicated().any():
            raise ValueError(f"the run has {self.record.slick_count} slicks, but there are {ids.nunique()} ids")
        if self.has_candidates and not (self.candidates["scene_id"] == self.scene.id).all():
            raise ValueError(f"not all candidates are of scene {self.scene.id}")
        if self.slicks.crs != "EPSG:4326":
            raise ValueError(f"the slicks are in {self.slicks.crs}, not in EPSG:4326")


def publish(
    connection: sqlite3.Connection, result: Result, standings: Mapping[str, Standing], now: datetime
) -> Published:
    """Write a result, unless the same is published already; `connection` is in a write transaction."""
    run_id, scene_id = result.record.run_id, result.scene.id
    settle(connection, standings, now)
    if connection.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone():
        return _published(connection, run_id, repeated=True)
    successor = successor_of(connection, standings.get(scene_id))
    supersedes = [other for other, standing in standings.items() if standing.by == scene_id]
    replaced = [] if successor else replaced_runs(connection, (scene_id, *supersedes))
    same = _same_result(connection, result, successor)
    if same is not None:
        replaced = [run for run in replaced if run["run_id"] != same["run_id"]]
        _record_repetition(connection, same, result)
        if not _has_candidates(connection, same["run_id"]):  # published before the catalogue kept them
            _insert_candidates(connection, result, same["run_id"], successor, now)
        replace_runs(connection, replaced, same["run_id"], result.record, now)
        return _published(connection, same["run_id"], True, replaced)
    suggestions = suggested_statuses(connection, replaced, result.slicks)
    replace_runs(connection, replaced, run_id, result.record, now)
    insert(connection, "runs", [run_row(result.record, result.folder, now) | _state(successor, now)])
    _insert_slicks(connection, result, suggestions, successor, now)
    _insert_candidates(connection, result, run_id, successor, now)
    _insert_scene(connection, result, successor)
    return _published(connection, run_id, False, replaced)


def _same_result(connection: sqlite3.Connection, result: Result, successor: Successor | None) -> sqlite3.Row | None:
    """The scene's last run, if it has the same state, model, options and slicks as this one."""
    record, state = result.record, "superseded" if successor else "current"
    run = last_run(connection, record.scene_id)
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
    why = successor.why if successor else None
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


def _has_candidates(connection: sqlite3.Connection, run_id: str) -> bool:
    query = "SELECT 1 FROM candidates WHERE run_id = :run UNION ALL SELECT 1 FROM former_candidates WHERE run_id = :run"
    return connection.execute(query, {"run": run_id}).fetchone() is not None


def _insert_candidates(
    connection: sqlite3.Connection, result: Result, run_id: str, successor: Successor | None, now: datetime
) -> None:
    if not result.has_candidates:
        return
    stamp = {"run_id": run_id, "catalogued_at": time_text(now), **_superseded(successor, now)}
    rows = slick_rows(result.candidates, CANDIDATE_EXTRAS)
    outlines = (to_blob(outline) for outline in result.candidates.geometry)
    layer = "former_candidates" if successor else "candidates"
    insert(connection, layer, [row | stamp | {"geom": blob} for row, blob in zip(rows, outlines, strict=True)])
    extend(connection, layer, "run_id", run_id)


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
    """Why a scene's results are not current: another scene is used, by its last run; or `FORGOTTEN` for both."""

    scene_id: str
    run_id: str

    @property
    def why(self) -> str:
        return FORGOTTEN if self.run_id == FORGOTTEN else f"reprocessed as {self.scene_id}"


def successor_of(connection: sqlite3.Connection, standing: Standing | None) -> Successor | None:
    """What a scene of this standing yields to; None as long as the scene used instead has no result."""
    if standing is None or (standing.by is None and standing.kind != FORGOTTEN):
        return None
    if standing.by is None:
        return Successor(FORGOTTEN, FORGOTTEN)
    run = last_run(connection, standing.by)
    return None if run is None else Successor(standing.by, run["run_id"])


def settle(connection: sqlite3.Connection, standings: Mapping[str, Standing], now: datetime) -> list[str]:
    """Make the last results of scenes current, or not, as their standings say; returns the scenes that changed.

    Scenes without a standing stay as they are.
    """
    changed = unsettled(connection, standings)
    for run, successor in changed.values():
        if successor is None:
            _restore(connection, run)
        else:
            _withdraw(connection, run, successor, successor.why, now)
    return list(changed)


def unsettled(
    connection: sqlite3.Connection, standings: Mapping[str, Standing]
) -> dict[str, tuple[sqlite3.Row, Successor | None]]:
    """The scenes whose results are current though they should not be, or the reverse: last run, what it yields to."""
    found = {}
    for scene_id, standing in standings.items():
        run = last_run(connection, scene_id)
        if run is not None:
            successor = successor_of(connection, standing)
            if (run["state"] == "current") is not (successor is None):
                found[scene_id] = run, successor
    return found


def last_run(connection: sqlite3.Connection, scene_id: str) -> sqlite3.Row | None:
    """The last published run of a scene; any earlier one is superseded."""
    run: sqlite3.Row | None = connection.execute(
        "SELECT * FROM runs WHERE scene_id = ? ORDER BY fid DESC", (scene_id,)
    ).fetchone()
    return run


def replaced_runs(connection: sqlite3.Connection, scenes: Sequence[str]) -> list[sqlite3.Row]:
    """The current runs of scenes."""
    holes = ", ".join("?" * len(scenes))
    return connection.execute(
        f"SELECT * FROM runs WHERE state = 'current' AND scene_id IN ({holes})", scenes
    ).fetchall()


def replace_runs(
    connection: sqlite3.Connection, runs: Sequence[sqlite3.Row], by: str, record: RunRecord, now: datetime
) -> None:
    """Withdraw `runs` in favour of `record`, catalogued as run `by`."""
    for run in runs:
        _withdraw(connection, run, Successor(record.scene_id, by), _reason(run, record), now)


def _withdraw(connection: sqlite3.Connection, run: sqlite3.Row, successor: Successor, why: str, now: datetime) -> None:
    """Move the slicks and candidates of a run, and its scene if another succeeds it, to the former ones."""
    for layer, kept in _LAYERS.items():
        columns = ", ".join(["geom", *names(kept)])
        connection.execute(
            f"INSERT INTO former_{layer} ({columns}, superseded_by, superseded_at) "
            f"SELECT {columns}, ?, ? FROM {layer} WHERE run_id = ?",
            (successor.run_id, time_text(now), run["run_id"]),
        )
        connection.execute(f"DELETE FROM {layer} WHERE run_id = ?", (run["run_id"],))
        extend(connection, f"former_{layer}", "run_id", run["run_id"])
        mark_changed(connection, layer)
    connection.execute(
        "UPDATE runs SET state = 'superseded', superseded_by = ?, superseded_at = ?, why = ? WHERE run_id = ?",
        (successor.run_id, time_text(now), why, run["run_id"]),
    )
    if run["scene_id"] != successor.scene_id:
        _move_scene(connection, "scenes", "former_scenes", run["scene_id"], successor.scene_id)


def _restore(connection: sqlite3.Connection, run: sqlite3.Row) -> None:
    """The reverse: make a scene's last run current, with the reviews that its slicks have by now."""
    for layer in _LAYERS:
        query = f"SELECT * FROM former_{layer} WHERE run_id = ?"
        rows = [dict(row) for row in connection.execute(query, (run["run_id"],))]
        for row in rows:
            row |= {"superseded_by": None, "superseded_at": None}
            row |= last_review(connection, row["id"]) if layer == "slicks" else {}
            del row["fid"]
        connection.execute(f"DELETE FROM former_{layer} WHERE run_id = ?", (run["run_id"],))
        insert(connection, layer, rows)
        extend(connection, layer, "run_id", run["run_id"])
        mark_changed(connection, f"former_{layer}")
    connection.execute(
        "UPDATE runs SET state = 'current', superseded_by = NULL, superseded_at = NULL, why = NULL WHERE run_id = ?",
        (run["run_id"],),
    )
    _move_scene(connection, "former_scenes", "scenes", run["scene_id"], None)


def _move_scene(connection: sqlite3.Connection, source: str, target: str, scene_id: str, by: str | None) -> None:
    columns = ", ".join(["geom", *names(SCENE_COLUMNS[:-1])])
    connection.execute(f"DELETE FROM {target} WHERE scene_id = ?", (scene_id,))
    connection.execute(
        f"INSERT INTO {target} ({columns}, superseded_by) SELECT {columns}, ? FROM {source} WHERE scene_id = ?",
        (by, scene_id),
    )
    connection.execute(f"DELETE FROM {source} WHERE scene_id = ?", (scene_id,))
    extend(connection, target, "scene_id", scene_id)
    mark_changed(connection, source)


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
