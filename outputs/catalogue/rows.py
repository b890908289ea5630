"""Columns of the catalogue's layers, and their rows to and from tables in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

from ingest.scene import Scene
from outputs.attributes import ATTRIBUTES, Attribute, Kind, slick_table
from outputs.catalogue.blobs import outline_of
from outputs.record import RunRecord

# What the catalogue knows of a slick beyond its own attributes.
SLICK_EXTRAS: tuple[Attribute, ...] = (
    Attribute("former_status", "text", "", "Status of the slick of an earlier result that it overlaps; a suggestion"),
    Attribute("catalogued_at", "time", "UTC", "When the result was published in the catalogue"),
    Attribute("superseded_by", "text", "", "Run whose result was taken in its place"),
    Attribute("superseded_at", "time", "UTC", "When it was"),
)
SCENE_COLUMNS: tuple[Attribute, ...] = (
    Attribute("scene_id", "text", "", "Sentinel-1 product name without .SAFE"),
    Attribute("platform", "text", "", "Satellite, S1A and so on"),
    Attribute("mode", "text", "", "Acquisition mode: IW, EW or SM"),
    Attribute("product_type", "text", "", "GRD and so on"),
    Attribute("polarisations", "text", "", "Those of the product, joined by +"),
    Attribute("acquired_start", "time", "UTC", "First line of the scene"),
    Attribute("acquired_end", "time", "UTC", "Last line of the scene"),
    Attribute("absolute_orbit", "integer", "", "Absolute orbit"),
    Attribute("relative_orbit", "integer", "", "Relative orbit (track), 1..175"),
    Attribute("source", "text", "", "Where the product came from"),
    Attribute("published", "time", "UTC", "When its source published it"),
    Attribute("run_id", "text", "", "The last run on it"),
    Attribute("model_id", "text", "", "Model of that run"),
    Attribute("analysed_at", "time", "UTC", "When that run ended"),
    Attribute("slick_count", "integer", "", "Slicks that it found"),
    Attribute("result_folder", "text", "", "Where its layers are; from the catalogue's folder on, or absolute"),
    Attribute("superseded_by", "text", "", "Scene that was taken in its place"),
)
_DTYPES: dict[Kind, str] = {
    "text": "object",
    "integer": "Int64",
    "real": "float64",
    "flag": "boolean",
    "time": "datetime64[ms, UTC]",
}


def names(columns: Sequence[Attribute]) -> list[str]:
    """The columns' names, quoted for SQL."""
    return [f'"{column.name}"' for column in columns]


def empty_column(kind: Kind) -> pd.Series[Any]:
    """No value, of the type of a kind of attribute."""
    return pd.Series([], dtype=_DTYPES[kind])


def time_text(moment: datetime) -> str:
    """A time as the catalogue keeps it: UTC, milliseconds, ordered as text. Raises `ValueError` without a zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} names no time zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def time_of(text: str | None) -> datetime | None:
    """Undo `time_text`."""
    return None if text is None else datetime.fromisoformat(text)


def plain(value: Any) -> Any:
    """A value of a table in memory as SQLite takes it; null for what is not known."""
    if pd.isna(value):
        return None
    if isinstance(value, datetime):
        return time_text(value)
    return value.item() if isinstance(value, np.generic) else value


def slick_rows(slicks: gpd.GeoDataFrame) -> list[dict[str, Any]]:
    """The attributes of each slick; those that a table leaves out are null."""
    known = [attribute.name for attribute in ATTRIBUTES if attribute.name in slicks.columns]
    blank = dict.fromkeys((attribute.name for attribute in ATTRIBUTES), None)
    rows = slicks[known].itertuples(index=False, name=None)
    return [blank | {name: plain(value) for name, value in zip(known, row, strict=True)} for row in rows]


def slick_frame(rows: Sequence[Mapping[str, Any]], further: Sequence[Attribute] = ()) -> gpd.GeoDataFrame:
    """Rows of the layer as `outputs.attributes.slick_table` has them, with the catalogue's own columns behind."""
    own = [{attribute.name: _value(row, attribute) for attribute in ATTRIBUTES} for row in rows]
    frame = slick_table(own, [outline_of(row["geom"]) for row in rows])
    for attribute in (*SLICK_EXTRAS, *further):
        frame[attribute.name] = _column(rows, attribute)
    return frame


def scene_frame(rows: Sequence[Mapping[str, Any]]) -> gpd.GeoDataFrame:
    """Rows of the layer of scenes, in EPSG:4326; a scene without a known footprint has no geometry."""
    columns = {attribute.name: _column(rows, attribute) for attribute in SCENE_COLUMNS}
    outlines = gpd.GeoSeries([row["geom"] and outline_of(row["geom"]) for row in rows], crs="EPSG:4326")
    return gpd.GeoDataFrame(columns, geometry=outlines, crs="EPSG:4326")


def scene_row(scene: Scene, record: RunRecord, folder: str | None, superseded_by: str | None) -> dict[str, Any]:
    """A scene and its last run as a row of the layer."""
    return {
        "scene_id": scene.id,
        "platform": scene.platform,
        "mode": scene.mode,
        "product_type": scene.product_type,
        "polarisations": "+".join(scene.polarisations),
        "acquired_start": time_text(scene.acquired_start),
        "acquired_end": time_text(scene.acquired_end),
        "absolute_orbit": scene.absolute_orbit,
        "relative_orbit": scene.relative_orbit,
        "source": scene.source,
        "published": None if scene.published is None else time_text(scene.published),
        "run_id": record.run_id,
        "model_id": record.model_id,
        "analysed_at": time_text(record.ended_at),
        "slick_count": record.slick_count,
        "result_folder": folder,
        "superseded_by": superseded_by,
    }


def folder_text(folder: Path | None, catalogue: Path) -> str | None:
    """A folder as the catalogue keeps it: from its own folder on, so that both can be moved, or else absolute."""
    if folder is None:
        return None
    home, there = catalogue.resolve().parent, folder.resolve()
    return there.relative_to(home).as_posix() if there.is_relative_to(home) else str(there)


def folder_of(text: str | None, catalogue: Path) -> Path | None:
    """Undo `folder_text`."""
    return None if text is None else catalogue.resolve().parent / text


def _column(rows: Sequence[Mapping[str, Any]], attribute: Attribute) -> pd.Series[Any]:
    return pd.Series([_value(row, attribute) for row in rows], dtype=_DTYPES[attribute.kind])


def _value(row: Mapping[str, Any], attribute: Attribute) -> Any:
    value = row[attribute.name]
    if value is None:
        return None
    return time_of(value) if attribute.kind == "time" else bool(value) if attribute.kind == "flag" else value
