"""The attributes of a slick, and the table that holds them.

Units are SI, times UTC, probabilities 0..1. An unknown attribute is null in every format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import geopandas as gpd
import numpy as np
import pandas as pd
from shapely.geometry import MultiPolygon

SCHEMA_VERSION = "1.1.0"
_LATER = "not computed yet, always null"

Kind = Literal["text", "integer", "real", "flag", "time"]

_DTYPES: dict[Kind, str] = {
    "text": "object",
    "integer": "Int64",
    "real": "float64",
    "flag": "boolean",
    "time": "datetime64[ms, UTC]",
}


_SYMBOLS = {"m2": "m²", "km2": "km²", "deg": "°", "m s-1": "m/s"}
_SPELLINGS = {
    "id": "ID", "vv": "VV", "lon": "longitude", "lat": "latitude", "sha256": "SHA-256", "polsby": "Polsby-Popper",
    "popper": "ratio", "sigma0": "sigma nought", "lookalike": "look-alike", "config": "configuration",
}  # fmt: skip


@dataclass(frozen=True)
class Attribute:
    """One column of the slick table; `unit` is empty for text, counts and ratios."""

    name: str
    kind: Kind
    unit: str
    description: str

    @property
    def title(self) -> str:
        """Its name as a person reads it, with its unit: "Distance to coast (m)"."""
        suffix = "_" + self.unit.replace(" ", "").replace("-1", "").lower() if self.unit else ""
        words = " ".join(_SPELLINGS.get(word, word) for word in self.name.removesuffix(suffix).split("_"))
        return words[0].upper() + words[1:] + (f" ({_SYMBOLS.get(self.unit, self.unit)})" if self.unit else "")

    @property
    def sentence(self) -> str:
        """Its description with its unit: "Distance from the outline to the nearest land (m)"."""
        return self.description + (f" ({_SYMBOLS.get(self.unit, self.unit)})" if self.unit else "")


ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("id", "text", "", "Identifier of the slick, the same for the same scene, model and outline"),
    Attribute("scene_id", "text", "", "Sentinel-1 product name without .SAFE"),
    Attribute("platform", "text", "", "Satellite, S1A and so on"),
    Attribute("mode", "text", "", "Acquisition mode: IW, EW or SM"),
    Attribute("polarisation", "text", "", "Analysed polarisations, joined by +"),
    Attribute("relative_orbit", "integer", "", "Relative orbit (track), 1..175"),
    Attribute("acquired_start", "time", "UTC", "Acquisition time of the first line"),
    Attribute("acquired_end", "time", "UTC", "Acquisition time of the last line"),
    Attribute("processed_at", "time", "UTC", "When the slick was found"),
    Attribute("latency_s", "real", "s", "Time from acquired_end to processed_at"),
    Attribute("part_count", "integer", "", "Number of separate patches, before any split at the antimeridian"),
    Attribute("area_m2", "real", "m2", "Geodesic area of its cells, without holes"),
    Attribute("perimeter_m", "real", "m", "Geodesic length of the edges of its cells, including holes"),
    Attribute("length_m", "real", "m", "Long side of the smallest rectangle around the slick"),
    Attribute("width_m", "real", "m", "Short side of that rectangle"),
    Attribute("orientation_deg", "real", "deg", "Bearing of the long side, clockwise from north, 0..180"),
    Attribute("centroid_lon", "real", "deg", "Longitude of the centre of area; may lie outside the slick"),
    Attribute("centroid_lat", "real", "deg", "Latitude of the centre of area"),
    Attribute("polsby_popper", "real", "", "4 pi area / perimeter^2: 1 for a disc, near 0 for a thread"),
    Attribute("fill_factor", "real", "", "Area divided by the area of that rectangle"),
    Attribute("aspect_ratio", "real", "", "length_m divided by width_m"),
    Attribute("distance_to_coast_m", "real", "m", "Distance from the outline to the nearest land; null beyond 400 km"),
    Attribute("edge_touching", "flag", "", "True where the swath, the land mask or missing data cut the slick"),
    Attribute("class", "text", "", "oil or look-alike"),
    Attribute(
        "confidence_mean",
        "real",
        "",
        "Calibrated probability of oil by the object stage; without one, mean over the cells",
    ),
    Attribute("confidence_median", "real", "", "As confidence_mean; without an object stage, median over the cells"),
    Attribute("confidence_max", "real", "", "As confidence_mean; without an object stage, maximum over the cells"),
    Attribute("confidence_level", "text", "", "High, Medium or Low, from confidence_mean"),
    Attribute(
        "lookalike_probability",
        "real",
        "",
        "1 - confidence by the object stage; without one, mean of the class over the cells",
    ),
    Attribute("sigma0_vv_db", "real", "dB", "Mean VV sigma nought of the slick, averaged in power"),
    Attribute(
        "contrast_db", "real", "dB", "Slick relative to the sea around it, in VV or else HH; negative where darker"
    ),
    Attribute("incidence_angle_deg", "real", "deg", "Incidence angle at the centroid"),
    Attribute(
        "noise_floor_margin_db", "real", "dB", "Mean sigma nought of the slick above the noise floor, in VV or else HH"
    ),
    Attribute("wind_speed_ms", "real", "m s-1", f"Wind speed at 10 m; {_LATER}"),
    Attribute("wind_direction_deg", "real", "deg", f"Direction the wind blows from, clockwise from north; {_LATER}"),
    Attribute("wind_source", "text", "", f"Source of the wind data; {_LATER}"),
    Attribute("ships_nearby", "integer", "", "Ships that the model sees within 10 km of the outline"),
    Attribute(
        "nearest_ship_m", "real", "m", "Distance from the outline to the nearest such ship in the scene, however far"
    ),
    Attribute("sources", "text", "", f"Candidate sources with scores, JSON; {_LATER}"),
    Attribute("status", "text", "", "unreviewed, confirmed or rejected"),
    Attribute("reviewed_at", "time", "UTC", "When an analyst reviewed the slick"),
    Attribute("reviewer", "text", "", "Analyst who reviewed it"),
    Attribute("notes", "text", "", "Notes of the reviewer"),
    Attribute("model_id", "text", "", "Model that found the slick"),
    Attribute("weights_sha256", "text", "", "SHA-256 of the model's weights"),
    Attribute("config_hash", "text", "", "Hash of all options of the run"),
    Attribute("software_version", "text", "", "Version of Slickwatch"),
    Attribute("run_id", "text", "", "Run that found the slick; see run.json"),
    Attribute("thresholds", "text", "", "Probability thresholds and minimum area, JSON"),
    Attribute("schema_version", "text", "", "Version of this table of attributes"),
)


# What the catalogue adds to the attributes of a slick.
SLICK_EXTRAS: tuple[Attribute, ...] = (
    Attribute("former_status", "text", "", "Status of the overlapping slick of an earlier result; a suggestion"),
    Attribute("catalogued_at", "time", "UTC", "When the result was published in the catalogue"),
    Attribute("superseded_by", "text", "", "Run whose result replaced it"),
    Attribute("superseded_at", "time", "UTC", "When it was replaced"),
)


def slick_table(rows: Sequence[Mapping[str, object]], geometries: Iterable[MultiPolygon]) -> gpd.GeoDataFrame:
    """Rows of attributes and their outlines as one GeoDataFrame in EPSG:4326.

    Every column of `ATTRIBUTES` is there with its type, also when there is no row; what a row omits
    is null. Raises `KeyError` for an attribute that the table does not know.
    """
    unknown = {name for row in rows for name in row} - {a.name for a in ATTRIBUTES}
    if unknown:
        raise KeyError(f"not attributes of a slick: {sorted(unknown)}")
    columns = {a.name: column([row.get(a.name) for row in rows], a.kind) for a in ATTRIBUTES}
    return gpd.GeoDataFrame(columns, geometry=gpd.GeoSeries(list(geometries), crs="EPSG:4326"), crs="EPSG:4326")


def column(values: Sequence[object], kind: Kind) -> pd.Series[Any]:
    """A column of the type for a kind of attribute."""
    return pd.Series(values, dtype=_DTYPES[kind])


def time_text(moment: datetime) -> str:
    """A time as stored: UTC, milliseconds, sortable as text. Raises `ValueError` without a time zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def plain(value: Any) -> Any:
    """A value of a table in memory as one that SQLite and JSON take; null if missing."""
    if pd.isna(value):
        return None
    if isinstance(value, datetime):
        return time_text(value)
    return value.item() if isinstance(value, np.generic) else value
