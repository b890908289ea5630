"""One result into the catalogue, within one transaction: what is the same again, what it takes the place of."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import geopandas as gpd
import shapely
from shapely.geometry.base import BaseGeometry

from ingest.scene import Scene
from outputs.attributes import ATTRIBUTES
from outputs.catalogue.blobs import from_blob, to_blob
from outputs.catalogue.records import Published
from outputs.catalogue.rows import (
    SCENE_COLUMNS,
    SLICK_EXTRAS,
    names,
    scene_row,
    slick_rows,
    time_text,
)
from outputs.record import RunRecord, record_text

_REVIEWED = ("confirmed", "rejected")


@dataclass(frozen=True, eq=False)
class Result:
    """What a run has found, as it is offered to the catalogue."""

    record: RunRecord
    scene: Scene
    footprint: BaseGeometry | None
    slicks: gpd.GeoDataFrame
    folder: str | None
    supersedes: tuple[str, ...]  # scenes that this one is a later processing of

    def __post_init__(self) -> None:
        ids = self.slicks["id"]
        if self.record.scene_id != self.scene.id or not (self.slicks["scene_id"] == self.scene.id).all():
            raise ValueError(f"the record, the scene and the slicks are not of one scene, {self.scene.id}")
        if not (self.slicks["run_id"] == self.record.run_id).all():
            raise ValueError(f"not all slicks are of the run {self.record.run_id}")
        if self.record.slick_count != len(ids) or ids.isna().any() or ids.duplicated().any():
            raise ValueError(f"the run tells of {self.record.slick_count} slicks, there are {ids.nunique()} ids")
        if self.slicks.crs != "EPSG:4326":
            raise ValueError(f"the slicks are in {self.slicks.crs}, not in EPSG:4326")
        if self.scene.id in self.supersedes:
            raise ValueError(f"{self.scene.id} cannot supersede itself")


@dataclass(frozen=True)
class _Superseding:
    """A later processing of a scene, and the last run on it."""

    scene_id: str
    run_id: str


def publish(connection: sqlite3.Connection, result: Result, now: datetime) -> Published:
    """Write a result, or find that it is there; `connection` is in a transaction of the only writer."""
    run_id = result.record.run_id
    if connection.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone():
        return _published(connection, run_id, again=True)
    _remember(connection, result)
    superseding = _superseding(connection, result.scene.id)
    others = [] if superseding else _others(connection, result)
    same = _same_result(connection, result, superseding)
    if same is not None:
        others = [run for run in others if run["run_id"] != same["run_id"]]
        _note_repeated(connection, same, result)
        _set_aside(connection, others, same["run_id"], result, now)
        return _published(connection, same["run_id"], True, others)
    suggestions = _suggestions(connection, others, result.slicks)
    _set_aside(connection, others, run_id, result, now)
    _insert_run(connection, result, superseding, now)
    _insert_slicks(connection, result, suggestions, superseding, now)
    _put_scene(connection, result, superseding)
    return _published(connection, run_id, False, others)


def _remember(connection: sqlite3.Connection, result: Result) -> None:
    """What is told now of which processing goes before which wins over what was told earlier."""
    for scene_id in result.supersedes:
        former = (result.scene.id, scene_id)
        connection.execute("DELETE FROM supersessions WHERE scene_id = ? AND superseded_by = ?", former)
        connection.execute("INSERT OR REPLACE INTO supersessions (superseded_by, scene_id) VALUES (?, ?)", former)


def _same_result(
    connection: sqlite3.Connection, result: Result, superseding: _Superseding | None
) -> sqlite3.Row | None:
    """The scene's last run, if it stands as this one would, with the same model, options and slicks."""
    record, state = result.record, "superseded" if superseding else "current"
    run: sqlite3.Row | None = connection.execute(
        "SELECT * FROM runs WHERE scene_id = ? ORDER BY fid DESC", (record.scene_id,)
    ).fetchone()
    if run is None or (run["state"], run["config_hash"]) != (state, record.config_hash):
        return None
    if _model(run["weights_sha256"], run["model_id"]) != _model(record.weights_sha256, record.model_id):
        return None
    return run if set(_ids(connection, run)) == set(result.slicks["id"]) else None


def _model(weights_sha256: str | None, model_id: str) -> tuple[str, str]:
    return ("id", model_id) if weights_sha256 is None else ("weights", weights_sha256)


def _note_repeated(connection: sqlite3.Connection, run: sqlite3.Row, result: Result) -> None:
    """The files of the result are now those of the later run."""
    folder = result.folder or run["result_folder"]
    connection.execute("UPDATE runs SET result_folder = ? WHERE run_id = ?", (folder, run["run_id"]))
    if run["run_id"] != result.record.run_id:
        ended = time_text(result.record.ended_at)
        connection.execute(
            "UPDATE runs SET repeated_at = max(coalesce(repeated_at, ''), ?) WHERE run_id = ?", (ended, run["run_id"])
        )
    connection.execute("UPDATE scenes SET result_folder = ? WHERE run_id = ?", (folder, run["run_id"]))


def _superseding(connection: sqlite3.Connection, scene_id: str) -> _Superseding | None:
    """The later processing of the scene that the catalogue has, if any."""
    query = """
        SELECT scene_id, run_id FROM runs
        WHERE scene_id = (SELECT superseded_by FROM supersessions WHERE scene_id = ?) ORDER BY fid DESC
    """
    run = connection.execute(query, (scene_id,)).fetchone()
    return None if run is None else _Superseding(*run)


def _others(connection: sqlite3.Connection, result: Result) -> list[sqlite3.Row]:
    """The current runs that this result takes the place of: of its scene, and of the scenes that it supersedes."""
    scenes = (result.scene.id, *result.supersedes)
    holes = ", ".join("?" * len(scenes))
    return connection.execute(
        f"SELECT * FROM runs WHERE state = 'current' AND scene_id IN ({holes})", scenes
    ).fetchall()


def _suggestions(
    connection: sqlite3.Connection, runs: Sequence[sqlite3.Row], slicks: gpd.GeoDataFrame
) -> dict[str, str]:
    """By the id of a new slick, what was said of the former one that shares most area with it.

    Where nobody has reviewed that one, what was suggested for it stays the suggestion.
    """
    query = """SELECT geom, iif(status IN (?, ?), status, former_status) AS said
               FROM slicks WHERE run_id = ? AND said IS NOT NULL"""
    former = [row for run in runs for row in connection.execute(query, (*_REVIEWED, run["run_id"]))]
    if not former or slicks.empty:
        return {}
    outlines = [from_blob(row["geom"]) for row in former]
    new, old = shapely.STRtree(outlines).query(slicks.geometry.to_numpy(), predicate="intersects")
    shared = [shapely.intersection(slicks.geometry.iloc[i], outlines[j]).area for i, j in zip(new, old, strict=True)]
    ids, said = slicks["id"].to_numpy(), {}
    for area, i, j in sorted(zip(shared, new, old, strict=True)):
        if area > 0.0:
            said[str(ids[i])] = str(former[j]["said"])
    return said


def _set_aside(
    connection: sqlite3.Connection, runs: Sequence[sqlite3.Row], by: str, result: Result, now: datetime
) -> None:
    """Move what is no longer current to the former slicks and scenes."""
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
            (by, time_text(now), _why(run, result), run["run_id"]),
        )
        if run["scene_id"] != result.scene.id:
            _set_scene_aside(connection, run["scene_id"], result.scene.id)
        _widen(connection, "former_slicks", "run_id", run["run_id"])
        _tell_changed(connection, "slicks")


def _set_scene_aside(connection: sqlite3.Connection, scene_id: str, by: str) -> None:
    columns = ", ".join(["geom", *names(SCENE_COLUMNS[:-1])])
    connection.execute("DELETE FROM former_scenes WHERE scene_id = ?", (scene_id,))
    connection.execute(
        f"INSERT INTO former_scenes ({columns}, superseded_by) SELECT {columns}, ? FROM scenes WHERE scene_id = ?",
        (by, scene_id),
    )
    connection.execute("DELETE FROM scenes WHERE scene_id = ?", (scene_id,))
    _widen(connection, "former_scenes", "scene_id", scene_id)
    _tell_changed(connection, "scenes")


def _why(run: sqlite3.Row, result: Result) -> str:
    record = result.record
    if run["scene_id"] != record.scene_id:
        return f"processed anew as {record.scene_id}"
    if _model(run["weights_sha256"], run["model_id"]) != _model(record.weights_sha256, record.model_id):
        return f"another model, {record.model_id}"
    return "other options" if run["config_hash"] != record.config_hash else "other slicks by the same model and options"


def _insert_run(
    connection: sqlite3.Connection, result: Result, superseding: _Superseding | None, now: datetime
) -> None:
    record = result.record
    values = {
        "run_id": record.run_id,
        "scene_id": record.scene_id,
        "state": "superseded" if superseding else "current",
        "superseded_by": superseding.run_id if superseding else None,
        "superseded_at": time_text(now) if superseding else None,
        "why": f"processed anew as {superseding.scene_id}" if superseding else None,
        "model_id": record.model_id,
        "weights_sha256": record.weights_sha256,
        "config_hash": record.config_hash,
        "software_version": record.software_version,
        "git_commit": record.git_commit,
        "started_at": time_text(record.started_at),
        "ended_at": time_text(record.ended_at),
        "duration_s": (record.ended_at - record.started_at).total_seconds(),
        "peak_memory_bytes": record.peak_memory_bytes,
        "slick_count": record.slick_count,
        "flags": "; ".join(record.flags),
        "inputs": "; ".join(file.path for file in record.inputs),
        "result_folder": result.folder,
        "catalogued_at": time_text(now),
        "record": record_text(record),
    }
    _insert(connection, "runs", [values])


def _insert_slicks(
    connection: sqlite3.Connection,
    result: Result,
    suggestions: dict[str, str],
    superseding: _Superseding | None,
    now: datetime,
) -> None:
    """A slick that was reviewed under its id keeps the review; another one begins unreviewed."""
    stamp = {
        "catalogued_at": time_text(now),
        "superseded_by": superseding.run_id if superseding else None,
        "superseded_at": time_text(now) if superseding else None,
    }
    rows = []
    for row, outline in zip(slick_rows(result.slicks), result.slicks.geometry, strict=True):
        review = _last_review(connection, row["id"])
        suggestion = suggestions.get(row["id"]) if review["status"] == "unreviewed" else None
        rows.append(row | review | stamp | {"former_status": suggestion, "geom": to_blob(outline)})
    layer = "former_slicks" if superseding else "slicks"
    _insert(connection, layer, rows)
    _widen(connection, layer, "run_id", result.record.run_id)


def _last_review(connection: sqlite3.Connection, slick_id: str) -> dict[str, Any]:
    review = connection.execute(
        "SELECT status, reviewed_at, reviewer, notes FROM reviews WHERE slick_id = ? ORDER BY fid DESC", (slick_id,)
    ).fetchone()
    blank = {"status": "unreviewed", "reviewed_at": None, "reviewer": None, "notes": None}
    return blank if review is None else dict(review)


def _put_scene(connection: sqlite3.Connection, result: Result, superseding: _Superseding | None) -> None:
    """The scene among the current ones; or among the former ones, where a later processing came first."""
    outline = to_blob(result.scene.footprint if result.footprint is None else result.footprint)
    row = scene_row(result.scene, result.record, result.folder, superseding.scene_id if superseding else None)
    layer = "former_scenes" if superseding else "scenes"
    for table in ("scenes", "former_scenes"):
        connection.execute(f"DELETE FROM {table} WHERE scene_id = ?", (result.scene.id,))
    _insert(connection, layer, [row | {"geom": outline}])
    _widen(connection, layer, "scene_id", result.scene.id)


def _insert(connection: sqlite3.Connection, table: str, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        columns = ", ".join(f'"{name}"' for name in rows[0])
        holes = ", ".join("?" * len(rows[0]))
        connection.executemany(
            f"INSERT INTO {table} ({columns}) VALUES ({holes})", [tuple(row.values()) for row in rows]
        )


def _widen(connection: sqlite3.Connection, layer: str, column: str, value: str) -> None:
    """Tell programs that the layer reaches as far as these rows do; it is a hint, and never made smaller."""
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
    _tell_changed(connection, layer)


def _tell_changed(connection: sqlite3.Connection, layer: str) -> None:
    now = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
    connection.execute(f"UPDATE gpkg_contents SET last_change = {now} WHERE table_name = ?", (layer,))


def _published(
    connection: sqlite3.Connection, run_id: str, again: bool, superseded: Sequence[sqlite3.Row] = ()
) -> Published:
    run = connection.execute("SELECT * FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    earlier = """
        SELECT 1 FROM former_slicks AS former JOIN runs ON runs.run_id = former.run_id
        WHERE former.id = ? AND runs.fid < ?
    """
    ids = _ids(connection, run)
    new = [id for id in ids if connection.execute(earlier, (id, run["fid"])).fetchone() is None]
    others = tuple(str(other["run_id"]) for other in superseded)
    return Published(run_id, again, run["state"] == "current", tuple(ids), tuple(new), others)


def _ids(connection: sqlite3.Connection, run: sqlite3.Row) -> list[str]:
    layer = "slicks" if run["state"] == "current" else "former_slicks"
    query = f"SELECT id FROM {layer} WHERE run_id = ? ORDER BY fid"
    return [str(id) for (id,) in connection.execute(query, (run["run_id"],))]
