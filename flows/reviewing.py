"""Look at the catalogue and review its slicks: what `slickwatch slicks list`, `show`, `review` and `export` do."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

from flows.scenes import time_of
from ingest.errors import UsageError
from outputs.catalogue import Catalogue, Review, Run, Selection
from outputs.catalogue.export import export
from outputs.catalogue.rows import time_text


@dataclass(frozen=True)
class Wanted:
    """Which slicks are asked for, as the command line gives it; what is None does not matter."""

    bbox: str | None = None  # west,south,east,north
    since: str | None = None  # as `flows.scenes.time_of` reads it
    until: str | None = None
    statuses: Sequence[str] = ()
    model: str | None = None
    superseded: bool = False  # those too
    limit: int | None = None


@dataclass(frozen=True, eq=False)
class Shown:
    """A slick with all that is known of it; `slick` has one row."""

    slick: gpd.GeoDataFrame
    run: Run
    reviews: list[Review]


def catalogue_path(given: Path | None) -> Path:
    """Where the catalogue is: as given, else by the settings. Raises `UsageError`."""
    if given is not None:
        return given
    from flows.settings import Settings

    return Settings.read().monitor.catalogue


def list_slicks(catalogue: Path | None, wanted: Wanted) -> gpd.GeoDataFrame:
    """The slicks asked for, the latest acquisition first.

    Raises `UsageError` where there is no catalogue or no such box, time or status, `StorageError`, `UnreadableInput`.
    """
    selection = Selection(
        bbox=None if wanted.bbox is None else bbox_of(wanted.bbox),
        since=None if wanted.since is None else time_of(wanted.since),
        until=None if wanted.until is None else time_of(wanted.until),
        status=[status.lower() for status in wanted.statuses],
        model=wanted.model,
        current=not wanted.superseded,
    )
    return _opened(catalogue).slicks(selection, limit=wanted.limit)


def show_slick(catalogue: Path | None, slick_id: str) -> Shown:
    """One slick, the run that found it, and all that was said of it. Raises as `list_slicks` does."""
    opened = _opened(catalogue)
    slick = opened.slick(slick_id)
    return Shown(slick, opened.run(str(slick.run_id.iloc[0])), opened.reviews(slick_id))


def review_slick(catalogue: Path | None, slick_id: str, status: str, reviewer: str, notes: str | None) -> Review:
    """Record a review. Raises as `Catalogue.review` does."""
    return _opened(catalogue).review(slick_id, status.lower(), reviewer, notes)


def export_slicks(catalogue: Path | None, wanted: Wanted, file: Path, suffix: str | None = None) -> int:
    """Write the slicks asked for to a file, as its suffix or `suffix` says; how many. Raises as `list_slicks` does."""
    if file.exists() and file.samefile(_opened(catalogue).path):
        raise UsageError(file, "is the catalogue itself", "name another file")
    slicks = list_slicks(catalogue, wanted)
    export(slicks, file, suffix)
    return len(slicks)


def bbox_of(text: str) -> tuple[float, float, float, float]:
    """Read ``west,south,east,north``. Raises `UsageError`."""
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError("--bbox", f"{text!r} is not four numbers", "give west,south,east,north in degrees") from None
    return west, south, east, north


def as_table(slicks: gpd.GeoDataFrame) -> str:
    """One line a slick for people: id, acquisition (UTC), status, class, confidence, area, place."""
    return "\n".join(_line(slick) for slick in rows(slicks))


def as_json(slicks: gpd.GeoDataFrame) -> str:
    """All attributes and the bounds of each; times in UTC with a Z, null for what is not known."""
    bounds = slicks.bounds.to_numpy().round(7).tolist()
    listed = [row | {"bbox": box} for row, box in zip(rows(slicks), bounds, strict=True)]
    return json.dumps([_plain(row) for row in listed], indent=2)


def as_csv(slicks: gpd.GeoDataFrame) -> str:
    """All attributes with a header; times in UTC with a Z, empty for what is not known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(name for name in slicks.columns if name != slicks.geometry.name)
    writer.writerows(_plain(row).values() for row in rows(slicks))
    return text.getvalue()


def shown_as_json(shown: Shown) -> str:
    """A slick as one GeoJSON-like object, its run and its reviews."""
    (row,) = rows(shown.slick)
    outline = shown.slick.geometry.iloc[0].__geo_interface__
    reviews = [_plain(vars(review)) for review in shown.reviews]
    document = {"slick": _plain(row), "geometry": outline, "run": _run(shown.run), "reviews": reviews}
    return json.dumps(document, indent=2)


def shown_as_text(shown: Shown) -> str:
    """One line an attribute that is known, then the run, then the reviews."""
    (row,) = rows(shown.slick)
    known = {name: value for name, value in _plain(row).items() if value is not None}
    run = {name: value for name, value in _run(shown.run).items() if value not in (None, [], {}) and name not in known}
    lines = [f"{name:<22}  {_one_line(value)}" for name, value in (known | run).items()]
    for review in shown.reviews:
        said = f"{review.status}  {review.reviewer or '?'}  {review.notes or ''}"
        lines.append(f"{'review':<22}  {time_text(review.reviewed_at)}  {_one_line(said)}")
    return "\n".join(lines)


def rows(slicks: gpd.GeoDataFrame) -> list[dict[str, Any]]:
    """The attributes of each slick, None for what is not known."""
    table = slicks.drop(columns=slicks.geometry.name)
    named = (dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False, name=None))
    return [{name: None if pd.isna(value) else value for name, value in row.items()} for row in named]


def _opened(catalogue: Path | None) -> Catalogue:
    return Catalogue.open(catalogue_path(catalogue), create=False)


def _run(run: Run) -> dict[str, Any]:
    """A run as JSON has it, without what its slick says as well."""
    record = run.record
    return {
        "state": run.state,
        "superseded_by": run.superseded_by,
        "why": run.why,
        "started_at": time_text(record.started_at),
        "ended_at": time_text(record.ended_at),
        "durations_s": dict(record.durations_s),
        "peak_memory_bytes": record.peak_memory_bytes,
        "git_commit": record.git_commit,
        "inputs": [vars(file) for file in record.inputs],
        "flags": list(record.flags),
        "result_folder": None if run.result_folder is None else str(run.result_folder),
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain_value(value) for name, value in values.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return time_text(value)
    return value.item() if isinstance(value, np.generic) else value


def _one_line(value: Any) -> str:
    return " ".join(str(value).split())


def _line(slick: Mapping[str, Any]) -> str:
    acquired = "?" if slick["acquired_start"] is None else f"{slick['acquired_start']:%Y-%m-%d %H:%M:%S}Z"
    area = "?" if slick["area_m2"] is None else f"{slick['area_m2'] / 1e6:.2f}"
    place = " ".join(f"{slick[name]:9.4f}" for name in ("centroid_lat", "centroid_lon") if slick[name] is not None)
    words = f"{slick['status'] or '?':<10}  {slick['class'] or '?':<10}  {slick['confidence_level'] or '?':<6}"
    return f"{slick['id']}  {acquired}  {words}  {area:>8} km2  {place}{_note(slick)}"


def _note(slick: Mapping[str, Any]) -> str:
    if slick["superseded_by"] is not None:
        return f"  superseded by {slick['superseded_by']}"
    return f"  once {slick['former_status']}" if slick["former_status"] is not None else ""
