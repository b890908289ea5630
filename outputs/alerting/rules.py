"""Which slicks, failures and silences are alerted. Plain functions, without state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from ingest.areas import Area
from outputs.alerting.options import AlertOptions
from outputs.alerting.records import Alert, Sighting, clock_text, identity, one_line

FailureOf = Literal["scene", "flow", "model", "other"]
FAILURES: dict[FailureOf, str] = {
    "scene": "Scene parked",
    "flow": "Flow failed",
    "model": "Model refused",
    "other": "Failure",
}


def detections(
    slicks: gpd.GeoDataFrame,
    watch: str,
    areas: Iterable[Area],
    options: AlertOptions,
    now: datetime,
    *,
    scene_id: str,
    model_id: str | None,
) -> list[Alert]:
    """An alert for each oil slick that overlaps one of the areas and is sure and large enough; largest first.

    `slicks` are rows of `outputs.attributes.ATTRIBUTES` in EPSG:4326; without areas, everywhere is watched. Touching
    the border from outside is not overlapping. What is not known (null) never holds an alert back; slicks that a
    reviewer has rejected do.
    """
    named = list(areas)
    overlaps = [_overlapping(slicks, area) for area in named]
    anywhere = np.any(overlaps, axis=0) if named else np.ones(len(slicks), dtype=bool)
    found = []
    for at in np.flatnonzero(anywhere & _worth_telling(slicks, options)):
        names = [area.name for area, overlap in zip(named, overlaps, strict=True) if overlap[at]]
        row = slicks.iloc[int(at)]
        found.append(_sighting(row, scene_id, model_id, ", ".join(names) or None, options))
    found.sort(key=lambda sighting: (-(sighting.area_km2 or 0.0), sighting.slick_id))
    return [_detection(sighting, watch, now) for sighting in found]


def failure(subject: str, reason: str, of: FailureOf, occurrence: str, now: datetime) -> Alert:
    """An alert that something failed; `occurrence` tells one failure from the next of the same subject and reason."""
    subject, reason = one_line(subject), one_line(reason, 2000)
    name = identity("failure", of, subject, reason, occurrence)
    return Alert(name, "failure", subject, now, f"{FAILURES[of]}: {subject}", reason)


@dataclass(frozen=True)
class Quiet:
    """How long something has been quiet: new scenes of a watch, or runs where `watch` is None."""

    watch: str | None
    last: datetime
    hours: float  # allowed
    ever: bool  # False where nothing has ever come, and `last` is when the waiting began

    def is_silence(self, now: datetime) -> bool:
        """Whether it has lasted for as long as it may."""
        return now - self.last >= timedelta(hours=self.hours)


def silence(quiet: Quiet, number: int, now: datetime) -> Alert:
    """Alert number `number` on one silence."""
    about, missing = _about(quiet)
    hours = (now - quiet.last).total_seconds() / 3600
    began = "the last was" if quiet.ever else "none has come since the watching began"
    reason = f"no {missing} for {hours:.0f} hours ({quiet.hours:g} are allowed); {began} {clock_text(quiet.last)}"
    name = identity("silence", about, quiet.last.astimezone(UTC).isoformat(), str(number))
    return Alert(
        name, "silence", about, now, f"Silence: no {missing} ({about}) for {hours:.0f} hours", reason, quiet.watch
    )


def all_clear(quiet: Quiet, since: datetime, now: datetime) -> Alert:
    """The alert that a silence, which began at `since`, has ended."""
    about, missing = _about(quiet)
    reason = f"a {missing} came {clock_text(quiet.last)}; before it there was none since {clock_text(since)}"
    name = identity("all-clear", about, since.astimezone(UTC).isoformat())
    return Alert(name, "all-clear", about, now, f"All clear: a {missing} again ({about})", reason, quiet.watch)


def _about(quiet: Quiet) -> tuple[str, str]:
    return ("monitoring", "run") if quiet.watch is None else (one_line(f"watch {quiet.watch}"), "new scene")


def _overlapping(slicks: gpd.GeoDataFrame, area: Area) -> NDArray[np.bool_]:
    shapely.prepare(area.geometry)
    outlines = np.asarray(slicks.geometry.values, dtype=object)
    overlap: NDArray[np.bool_] = shapely.intersects(area.geometry, outlines) & ~shapely.touches(area.geometry, outlines)
    return overlap


def _worth_telling(slicks: gpd.GeoDataFrame, options: AlertOptions) -> NDArray[np.bool_]:
    too_small = slicks["area_m2"].lt(options.minimum_area_km2 * 1e6)
    unsure = slicks["confidence_mean"].lt(options.minimum_confidence)
    no_oil = slicks["class"].fillna("oil").ne("oil") | slicks["status"].fillna("unreviewed").eq("rejected")
    return ~np.asarray(too_small | unsure | no_oil, dtype=bool)


def _sighting(row: Any, scene_id: str, model_id: str | None, area_name: str | None, options: AlertOptions) -> Sighting:
    slick_id = str(row["id"])
    return Sighting(
        slick_id=slick_id,
        scene_id=scene_id,
        model_id=model_id,
        acquired_start=_moment(row["acquired_start"]),
        acquired_end=_moment(row["acquired_end"]),
        longitude=_number(row["centroid_lon"], 1.0, 5),
        latitude=_number(row["centroid_lat"], 1.0, 5),
        area_name=area_name,
        area_km2=_number(row["area_m2"], 1e-6, 4),
        length_km=_number(row["length_m"], 1e-3, 3),
        confidence_mean=_number(row["confidence_mean"], 1.0, 3),
        confidence_level=None if pd.isna(row["confidence_level"]) else str(row["confidence_level"]),
        link=options.link(scene_id, slick_id),
    )


def _detection(sighting: Sighting, watch: str, now: datetime) -> Alert:
    name = identity("detection", watch, sighting.slick_id)
    where = sighting.area_name or watch
    size = "of unknown size" if sighting.area_km2 is None else f"of {sighting.area_km2:.1f} km2"
    return Alert(name, "detection", sighting.slick_id, now, f"Oil slick {size} in {where}", None, watch, sighting)


def _number(value: Any, scale: float, decimals: int) -> float | None:
    return None if pd.isna(value) else round(float(value) * scale, decimals)


def _moment(value: Any) -> datetime | None:
    if pd.isna(value):
        return None
    moment: datetime = pd.Timestamp(value).to_pydatetime(warn=False)
    return moment.astimezone(UTC)
