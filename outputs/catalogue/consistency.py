"""Whether the catalogue agrees with itself and with the standings that the ledger gives its scenes."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from ingest.ledger.supersession import Standing
from outputs.catalogue.publication import unsettled


def disagreements(connection: sqlite3.Connection, standings: Mapping[str, Standing]) -> list[str]:
    """A line each: results that are current against the ledger, or the reverse, and rows that do not fit their run."""
    found = [
        f"{scene_id}: its result is {run['state']} in the catalogue, by the ledger it should be "
        + ("current" if successor is None else f"superseded ({successor.why})")
        for scene_id, (run, successor) in unsettled(connection, standings).items()
    ]
    counts = """
        SELECT run_id, scene_id, state, slick_count,
            (SELECT count(*) FROM slicks WHERE slicks.run_id = runs.run_id) AS current,
            (SELECT count(*) FROM former_slicks WHERE former_slicks.run_id = runs.run_id) AS former
        FROM runs WHERE iif(state = 'current', former OR current != slick_count, current OR former != slick_count)
    """
    found += [
        f"{row['scene_id']}: run {row['run_id']} is {row['state']} and found {row['slick_count']} slicks, but "
        f"{row['current']} are current and {row['former']} former"
        for row in connection.execute(counts)
    ]
    strays = """
        SELECT DISTINCT scene_id FROM slicks WHERE run_id NOT IN (SELECT run_id FROM runs)
        UNION SELECT scene_id FROM scenes WHERE run_id NOT IN (SELECT run_id FROM runs WHERE state = 'current')
        UNION SELECT scene_id FROM runs WHERE state = 'current' AND scene_id NOT IN (SELECT scene_id FROM scenes)
    """
    return found + [f"{scene_id}: its rows in the catalogue have no run" for (scene_id,) in connection.execute(strays)]
