"""Which slicks and failures are alerted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from ingest.areas import Area
from outputs.alerting.options import AlertOptions
from outputs.alerting.records import Alert, Detection, identity, one_line

FailureKind = Literal["scene", "blank", "flow", "model", "other"]
FAILURES: dict[FailureKind, str] = {
    "scene": "Scene failed",
    "blank": "Nothing to see",
    "flow": "Flow failed",
    "model": "Model rejected",
    "other": "Failure",
}


def detections(
    slicks: gpd.GeoDataFrame,
    watch: str | None,
    areas: Iterable[Area],
    options: AlertOptions,
    now: datetime,
    *,
    scene_id: str,
    model_id: str | None,
) -> list[Alert]:
    """An alert for each oil slick that overlaps an area and is large and certain enough; largest first.

    `slicks` are rows of `outputs.attributes.ATTRIBUTES` in EPSG:4326; `watch` is the one that found their scene, None
    if none did; without areas, the whole world is watched. A
    slick that only touches the border does not overlap. Unknown values (null) never suppress an alert; slicks that a
    reviewer has rejected are left out.
    """
    areas = list(areas)
    overlaps = [_overlapping(slicks, area) for area in areas]
    not_rejected = slicks["status"].fillna("unreviewed").ne("rejected").to_numpy()
    found = []
    for at in np.flatnonzero(_in_any(overlaps, slicks) & _exceeds_limits(slicks, options) & not_rejected):
        names = [area.name for area, overlap in zip(areas, overlaps, strict=True) if overlap[at]]
        row = slicks.iloc[int(at)]
        found.append(_detection(row, scene_id, model_id, ", ".join(names) or None, options))
    found.sort(key=lambda detection: (-(detection.area_km2 or 0.0), detection.slick_id))
    return [_alert(detection, watch, now) for detection in found]


def without_known(
    slicks: gpd.GeoDataFrame, former: gpd.GeoDataFrame, areas: Iterable[Area], options: AlertOptions
) -> gpd.GeoDataFrame:
    """Slicks that overlap none of the `former` ones that qualified for an alert.

    `former` are the slicks of the results that these replace: what overlaps is the same oil seen by another model or
    in a later processing, whatever a reviewer has said of it.
    """
    overlaps = [_overlapping(former, area) for area in areas]
    known = former[_in_any(overlaps, former) & _exceeds_limits(former, options)]
    return slicks if known.empty else slicks[~slicks.geometry.intersects(known.geometry.union_all())]


def failure(
    subject: str, reason: str, kind: FailureKind, occurrence: str, now: datetime, watch: str | None = None
) -> Alert:
    """An alert on a failure; `occurrence` distinguishes failures with the same subject and reason."""
    subject, reason = one_line(subject), one_line(reason, 2000)
    name = identity("failure", kind, subject, reason, occurrence)
    return Alert(name, "failure", subject, now, f"{FAILURES[kind]}: {subject}", reason, watch)


def _overlapping(slicks: gpd.GeoDataFrame, area: Area) -> NDArray[np.bool_]:
    shapely.prepare(area.geometry)
    outlines = np.asarray(slicks.geometry.values, dtype=object)
    overlap: NDArray[np.bool_] = shapely.intersects(area.geometry, outlines) & ~shapely.touches(area.geometry, outlines)
    return overlap


def _in_any(overlaps: list[NDArray[np.bool_]], slicks: gpd.GeoDataFrame) -> NDArray[np.bool_]:
    return np.any(overlaps, axis=0) if overlaps else np.ones(len(slicks), dtype=bool)


def _exceeds_limits(slicks: gpd.GeoDataFrame, options: AlertOptions) -> NDArray[np.bool_]:
    too_small = slicks["area_m2"].lt(options.minimum_area_km2 * 1e6)
    uncertain = slicks["confidence_mean"].lt(options.minimum_confidence)
    not_oil = slicks["class"].fillna("oil").ne("oil")
    return ~np.asarray(too_small | uncertain | not_oil, dtype=bool)


def _detection(
    row: Any, scene_id: str, model_id: str | None, area_name: str | None, options: AlertOptions
) -> Detection:
    slick_id = str(row["id"])
    return Detection(
        slick_id=slick_id,
        scene_id=scene_id,
        model_id=model_id,
        acquired_start=_time(row["acquired_start"]),
        acquired_end=_time(row["acquired_end"]),
        longitude=_number(row["centroid_lon"], 1.0, 5),
        latitude=_number(row["centroid_lat"], 1.0, 5),
        area_name=area_name,
        area_km2=_number(row["area_m2"], 1e-6, 4),
        length_km=_number(row["length_m"], 1e-3, 3),
        confidence_mean=_number(row["confidence_mean"], 1.0, 3),
        confidence_level=None if pd.isna(row["confidence_level"]) else str(row["confidence_level"]),
        link=options.link(scene_id, slick_id),
    )


def _alert(detection: Detection, watch: str | None, now: datetime) -> Alert:
    name = identity("detection", detection.slick_id)  # without the watch: another may find the scene later
    where = detection.area_name or watch or detection.scene_id
    size = "of unknown size" if detection.area_km2 is None else f"of {detection.area_km2:.1f} km2"
    return Alert(name, "detection", detection.slick_id, now, f"Oil slick {size} in {where}", None, watch, detection)


def _number(value: Any, scale: float, decimals: int) -> float | None:
    return None if pd.isna(value) else round(float(value) * scale, decimals)


def _time(value: Any) -> datetime | None:
    if pd.isna(value):
        return None
    time: datetime = pd.Timestamp(value).to_pydatetime(warn=False)
    return time.astimezone(UTC)
