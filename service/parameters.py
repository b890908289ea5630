"""The parameters of requests: which there are, how each is read, and the problem where one is malformed."""

from __future__ import annotations

import re
from collections.abc import Collection as Names
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_
from starlette.requests import Request

from ingest.areas import box_area
from ingest.errors import UsageError
from outputs.catalogue.layers import Layer
from outputs.catalogue.search import Search, related
from service.filters import LONGEST, filter_condition, period
from service.problems import Problem

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
DEFAULT_LIMIT, LARGEST_LIMIT, LARGEST_OFFSET = 100, 10_000, 10_000_000
LANGUAGES = ("cql2-text", "cql2-json")
_LONGEST_LIST = 20  # attributes to sort by
Schema = dict[str, Any]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a query, as the OpenAPI document describes it."""

    name: str
    description: str
    schema: Schema
    explode: bool = True  # False: a list is joined by commas


ITEMS: tuple[Parameter, ...] = (
    Parameter(
        "bbox",
        "Features that intersect this box: west,south,east,north in degrees; west is greater than east across the "
        "antimeridian. With six numbers, the heights are ignored.",
        {
            "type": "array",
            "items": {"type": "number"},
            "oneOf": [{"minItems": 4, "maxItems": 4}, {"minItems": 6, "maxItems": 6}],
        },
        explode=False,
    ),
    Parameter(
        "datetime",
        "Features acquired at this time or in this interval, such as 2026-01-31, 2026-01-31T06:00:00Z/.. or "
        "2026-01-01/2026-01-31.",
        {"type": "string"},
    ),
    Parameter(
        "limit",
        "Most features in the answer.",
        {"type": "integer", "minimum": 1, "maximum": LARGEST_LIMIT, "default": DEFAULT_LIMIT},
    ),
    Parameter(
        "offset",
        "Features to skip; the links next and prev have it.",
        {"type": "integer", "minimum": 0, "maximum": LARGEST_OFFSET, "default": 0},
    ),
    Parameter(
        "sortby",
        "Attributes to sort by, with - before those that descend, such as -area_m2,id.",
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": _LONGEST_LIST},
        explode=False,
    ),
    Parameter("filter", "A condition in CQL2.", {"type": "string", "maxLength": LONGEST}),
    Parameter(
        "filter-lang", "Language of the filter.", {"type": "string", "enum": list(LANGUAGES), "default": "cql2-text"}
    ),
    Parameter("filter-crs", "Coordinate system of the filter; there is only one.", {"type": "string", "enum": [CRS84]}),
)


QUEUE: tuple[Parameter, ...] = tuple(one for one in ITEMS if one.name in ("limit", "offset"))


def values(request: Request, allowed: Names[str]) -> dict[str, str]:
    """The parameters of a request by name. Raises `Problem` for an unknown or repeated one."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in allowed:
            raise Problem(400, f"There is no parameter {name[:60]!r} here; there are {', '.join(sorted(allowed))}.")
        if name in found:
            raise Problem(400, f"The parameter {name} is given twice.")
        if "\0" in value:
            raise Problem(400, f"The parameter {name} contains a null character.")
        found[name] = value
    return found


def search(given: dict[str, str], layer: Layer) -> Search:
    """The rows that the parameters of `ITEMS` ask for. Raises `Problem`."""
    return Search(
        layer,
        conditions(given, layer),
        _order(given["sortby"], layer) if "sortby" in given else (),
        min(count(given, "limit", DEFAULT_LIMIT, 1), LARGEST_LIMIT),
        count(given, "offset", 0, 0, LARGEST_OFFSET),
    )


def conditions(given: dict[str, str], layer: Layer) -> tuple[ColumnElement[bool], ...]:
    """The conditions of `bbox`, `datetime` and `filter`. Raises `Problem`."""
    return (
        *([_within(given["bbox"], layer)] if "bbox" in given else []),
        *([_during(given["datetime"], layer)] if "datetime" in given else []),
        *_filtered(given, layer),
    )


def _within(text: str, layer: Layer) -> ColumnElement[bool]:
    try:
        numbers = [float(part) for part in text.split(",")]
        west, south, east, north = numbers if len(numbers) != 6 else (*numbers[:2], *numbers[3:5])
        area = box_area(west, south, east, north)
    except ValueError as error:
        raise Problem(400, "bbox takes four numbers, west,south,east,north, or six.") from error
    except UsageError as error:
        raise Problem(400, f"bbox: {error.problem}; {error.remedy}.") from error
    return related(layer, "intersects", area)


def _during(text: str, layer: Layer) -> ColumnElement[bool]:
    """Acquisitions that share a moment with the time or interval."""
    table = layer.table.c
    try:
        first, divider, second = text.partition("/")
        if not divider:
            second = first
        start = None if first in ("..", "") and divider else period(first)[0]
        end = None if second in ("..", "") and divider else period(second)[1]
    except (ValueError, OverflowError) as error:
        raise Problem(400, "datetime takes a time as of RFC 3339, or two joined by /, with .. for none.") from error
    if start is not None and end is not None and start > end:
        raise Problem(400, "datetime: the interval ends before it begins.")
    tests = []
    if start is not None:
        tests.append(table.acquired_end >= start)
    if end is not None:
        tests.append(table.acquired_start <= end)
    return and_(table.acquired_start.is_not(None), *tests)


def _filtered(given: dict[str, str], layer: Layer) -> list[ColumnElement[bool]]:
    language = given.get("filter-lang", "cql2-text")
    if language not in LANGUAGES:
        raise Problem(400, f"filter-lang is one of {', '.join(LANGUAGES)}.")
    if given.get("filter-crs", CRS84) != CRS84:
        raise Problem(400, f"filter-crs is {CRS84}.")
    if "filter" not in given:
        return []
    return [filter_condition(given["filter"], "cql2-json" if language == "cql2-json" else "cql2-text", layer)]


def _order(text: str, layer: Layer) -> tuple[tuple[str, bool], ...]:
    order: list[tuple[str, bool]] = []
    for part in text.split(","):
        sign, name = re.fullmatch(r"([-+ ]?)(.*)", part, re.DOTALL).groups()  # type: ignore[union-attr]
        if name not in layer.kinds:
            raise Problem(400, f"sortby: {layer.name} have no attribute {name[:60]!r}, see queryables.")
        order.append((name, sign == "-"))
    if len(order) > _LONGEST_LIST:
        raise Problem(400, f"sortby takes at most {_LONGEST_LIST} attributes.")
    return tuple(order)


def count(given: dict[str, str], name: str, default: int, least: int, most: int | None = None) -> int:
    """A parameter that is a whole number. Raises `Problem`."""
    text = given.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < least or (most is not None and int(text) > most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        raise Problem(400, f"{name} is a whole number, {bounds}.")
    return int(text)
