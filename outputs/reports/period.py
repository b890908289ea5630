"""The report of an area and a period: slicks by day and class, where they lay, and how often was looked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from outputs.reports.document import Block, Document, Heading, Paragraph, Table, facts
from outputs.reports.maps import Window, day_chart, heat_map, looks
from outputs.reports.scene import figure, found
from preprocess.geolocate import geodesic_area_perimeter

SHOWN = 200  # rows of a table; the CSV has all slicks
_HEADERS = (
    "Slick", "Acquired", "Class", "Area km²", "Length km", "Confidence", "Latitude", "Longitude", "Review",
)  # fmt: skip
_CLASSES = ("oil", "look-alike")


@dataclass(frozen=True, eq=False)
class Period:
    """What is known of an area in a period: tables of the catalogue, `slicks` and `scenes`, of current results."""

    name: str
    area: Polygon | MultiPolygon  # WGS 84
    since: datetime
    until: datetime
    slicks: gpd.GeoDataFrame  # also those that were rejected in a review
    scenes: gpd.GeoDataFrame

    @cached_property
    def counted(self) -> gpd.GeoDataFrame:
        """The slicks that no review rejected, the earliest first."""
        kept = self.slicks[self.slicks.status != "rejected"]
        return kept.sort_values(["acquired_start", "id"])

    @cached_property
    def looked_at(self) -> gpd.GeoDataFrame:
        """The scenes where slicks could have shown."""
        return self.scenes[self.scenes.nothing_to_see.isna()]

    @cached_property
    def window(self) -> Window:
        """The box of the area."""
        return Window.around(self.area)

    @cached_property
    def looks(self) -> NDArray[np.int64]:
        """How often each cell of the window was looked at."""
        return looks(self.window, [one for one in self.looked_at.geometry if one is not None])

    @cached_property
    def seen_share(self) -> float:
        """The share of the area that was looked at at least once, 0..1, to the cells of the window."""
        inside = self.window.inside(self.area)
        return float((self.looks[inside] > 0).mean()) if inside.any() else float(self.looks.any())

    def figures(self) -> dict[str, Any]:
        """The counts, as JSON values."""
        of_class = {name: self.counted[self.counted["class"] == name] for name in _CLASSES}
        return {
            "area": self.name,
            "from": self.since.isoformat(),
            "to": self.until.isoformat(),
            "scenes": len(self.scenes),
            "scenes_with_nothing_to_see": len(self.scenes) - len(self.looked_at),
            "share_of_area_looked_at": round(self.seen_share, 4),
            "slicks": {name: len(some) for name, some in of_class.items()},
            "slick_area_km2": {name: round(float(some.area_m2.sum()) / 1e6, 3) for name, some in of_class.items()},
            "confirmed": int((self.counted.status == "confirmed").sum()),
            "rejected": len(self.slicks) - len(self.counted),
        }


def period_report(period: Period, made_at: datetime, coastline: Path | None = None) -> Document:
    """The report of a period. Raises as `preprocess.coastline.land_polygons` does."""
    return Document(
        title="Slicks in an area",
        name=period.name,
        subtitle=f"Acquired from {period.since:%Y-%m-%d %H:%M} to {period.until:%Y-%m-%d %H:%M} UTC",
        verdict=_verdict(period),
        tone="unseen" if period.looked_at.empty else "clean" if period.counted.empty else "found",
        made_at=made_at,
        blocks=(
            *_results(period),
            heat_map(period.window, period.counted, period.looks, coastline),
            *_days(period),
            *_slicks(period),
            *_scenes(period),
        ),
    )


def _verdict(period: Period) -> str:
    if period.scenes.empty:
        return "Not looked at: no scene of this area was analysed in this period. Nothing is known of slicks."
    if period.looked_at.empty:
        return f"Could not be looked at: in {_scenes_text(len(period.scenes))} no slick could have shown."
    where = f" in {_scenes_text(len(period.looked_at))}, which saw {100 * period.seen_share:.0f} % of the area"
    return f"{found(period.counted)}{where}." if len(period.counted) else f"Clean: no slick{where}."


def _scenes_text(count: int) -> str:
    return f"{count} scene{'' if count == 1 else 's'}"


def _results(period: Period) -> Iterator[Block]:
    told = period.figures()
    area = abs(geodesic_area_perimeter(period.area)[0]) / 1e6
    blank = told["scenes_with_nothing_to_see"]
    yield facts([
        ("Area", f"{area:,.0f} km², land included"),
        *((f"Slicks: {name}", f"{told['slicks'][name]}, {told['slick_area_km2'][name]:,.2f} km²") for name in _CLASSES),
        ("Reviewed", f"{told['confirmed']} confirmed; {told['rejected']} rejected, which are left out here"),
        ("Scenes analysed", f"{told['scenes']}, of them {blank} with nothing to see" if blank else str(told["scenes"])),
        ("Looked at", f"{100 * period.seen_share:.0f} % of the area at least once{_often(period)}"),
    ])  # fmt: skip


def _often(period: Period) -> str:
    inside = period.looks[period.window.inside(period.area)]
    return f", {inside.mean():.1f} times on average, {inside.max()} at most" if inside.size and inside.any() else ""


def _days(period: Period) -> Iterator[Block]:
    yield Heading("By day")
    if period.scenes.empty:
        yield Paragraph("No scene on any day.")
        return
    scenes = Counter(moment.date() for moment in period.looked_at.acquired_start)
    by_class = {
        name: Counter(m.date() for m in period.counted[period.counted["class"] == name].acquired_start)
        for name in _CLASSES
    }
    days = _all_days(sorted({moment.date() for moment in period.scenes.acquired_start}))
    if len(days) > 1:
        yield day_chart(days, {k: [v[day] for day in days] for k, v in by_class.items()}, [scenes[d] for d in days])
    rows = []
    for day in days:
        some = period.counted[period.counted.acquired_start.dt.date == day]
        if scenes[day] or len(some):
            areas = [some[some["class"] == name].area_m2.sum() for name in _CLASSES]
            pairs = zip(_CLASSES, areas, strict=True)
            cells = [cell for name, area in pairs for cell in (str(by_class[name][day]), figure(area, 2, 1e-6))]
            rows.append((f"{day:%Y-%m-%d}", str(scenes[day]), *cells))
    if rows:
        yield Table(("Day", "Scenes", "Oil", "Oil km²", "Look-alikes", "Look-alikes km²"), tuple(rows[:SHOWN]))


def _all_days(days: list[date]) -> list[date]:
    """From the first to the last."""
    return [days[0] + timedelta(days=n) for n in range((days[-1] - days[0]).days + 1)]


def _slicks(period: Period) -> Iterator[Block]:
    slicks = period.counted
    if slicks.empty:
        return
    yield Heading("Slicks")
    if len(slicks) > SHOWN:
        yield Paragraph(f"The {SHOWN} largest of {len(slicks)}; slicks.csv has all of them.")
        slicks = slicks.loc[slicks.area_m2.nlargest(SHOWN).sort_index().index]
    rows = [
        (
            str(one["id"]), f"{one['acquired_start']:%Y-%m-%d %H:%M}", str(one["class"]),
            figure(one["area_m2"], 2, 1e-6), figure(one["length_m"], 1, 1e-3), figure(one["confidence_mean"], 2),
            figure(one["centroid_lat"], 4), figure(one["centroid_lon"], 4), str(one["status"]),
        )
        for one in slicks.to_dict("records")
    ]  # fmt: skip
    headers = (
        "Slick",
        "Acquired",
        "Class",
        "Area km²",
        "Length km",
        "Confidence",
        "Latitude",
        "Longitude",
        "Review",
    )
    yield Table(headers, tuple(rows))


def _scenes(period: Period) -> Iterator[Block]:
    yield Heading("What was looked at")
    if period.scenes.empty:
        yield Paragraph("Nothing.")
        return
    scenes = period.scenes.sort_values("acquired_start")
    if len(scenes) > SHOWN:
        yield Paragraph(f"The last {SHOWN} of {len(scenes)} scenes.")
    rows = [
        (
            str(one["scene_id"]), f"{one['acquired_start']:%Y-%m-%d %H:%M}", figure(one["sea_km2"], 0),
            figure(one["low_wind_share"], 0, 100), str(one["slick_count"]),
            "" if pd.isna(one["nothing_to_see"]) else f"nothing to see: {one['nothing_to_see']}",
        )
        for one in scenes[-SHOWN:].to_dict("records")
    ]  # fmt: skip
    yield Paragraph("Sea and slicks are those of the whole scene, also outside the area.")
    yield Table(("Scene", "Acquired", "Sea km²", "Calm %", "Slicks", "Remark"), tuple(rows))
