"""The OData catalogue of Copernicus Data Space: queries as filter text, and answers as scenes.

Facts of the interface: https://documentation.dataspace.copernicus.eu/APIs/OData.html and its release notes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Any

import shapely
from pydantic import AwareDatetime, BaseModel, Field, ValidationError
from shapely.geometry.base import BaseGeometry

from ingest.areas import read_footprint
from ingest.errors import SourceError, UnreadableInput, UsageError
from ingest.scene import Scene, scene_from_name
from ingest.sources.lenient import Lenient
from ingest.sources.source import Query, time_text

LARGEST_PAGE = 1000  # $top
LARGEST_SKIP = 10_000  # $skip; there is no nextLink beyond it
# A GET request's line may hold about 8 kB; an area beyond this many characters is replaced by its hull or box.
_LONGEST_AREA = 3000
_SWATHS = {"IW": ("IW",), "EW": ("EW",), "SM": ("S1", "S2", "S3", "S4", "S5", "S6"), "WV": ("WV",)}
_PRODUCT_TYPES = {
    "GRD": ("GRDH_1S", "GRDM_1S", "GRDF_1S", "GRDH_1S-COG", "GRDM_1S-COG", "GRDF_1S-COG"),
    "SLC": ("SLC__1S",),
    "RAW": ("RAW__0S",),
    "OCN": ("OCN__2S",),
}
_FULL_RESOLUTION_IS_FOR = "SM"
_CHANNELS = {
    "VV": ("VV", "VV&VH", "VH&VV"), "VH": ("VH", "VV&VH", "VH&VV"),
    "HH": ("HH", "HH&HV", "HV&HH"), "HV": ("HV", "HH&HV", "HV&HH"),
}  # fmt: skip
_CHECKSUMS = ("BLAKE3", "MD5")  # the preferred first

_log = logging.getLogger(__name__)


class Checksum(BaseModel):
    algorithm: Lenient[str] = Field(default=None, alias="Algorithm")
    value: Lenient[str] = Field(default=None, alias="Value")


class Product(BaseModel):
    """One product of the catalogue, as far as a scene needs it; what is not as specified is None."""

    id: str = Field(alias="Id", min_length=1, coerce_numbers_to_str=True)
    name: str = Field(alias="Name")
    published: Lenient[AwareDatetime] = Field(default=None, alias="PublicationDate")
    online: Lenient[bool] = Field(default=None, alias="Online")
    length: Lenient[int] = Field(default=None, alias="ContentLength")
    checksums: Lenient[list[Lenient[Checksum]]] = Field(default=None, alias="Checksum")
    s3_path: Lenient[str] = Field(default=None, alias="S3Path")
    footprint: Lenient[dict[str, Any]] = Field(default=None, alias="GeoFootprint")


class Page(BaseModel):
    """One response of the catalogue."""

    entries: list[Any] = Field(alias="value")
    next_link: str | None = Field(default=None, alias="@odata.nextLink")

    @cached_property
    def products(self) -> tuple[Product, ...]:
        """The products; a warning in the log for each entry that is none, which must not cost the others."""
        return tuple(filter(None, map(_product, self.entries)))


def _product(entry: object) -> Product | None:
    try:
        return Product.model_validate(entry)
    except ValidationError as error:
        _log.warning("Skipped a product of the catalogue: %s", _first(error))
        return None


def read_page(text: bytes, subject: str) -> Page:
    """Parse and validate a response; raises `SourceError` naming the field that is not as specified."""
    try:
        return Page.model_validate_json(text)
    except ValidationError as error:
        raise SourceError(subject, f"unexpected answer: {_first(error)}", "try again later") from None


def _first(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the answer'}: {first['msg']}"


def filter_text(query: Query, published_since: datetime | None, *, inclusive: bool = False) -> str:
    """The `$filter` of a query: only what is online, published after a time (or at it, where `inclusive`).

    A product type begins with its mode (``IW_GRDH_1S``), so the mode needs no condition of its own. Alternatives
    each get their own `any`: the catalogue finds nothing for an `or` inside one.
    Raises `UsageError` for a mode, a product type or a polarisation that Sentinel-1 does not have.
    """
    conditions = ["Collection/Name eq 'SENTINEL-1'", "Online eq true", _of_type(query)]
    if query.polarisation is not None:
        channels = _choice(_CHANNELS, query.polarisation, "polarisation")
        conditions.append(_any_of([_attribute("polarisationChannels", channel) for channel in channels]))
    if query.relative_orbit is not None:
        conditions.append(_attribute("relativeOrbitNumber", query.relative_orbit))
    if query.orbit_direction is not None:
        conditions.append(_attribute("orbitDirection", query.orbit_direction.upper()))
    if query.timeliness is not None:
        conditions.append(_attribute("timeliness", query.timeliness))
    if query.area is not None:
        conditions.append(_any_of([_intersects(part) for part in _query_areas(query.area)]))
    if published_since is not None:
        conditions.append(f"PublicationDate {'ge' if inclusive else 'gt'} {time_text(published_since)}")
    return " and ".join(conditions)


def _of_type(query: Query) -> str:
    kinds = _choice(_PRODUCT_TYPES, query.product_type, "product type")
    if query.mode is None:
        return f"contains(Name,'_{query.product_type}')"
    swaths = _choice(_SWATHS, query.mode, "mode")
    if query.mode != _FULL_RESOLUTION_IS_FOR:
        kinds = tuple(kind for kind in kinds if not kind.startswith("GRDF"))
    return _any_of([_attribute("productType", f"{swath}_{kind}") for swath in swaths for kind in kinds])


def _choice(choices: Mapping[str, tuple[str, ...]], name: str, what: str) -> tuple[str, ...]:
    if name not in choices:
        raise UsageError(name, f"unknown {what}", f"choose one of {', '.join(choices)}")
    return choices[name]


def _attribute(name: str, value: str | int) -> str:
    kind = "OData.CSC.IntegerAttribute" if isinstance(value, int) else "OData.CSC.StringAttribute"
    literal = str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
    return f"Attributes/{kind}/any(att:att/Name eq '{name}' and att/{kind}/Value eq {literal})"


def _any_of(conditions: list[str]) -> str:
    return conditions[0] if len(conditions) == 1 else "(" + " or ".join(conditions) + ")"


def _intersects(part: BaseGeometry) -> str:
    return f"OData.CSC.Intersects(area=geography'SRID=4326;{shapely.to_wkt(part, rounding_precision=6)}')"


def _query_areas(area: BaseGeometry) -> list[BaseGeometry]:
    """The area's parts, simplified to a larger area if too long for a URL; `Query.matches` filters the answers."""
    if area.is_empty:
        raise UsageError("the area", "is empty", "give an area with at least one point")
    parts: list[BaseGeometry] = list(getattr(area, "geoms", [area]))
    hulls = [part.convex_hull for part in parts]
    boxes: list[BaseGeometry] = [shapely.box(*part.bounds) for part in parts]
    for asked in (parts, hulls, boxes):
        if sum(len(_intersects(part)) for part in asked) <= _LONGEST_AREA:
            return asked
    return [shapely.box(*area.bounds)]


def scene_of(product: Product, source: str) -> Scene | None:
    """The scene of a product; None, with a warning in the log, if its name is not that of an acquisition."""
    try:
        named = scene_from_name(product.name)
    except UnreadableInput as error:
        _log.warning("Skipped a product of the catalogue: %s", error)
        return None
    return replace(
        named,
        footprint=None if product.footprint is None else read_footprint(json.dumps(product.footprint)),
        source=source,
        # The catalogue gives 0 for an unknown size.
        size=product.length or None,
        checksum=_checksum(filter(None, product.checksums or [])),
        published=product.published,
        key=product.id,
    )


def _checksum(given: Iterable[Checksum]) -> str | None:
    known = {each.algorithm.upper(): each.value for each in given if each.algorithm and each.value}
    return next((f"{name.lower()}:{known[name].lower()}" for name in _CHECKSUMS if name in known), None)
