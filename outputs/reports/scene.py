"""The report of one scene: what was found, what was looked at and what not, and how far to trust it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import geopandas as gpd
import pandas as pd

from outputs.coverage import Coverage
from outputs.quicklook import NUMBERED
from outputs.record import RunRecord
from outputs.reports.clips import clips
from outputs.reports.document import (
    UNKNOWN,
    Block,
    Bullets,
    Document,
    Gallery,
    Heading,
    Paragraph,
    Picture,
    Table,
    facts,
)
from outputs.reports.markdown import section_blocks
from preprocess.pipeline import CalibratedScene

SHOWN = 100  # slicks with a clip; all are in the table
_CARD = ("Scores", "Know before use", "Limits")
_HEADERS = (
    "No.", "Class", "Area km²", "Length km", "Width km", "Confidence", "Level", "Contrast dB", "Latitude",
    "Longitude", "Coast km", "Ships",
)  # fmt: skip
# What follows from a flag; those left out say it themselves.
_MEANINGS = (
    (r"border noise", "low numbers along the edges of the image were left out"),
    (r"azimuth noise does not cover", "a gap at the end of the noise table, as is usual"),
    (r"thermal-noise table", "dark areas are brighter than in other scenes, and slicks have less contrast"),
    (r"removed by the processor", "nothing is wrong"),
    (r"scaled from the units", "the noise is known to about 1 dB, and slicks near the noise floor are less sure"),
    (r"used in its place|used as asked", "the model was trained on the other polarisation"),
    (r"rejected as look-alikes", "they are in candidates.geojson"),
)


def scene_report(
    calibrated: CalibratedScene,
    slicks: gpd.GeoDataFrame,
    candidates: gpd.GeoDataFrame,
    record: RunRecord,
    picture: Picture,
    card: str,
) -> Document:
    """The report of a scene.

    `slicks` and `candidates` are tables of `outputs.attributes`, `picture` is the quick look, whose numbers are those
    of the slicks; `card` is the model's card in Markdown, empty where there is none.
    """
    scene = calibrated.scene
    polarisations = ", ".join(str(name) for name in calibrated.sigma_nought.polarisation.values)
    return Document(
        title="Slicks in a Sentinel-1 scene",
        name=scene.id,
        subtitle=f"Acquired {_time(scene.acquired_start)} to {scene.acquired_end:%H:%M:%S} UTC by {scene.platform}, "
        f"mode {scene.mode}, polarisation {polarisations}"
        + ("" if scene.relative_orbit is None else f", relative orbit {scene.relative_orbit}"),
        verdict=_verdict(slicks, candidates, record.coverage),
        tone=_tone(slicks, record.coverage),
        made_at=record.ended_at,
        blocks=(
            picture,
            *_slicks(calibrated, slicks),
            *_looked_at(record),
            *_surroundings(slicks),
            *_model(record, card),
        ),
    )


def _tone(slicks: gpd.GeoDataFrame, coverage: Coverage | None) -> str:
    if not slicks.empty:
        return "found"
    return "unseen" if coverage is None or coverage.nothing_to_see else "clean"


def _verdict(slicks: gpd.GeoDataFrame, candidates: gpd.GeoDataFrame, coverage: Coverage | None) -> str:
    if slicks.empty and coverage is not None and coverage.nothing_to_see is not None:
        return (
            f"Could not be looked at: {coverage.nothing_to_see}. No slick could have shown here; "
            "this is not a clean scene."
        )
    sea = "" if coverage is None else f" in {coverage.sea_km2:,.0f} km² of sea"
    if not slicks.empty:
        return f"{found(slicks)}{sea}."
    if coverage is None:
        return "No slick found; how much sea was searched is not known."
    turned_down = len(candidates)
    rejected = (
        f" {turned_down} candidate{'s were' if turned_down > 1 else ' was'} rejected as look-alike"
        f"{'s' if turned_down > 1 else ''}."
        if turned_down
        else ""
    )
    return f"Clean: no slick{sea}.{rejected}"


def found(slicks: gpd.GeoDataFrame) -> str:
    """How many slicks of each class, and their area: "2 oil slicks, 3.1 km²"."""
    return "; ".join(
        f"{len(some)} {name} slick{'' if len(some) == 1 else 's'}, {some.area_m2.sum() / 1e6:,.3g} km²"
        for name, some in sorted(slicks.groupby("class"), key=lambda pair: str(pair[0]), reverse=True)
    )


def _slicks(calibrated: CalibratedScene, slicks: gpd.GeoDataFrame) -> Iterator[Block]:
    if slicks.empty:
        return
    yield Heading("Slicks")
    yield Paragraph("Numbered as on the map. Positions are centres of area, coast is the distance to land, ships are "
                    "those within 10 km.")  # fmt: skip
    if len(slicks) > NUMBERED:
        yield Paragraph(f"The map has the numbers of the {NUMBERED} largest slicks.")
    yield slick_table_of(slicks)
    yield Heading("Clips")
    if len(slicks) > SHOWN:
        yield Paragraph(f"The first {SHOWN} of {len(slicks)} slicks; the layers have all of them.")
    yield Gallery(tuple(clips(calibrated, slicks[:SHOWN])))


def slick_table_of(slicks: gpd.GeoDataFrame) -> Table:
    """A row a slick, numbered from 1 on."""
    rows = (_row(number, one) for number, one in enumerate(slicks.to_dict("records"), start=1))
    return Table(_HEADERS, tuple(rows))


def _row(number: int, one: dict[Any, Any]) -> tuple[str, ...]:
    return (
        str(number),
        str(one["class"]),
        figure(one["area_m2"], 2, 1e-6),
        figure(one["length_m"], 1, 1e-3),
        figure(one["width_m"], 1, 1e-3),
        figure(one["confidence_mean"], 2),
        UNKNOWN if pd.isna(one["confidence_level"]) else str(one["confidence_level"]),
        figure(one["contrast_db"], 1),
        figure(one["centroid_lat"], 4),
        figure(one["centroid_lon"], 4),
        figure(one["distance_to_coast_m"], 0, 1e-3),
        figure(one["ships_nearby"], 0),
    )


def figure(value: Any, decimals: int, factor: float = 1.0) -> str:
    """A number, or a dash where it is unknown."""
    return UNKNOWN if pd.isna(value) else f"{float(value) * factor:,.{decimals}f}".replace("-", "−")


def _looked_at(record: RunRecord) -> Iterator[Block]:
    yield Heading("What was looked at")
    if record.coverage is None:
        yield Paragraph("How much sea was searched was not measured in this run.")
    else:
        yield facts(coverage_facts(record.coverage))
    if record.flags:
        yield Paragraph("What to know before trusting the result:")
        yield Bullets(tuple(map(_flag, record.flags)))
    else:
        yield Paragraph("Nothing unusual was noticed in the product.")


def coverage_facts(coverage: Coverage) -> list[tuple[str, str]]:
    """What of a scene was searched and what not."""
    share = coverage.low_wind_share
    calm = (
        "not known: there is no sea, or no VV or HH"
        if share is None
        else f"{100 * share:.0f} % of the sea is too calm for slicks to show (wind below about 3 m/s)"
    )
    return [
        ("Sea searched", f"{coverage.sea_km2:,.0f} km²"),
        ("Land, not searched", f"{coverage.land_km2:,.0f} km²"),
        ("No data, not searched", f"{coverage.no_data_km2:,.0f} km²"),
        ("Low wind", calm),
    ]


def _flag(flag: str) -> str:
    sentence = flag[0].upper() + flag[1:]
    meaning = next((words for pattern, words in _MEANINGS if re.search(pattern, flag)), None)
    return f"{sentence}: {meaning}." if meaning else f"{sentence}."


def _surroundings(slicks: gpd.GeoDataFrame) -> Iterator[Block]:
    if slicks.empty:
        return
    yield Heading("Wind and sources")
    known = slicks[slicks.wind_speed_ms.notna() | slicks.sources.notna()]
    if known.empty:
        yield Paragraph("Wind and possible sources are not known.")
        return
    rows = []
    for number, one in enumerate(slicks.to_dict("records"), start=1):
        if pd.isna(one["wind_speed_ms"]):
            wind = "not known"
        else:
            wind = f"{figure(one['wind_speed_ms'], 1)} m/s from {figure(one['wind_direction_deg'], 0)}°"
        rows.append((
            f"Slick {number}",
            wind,
            "not known" if pd.isna(one["wind_source"]) else str(one["wind_source"]),
            "not known" if pd.isna(one["sources"]) else str(one["sources"]),
        ))  # fmt: skip
    yield Table(("Slick", "Wind", "Wind from", "Possible sources"), tuple(rows))


def _model(record: RunRecord, card: str) -> Iterator[Block]:
    yield Heading("Model and run")
    thresholds = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in record.thresholds.items())
    yield facts([
        ("Model", record.model_id),
        ("Weights, SHA-256", record.weights_sha256 or "not known"),
        ("Thresholds", thresholds.replace("minimum area m2", "minimum area (m²)")),
        ("Processed", _time(record.ended_at) + " UTC"),
        ("Software", f"Slickwatch {record.software_version or 'of unknown version'}"),
        ("Run", record.run_id),
    ])  # fmt: skip
    blocks = section_blocks(card, _CARD)
    yield Heading("How good the model is")
    if blocks:
        yield Paragraph("From the card of the model. The figures hold for images like those they were measured on.")
        yield from blocks
    else:
        yield Paragraph("The model has no card with figures of quality: treat its slicks as candidates for review.")


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
