"""Slicks of the catalogue as plain JSON values and as lines of text."""

from __future__ import annotations

from collections.abc import Mapping
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


def slick_line(record: Mapping[str, Any]) -> str:
    """Id, acquisition (UTC), status, class, confidence, area and place of a slick."""
    acquired = "?" if record["acquired_start"] is None else record["acquired_start"][:19].replace("T", " ") + "Z"
    area = "?" if record["area_m2"] is None else f"{record['area_m2'] / 1e6:.2f}"
    place = " ".join(f"{record[name]:9.4f}" for name in ("centroid_lat", "centroid_lon") if record[name] is not None)
    words = f"{record['status'] or '?':<10}  {record['class'] or '?':<10}  {record['confidence_level'] or '?':<6}"
    line = f"{record['id']}  {acquired}  {words}  {area:>8} km2  {place}"
    if record["superseded_by"] is not None:
        return f"{line}  superseded by {record['superseded_by']}"
    return line if record["former_status"] is None else f"{line}  once {record['former_status']}"


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
    known = {name: value for name, value in values.items() if value not in (None, [], {})}
    return "\n".join(f"{name:<22}  {_one_line(value)}" for name, value in known.items())


def _one_line(value: Any) -> str:
    return " ".join(str(value).split())
