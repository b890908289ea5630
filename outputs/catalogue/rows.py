"""The columns of the layers, and conversion of rows to and from tables in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd

from ingest.scene import Scene
from outputs.attributes import ATTRIBUTES, SLICK_EXTRAS, Attribute, column, plain, slick_table, time_text
from outputs.catalogue.blobs import outline_of
from outputs.record import RunRecord, record_text

# What the layers of candidates have beyond the columns of slicks.
CANDIDATE_EXTRAS: tuple[Attribute, ...] = (
    Attribute("rejected_by", "text", "", "What rejected the candidate"),
    Attribute("oil_probability", "real", "", "Calibrated probability of oil"),
)
COVERAGE_COLUMNS: tuple[Attribute, ...] = (
    Attribute("sea_km2", "real", "km2", "Sea searched for slicks"),
    Attribute("land_km2", "real", "km2", "Land, by the land mask or the model"),
    Attribute("no_data_km2", "real", "km2", "Without data, land left out"),
    Attribute("low_wind_share", "real", "", "Share of the sea too calm for slicks to show"),
    Attribute("nothing_to_see", "text", "", "Why no slick could have been seen; null where one could"),
)
SCENE_COLUMNS: tuple[Attribute, ...] = (
    Attribute("scene_id", "text", "", "Sentinel-1 product name without .SAFE"),
    Attribute("platform", "text", "", "Satellite, such as S1A"),
    Attribute("mode", "text", "", "Acquisition mode: IW, EW or SM"),
    Attribute("product_type", "text", "", "Product type, such as GRD"),
    Attribute("polarisations", "text", "", "Polarisations of the product, joined by +"),
    Attribute("acquired_start", "time", "UTC", "First line of the scene"),
    Attribute("acquired_end", "time", "UTC", "Last line of the scene"),
    Attribute("absolute_orbit", "integer", "", "Absolute orbit"),
    Attribute("relative_orbit", "integer", "", "Relative orbit (track), 1..175"),
    Attribute("source", "text", "", "Source of the product"),
    Attribute("published", "time", "UTC", "Publication time at the source"),
    Attribute("run_id", "text", "", "Last run"),
    Attribute("model_id", "text", "", "Model of the last run"),
    Attribute("analysed_at", "time", "UTC", "End of the last run"),
    Attribute("slick_count", "integer", "", "Number of slicks found"),
    *COVERAGE_COLUMNS,
    Attribute("result_folder", "text", "", "Folder of its layers; relative to that of the catalogue, or absolute"),
    Attribute("superseded_by", "text", "", "Scene that replaced it"),
)

# Columns that have the names of their attributes in the records.
_OF_SCENE = (
    "platform", "mode", "product_type", "acquired_start", "acquired_end", "absolute_orbit", "relative_orbit", "source",
    "published",
)  # fmt: skip
_OF_RUN = (
    "run_id", "scene_id", "model_id", "weights_sha256", "config_hash", "software_version", "git_commit", "started_at",
    "ended_at", "peak_memory_bytes", "slick_count",
)  # fmt: skip


def names(columns: Sequence[Attribute]) -> list[str]:
    """The names of columns, quoted for SQL."""
    return [f'"{column.name}"' for column in columns]


def time_of(text: str | None) -> datetime | None:
    """The inverse of `time_text`."""
    return None if text is None else datetime.fromisoformat(text)


def slick_rows(slicks: gpd.GeoDataFrame, further: Sequence[Attribute] = ()) -> list[dict[str, Any]]:
    """The attributes of each slick, and `further` ones; columns missing from the table are null."""
    columns = [attribute.name for attribute in (*ATTRIBUTES, *further)]
    known, blank = [name for name in columns if name in slicks.columns], dict.fromkeys(columns)
    rows = slicks[known].itertuples(index=False, name=None)
    return [blank | {name: plain(value) for name, value in zip(known, row, strict=True)} for row in rows]


def slick_frame(rows: Sequence[Mapping[str, Any]], further: Sequence[Attribute] = ()) -> gpd.GeoDataFrame:
    """Rows of the layer as a table like `outputs.attributes.slick_table`, followed by the catalogue's own columns."""
    own = [{attribute.name: _value(row, attribute) for attribute in ATTRIBUTES} for row in rows]
    frame = slick_table(own, [outline_of(row["geom"]) for row in rows])
    for attribute in (*SLICK_EXTRAS, *further):
        frame[attribute.name] = _column(rows, attribute)
    return frame


def scene_frame(rows: Sequence[Mapping[str, Any]]) -> gpd.GeoDataFrame:
    """Rows of the layer of scenes as a table in EPSG:4326; without a known footprint the geometry is None."""
    columns = {attribute.name: _column(rows, attribute) for attribute in SCENE_COLUMNS}
    outlines = gpd.GeoSeries([row["geom"] and outline_of(row["geom"]) for row in rows], crs="EPSG:4326")
    return gpd.GeoDataFrame(columns, geometry=outlines, crs="EPSG:4326")


def scene_row(scene: Scene, record: RunRecord, folder: str | None, superseded_by: str | None) -> dict[str, Any]:
    """A scene and its last run as a row of the layer."""
    return {
        **{name: plain(getattr(scene, name)) for name in _OF_SCENE},
        "scene_id": scene.id,
        "polarisations": "+".join(scene.polarisations),
        "run_id": record.run_id,
        "model_id": record.model_id,
        "analysed_at": time_text(record.ended_at),
        "slick_count": record.slick_count,
        **coverage_values(record),
        "result_folder": folder,
        "superseded_by": superseded_by,
    }


def coverage_values(record: RunRecord) -> dict[str, Any]:
    """The columns that say how much of a scene was looked at; null where its run did not measure it."""
    known = {} if record.coverage is None else record.coverage.as_dict()
    return {column.name: known.get(column.name) for column in COVERAGE_COLUMNS}


def run_row(record: RunRecord, folder: str | None, catalogued_at: datetime) -> dict[str, Any]:
    """A run as a row of the table, without its state."""
    return {
        **{name: plain(getattr(record, name)) for name in _OF_RUN},
        "duration_s": (record.ended_at - record.started_at).total_seconds(),
        "flags": "; ".join(record.flags),
        "inputs": "; ".join(file.path for file in record.inputs),
        "result_folder": folder,
        "catalogued_at": time_text(catalogued_at),
        "record": record_text(record),
    }


def folder_text(folder: Path | None, catalogue: Path) -> str | None:
    """A folder as stored: relative to that of the catalogue if inside it, so that both can be moved; else absolute."""
    if folder is None:
        return None
    home, there = catalogue.resolve().parent, folder.resolve()
    return there.relative_to(home).as_posix() if there.is_relative_to(home) else str(there)


def folder_of(text: str | None, catalogue: Path) -> Path | None:
    """The inverse of `folder_text`."""
    return None if text is None else catalogue.resolve().parent / text


def _column(rows: Sequence[Mapping[str, Any]], attribute: Attribute) -> pd.Series[Any]:
    return column([_value(row, attribute) for row in rows], attribute.kind)


def _value(row: Mapping[str, Any], attribute: Attribute) -> Any:
    value = row[attribute.name]
    if value is None:
        return None
    return time_of(value) if attribute.kind == "time" else bool(value) if attribute.kind == "flag" else value
