"""Supersession: which runs a result replaces, and what happens to their slicks and scenes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from outputs.attributes import ATTRIBUTES
from outputs.catalogue.layers import extend, mark_changed
from outputs.catalogue.rows import SCENE_COLUMNS, SLICK_EXTRAS, names, time_text
from outputs.record import RunRecord


@dataclass(frozen=True)
class Successor:
    """The later processing of a scene, and the last run on it."""

    scene_id: str
    run_id: str


def record_supersessions(connection: sqlite3.Connection, scene_id: str, supersedes: Iterable[str]) -> None:
    """Record which scenes a scene supersedes; the latest statement wins."""
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
