"""Slicks of the catalogue as plain JSON values and as text for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import geopandas as gpd

from outputs.attributes import plain, time_text
from outputs.catalogue.catalogue import Catalogue
from outputs.catalogue.records import Run
from outputs.coverage import finding


def slick_columns(slicks: gpd.GeoDataFrame) -> list[str]:
    """The names of all attributes."""
    return [name for name in slicks.columns if name != slicks.geometry.name]


def slick_records(slicks: gpd.GeoDataFrame) -> list[dict[str, Any]]:
    """All attributes and the bounds (`bbox`, degrees) of each slick; times in UTC with a Z, null where unknown."""
    columns, bounds = slick_columns(slicks), slicks.bounds.to_numpy().round(7).tolist()
    rows = slicks[columns].itertuples(index=False, name=None)
    return [
        dict(zip(columns, map(plain, row), strict=True)) | {"bbox": box} for row, box in zip(rows, bounds, strict=True)
    ]


_JSON = ("thresholds", "sources")  # attributes that hold JSON
SLICK_HEADERS = {
    "id": "id", "acquired": "acquired (UTC)", "status": "status", "class": "class", "confidence": "confidence",
    "level": "level", "area": "area km2", "latitude": "latitude", "longitude": "longitude", "note": "",
}  # fmt: skip


def slick_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a list for people shows of a slick, by the keys of `SLICK_HEADERS`; the note is on superseded ones."""
    note = ""
    if record["superseded_by"] is not None:
        note = f"superseded by {record['superseded_by']}"
    elif record["former_status"] is not None:
        note = f"once {record['former_status']}"
    return {
        "id": record["id"],
        "acquired": _time(record["acquired_start"]),
        "status": record["status"],
        "class": record["class"],
        "confidence": _rounded(record["confidence_mean"], 2),
        "level": record["confidence_level"],
        "area": _rounded(record["area_m2"], 2, 1e-6),
        "latitude": _rounded(record["centroid_lat"], 4),
        "longitude": _rounded(record["centroid_lon"], 4),
        "note": note,
    }


def scene_document(catalogue: Catalogue, scene_id: str) -> dict[str, Any] | None:
    """The last run on a scene and what it found, in words as `result`; None for a scene that the catalogue lacks."""
    runs = catalogue.runs(scene_id)
    if not runs:
        return None
    record = runs[0].record
    result = finding(record.slick_count, record.coverage)
    return {
        "scene": {
            "scene_id": scene_id,
            "result": result,
            "slick_count": record.slick_count,
            "model_id": record.model_id,
        },
        "run": {"run_id": record.run_id, **_run(runs[0])},
    }


def scene_text(document: Mapping[str, Any]) -> str:
    """A line for each known attribute of the scene and its run."""
    return _lines({**document["scene"], **document["run"]})


def slick_document(catalogue: Catalogue, slick_id: str) -> dict[str, Any]:
    """A slick, its outline, the run that detected it and its reviews. Raises `UsageError` for an unknown id."""
    slick = catalogue.slick(slick_id)
    (record,) = slick_records(slick)
    del record["bbox"]
    return {
        "slick": record,
        "geometry": slick.geometry.iloc[0].__geo_interface__,
        "run": _run(catalogue.run(record["run_id"])),
        "reviews": [{name: plain(value) for name, value in vars(one).items()} for one in catalogue.reviews(slick_id)],
    }


def slick_text(document: Mapping[str, Any]) -> str:
    """A line for each known attribute of the slick and its run, then for each review."""
    known = {name: value for name, value in document["slick"].items() if value is not None}
    run = {name: value for name, value in document["run"].items() if name not in known}
    lines = [_lines(known | run)]
    for review in document["reviews"]:
        words = _one_line(f"{review['status']}  {review['reviewer'] or '?'}  {review['notes'] or ''}")
        lines.append(f"{'review':<22}  {review['reviewed_at']}  {words}")
    return "\n".join(lines)


def _run(run: Run) -> dict[str, Any]:
    """A run as plain JSON, without what its slicks say as well."""
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
        **({} if record.coverage is None else record.coverage.as_dict()),
        "result_folder": None if run.result_folder is None else str(run.result_folder),
    }


def _lines(values: Mapping[str, Any]) -> str:
    known = {name: _words(name, value) for name, value in values.items() if value not in (None, [], {})}
    return "\n".join(f"{name:<22}  {text}" for name, text in known.items())


def _words(name: str, value: Any) -> str:
    """A value of a record as a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in _JSON:
        with suppress(ValueError):  # text that somebody entered
            value = json.loads(value)
    if isinstance(value, float):
        return str(round(value, 6))
    if isinstance(value, Mapping):
        unit = " s" if name == "durations_s" else ""
        return ", ".join(
            f"{key.replace('_', ' ')} {_words(key, one)}{unit}" for key, one in value.items() if one is not None
        )
    if isinstance(value, list):
        return "; ".join(_words(name, one) for one in value)
    return _one_line(value)


def _time(text: str | None) -> str | None:
    """A time as stored, in UTC to the second."""
    return None if text is None else text[:19].replace("T", " ")


def _rounded(value: float | None, decimals: int, factor: float = 1.0) -> float | None:
    return None if value is None else round(value * factor, decimals)


def _one_line(value: Any) -> str:
    return " ".join(str(value).split())
