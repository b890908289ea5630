"""Reviews of slicks: the journal, the current status, and statuses suggested for the slicks of a new result."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import geopandas as gpd
import shapely

from ingest.errors import UsageError
from outputs.attributes import time_text
from outputs.catalogue.blobs import from_blob
from outputs.catalogue.records import Review

_REVIEWED = ("confirmed", "rejected")


class OtherReview(UsageError):
    """Somebody else has reviewed the slick meanwhile."""


def record_review(
    connection: sqlite3.Connection,
    slick_id: str,
    status: str,
    reviewer: str,
    notes: str | None,
    now: datetime,
    expected: int | None = None,
) -> Review:
    """Set the status of a current slick; a trigger adds it to the journal.

    `expected` is how many reviews the journal has, where that matters. Raises `UsageError`, `OtherReview`.
    """
    if expected is not None and len(reviews_of(connection, slick_id)) != expected:
        raise OtherReview(slick_id, "has been reviewed meanwhile", "look at that review first")
    slick = find_slick(connection, slick_id)
    if slick["superseded_by"] is not None:
        if slick["superseded_by"] == "forgotten":
            raise UsageError(slick_id, "its scene is forgotten", f"run slickwatch scenes retry {slick['scene_id']}")
        problem = f"superseded by the result of run {slick['superseded_by']}"
        raise UsageError(slick_id, problem, "review the slicks of that run")
    connection.execute(
        "UPDATE slicks SET status = ?, reviewed_at = ?, reviewer = ?, notes = ? WHERE id = ?",
        (status, time_text(now), reviewer, notes, slick_id),
    )
    return reviews_of(connection, slick_id)[-1]


def find_slick(connection: sqlite3.Connection, slick_id: str) -> dict[str, Any]:
    """The current slick of this id, else the last superseded one. Raises `UsageError`."""
    for layer in ("slicks", "former_slicks"):
        row = connection.execute(f"SELECT * FROM {layer} WHERE id = ? ORDER BY fid DESC", (slick_id,)).fetchone()
        if row is not None:
            return dict(row)
    raise UsageError(slick_id, "no such slick in the catalogue", "see slickwatch slicks list")


def reviews_of(connection: sqlite3.Connection, slick_id: str) -> list[Review]:
    """All reviews of a slick, oldest first."""
    columns = "slick_id, run_id, status, reviewer, notes, reviewed_at"
    rows = connection.execute(f"SELECT {columns} FROM reviews WHERE slick_id = ? ORDER BY fid", (slick_id,))
    return [Review(**dict(row) | {"reviewed_at": datetime.fromisoformat(row["reviewed_at"])}) for row in rows]


def last_review(connection: sqlite3.Connection, slick_id: str) -> dict[str, Any]:
    """The last review of a slick, as columns; unreviewed where there is none."""
    review = connection.execute(
        "SELECT status, reviewed_at, reviewer, notes FROM reviews WHERE slick_id = ? ORDER BY fid DESC", (slick_id,)
    ).fetchone()
    blank = {"status": "unreviewed", "reviewed_at": None, "reviewer": None, "notes": None}
    return blank if review is None else dict(review)


def suggested_statuses(
    connection: sqlite3.Connection, runs: Sequence[sqlite3.Row], slicks: gpd.GeoDataFrame
) -> dict[str, str]:
    """By the id of a new slick, the status of the former slick of `runs` that shares most area with it.

    If that one was not reviewed, the status suggested for it is passed on.
    """
    query = """SELECT geom, iif(status IN (?, ?), status, former_status) AS suggestion
               FROM slicks WHERE run_id = ? AND suggestion IS NOT NULL"""
    former = [row for run in runs for row in connection.execute(query, (*_REVIEWED, run["run_id"]))]
    if not former or slicks.empty:
        return {}
    outlines = [from_blob(row["geom"]) for row in former]
    new, old = shapely.STRtree(outlines).query(slicks.geometry.to_numpy(), predicate="intersects")
    shared = [shapely.intersection(slicks.geometry.iloc[i], outlines[j]).area for i, j in zip(new, old, strict=True)]
    ids, suggested = slicks["id"].to_numpy(), {}
    for area, i, j in sorted(zip(shared, new, old, strict=True)):
        if area > 0.0:
            suggested[str(ids[i])] = str(former[j]["suggestion"])
    return suggested
