"""Filters in CQL2 (OGC 21-065r2), text and JSON, as conditions on the rows of a layer."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

import cql2
import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import ColumnElement, Integer, and_, cast, false, func, literal, not_, or_, true

from ingest.areas import box_area
from ingest.errors import UsageError
from outputs.attributes import time_text
from outputs.catalogue.layers import Layer
from outputs.catalogue.search import Relation, folded, related
from service.problems import Problem

Language = Literal["cql2-text", "cql2-json"]
Kind = Literal["text", "number", "flag", "time"]
Node = Any  # of a parsed filter: JSON values
GEOMETRY = "geometry"
LONGEST = 4000  # characters
# The parser calls itself for each bracket and operator, and has no limit of its own: too many end the process.
_DEEPEST, _MOST_OPERATORS = 40, 100
_OPERATORS = re.compile(r"\b(not|div)\b|[+*/%^]|-(?!\d)|[\w)\"]\s*-", re.IGNORECASE)
_KINDS: dict[str, Kind] = {"text": "text", "integer": "number", "real": "number", "flag": "flag", "time": "time"}
_FIRST, _LAST = "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"
_MOST_WILDCARDS = 5


@dataclass(frozen=True)
class _Scalar:
    """A value: its kind, its expression, and the text where it was written as one."""

    kind: Kind
    expression: ColumnElement[Any]
    text: str | None = None


@dataclass(frozen=True)
class _Period:
    """First and last moment, as texts that sort."""

    start: ColumnElement[str]
    end: ColumnElement[str]


def filter_condition(text: str, language: Language, layer: Layer) -> ColumnElement[bool]:
    """The condition that a filter states. Raises `Problem` for one that is malformed or not supported."""
    if len(text) > LONGEST:
        raise _refused(f"it is longer than {LONGEST} characters")
    if _depth(text) > _DEEPEST or len(_OPERATORS.findall(text)) > _MOST_OPERATORS:
        raise _refused("it is nested too deeply")
    try:
        parsed = (cql2.parse_text if language == "cql2-text" else cql2.parse_json)(text).to_json()
    except Exception as error:  # the library knows no other kind
        reason = " ".join(line.strip(" |=-^>") for line in str(error).splitlines() if "=" in line)[:200]
        raise _refused(f"it is not {language}" + (f" ({reason})" if reason else "")) from error
    return _Filter(layer).predicate(parsed)


def moment(text: str) -> datetime:
    """A time of RFC 3339, UTC unless it has an offset. Raises `ValueError`."""
    found = datetime.fromisoformat(text)
    return (found.replace(tzinfo=UTC) if found.tzinfo is None else found).astimezone(UTC)


def period(text: str) -> tuple[str, str]:
    """First and last moment of a time or, for a date, of its day, as stored. Raises `ValueError`, `OverflowError`."""
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        start = datetime.combine(date.fromisoformat(text), time(), UTC)
        return time_text(start), time_text(start + timedelta(days=1) - timedelta(milliseconds=1))
    at = time_text(moment(text))
    return at, at


def _depth(text: str) -> int:
    deepest = depth = 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _refused(reason: str) -> Problem:
    return Problem(400, f"The filter cannot be used: {reason}.")


class _Filter:
    """Turns a parsed filter into a condition on one layer."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer

    def predicate(self, node: Node) -> ColumnElement[bool]:
        if isinstance(node, bool):
            return true() if node else false()
        if isinstance(node, dict) and "property" in node:
            flag = self._scalar(node)
            if flag.kind != "flag":
                raise _refused(f"{node['property']} is not true or false")
            return flag.expression == 1
        name, arguments = self._call(node)
        operation = _PREDICATES.get(name)
        if operation is not None:
            return operation(self, name, arguments)
        if name.startswith("s_") and name[2:] in _MIRRORED:
            return self._spatial(name[2:], arguments)
        if name.startswith("t_") and name[2:] in _TEMPORAL:
            return self._temporal(name[2:], arguments)
        raise _refused(f"{name!r} is not supported")

    def _call(self, node: Node) -> tuple[str, list[Node]]:
        if not isinstance(node, dict) or not isinstance(node.get("op"), str):
            raise _refused("it states no condition")
        arguments = node.get("args")
        return node["op"].lower(), arguments if isinstance(arguments, list) else []

    def _all(self, name: str, arguments: list[Node]) -> ColumnElement[bool]:
        parts = [self.predicate(one) for one in arguments]
        if not parts:
            raise _refused(f"{name} has no conditions")
        return and_(*parts) if name == "and" else or_(*parts)

    def _not(self, name: str, arguments: list[Node]) -> ColumnElement[bool]:
        (inner,) = _exactly(1, name, arguments)
        return not_(self.predicate(inner))

    def _compare(self, name: str, arguments: list[Node]) -> ColumnElement[bool]:
        left, right = self._alike(name, *map(self._scalar, _exactly(2, name, arguments)))
        return left.expression.op(name, is_comparison=True)(right.expression)

    def _is_null(self, name: str, arguments: list[Node]) -> ColumnElement[bool]:
        (inner,) = _exactly(1, name, arguments)
        if _is_geometry(inner):
            return self._layer.table.c.geom.is_(None)
        return self._scalar(inner).expression.is_(None)

    def _like(self, name: str, arguments: list[Node]) -> ColumnElement[bool]:
        value, pattern = map(self._scalar, _exactly(2, name, arguments))
        if value.kind != "text" or pattern.text is None:
            raise _refused("LIKE takes a text attribute and a text")
        return value.expression.op("GLOB", is_comparison=True)(literal(_glob(pattern.text)))

    def _between(self, name: str, arguments: list[Node]) -> ColumnElement[bool]:
        value, low, high = map(self._scalar, _exactly(3, name, arguments))
        (value_low, low), (value_high, high) = self._alike(name, value, low), self._alike(name, value, high)
        return and_(value_low.expression >= low.expression, value_high.expression <= high.expression)

    def _in(self, name: str, arguments: list[Node]) -> ColumnElement[bool]:
        value, choices = _exactly(2, name, arguments)
        if not isinstance(choices, list) or not choices:
            raise _refused("IN takes a list of values")
        wanted = self._scalar(value)
        pairs = [self._alike(name, wanted, self._scalar(choice)) for choice in choices]
        return or_(*(one.expression == other.expression for one, other in pairs))

    def _alike(self, name: str, left: _Scalar, right: _Scalar) -> tuple[_Scalar, _Scalar]:
        """Two values of one kind; a text beside a time is read as one."""
        if left.kind == "time" and right.text is not None:
            right = _time(right.text)
        elif right.kind == "time" and left.text is not None:
            left = _time(left.text)
        if left.kind != right.kind:
            raise _refused(f"{name} compares a {left.kind} with a {right.kind}")
        return left, right

    def _scalar(self, node: Node) -> _Scalar:
        if isinstance(node, bool):
            return _Scalar("flag", literal(int(node)))
        if isinstance(node, int | float):
            if not math.isfinite(node):
                raise _refused("a number is too large")
            return _Scalar("number", literal(float(node)))
        if isinstance(node, str):
            return _Scalar("text", literal(node), node)
        if isinstance(node, dict):
            for key in ("timestamp", "date"):
                if isinstance(node.get(key), str):
                    return _time(node[key])
            if "property" in node:
                return self._attribute(node["property"])
            if "op" in node:
                return self._function(*self._call(node))
        raise _refused("it has a value of another kind where a text, number, time or attribute belongs")

    def _attribute(self, name: object) -> _Scalar:
        kind = self._layer.kinds.get(str(name))
        if kind is None:
            raise _refused(f"{self._layer.name} have no attribute {str(name)[:60]!r}, see queryables")
        return _Scalar(_KINDS[kind], self._layer.table.c[str(name)])

    def _function(self, name: str, arguments: list[Node]) -> _Scalar:
        if name == "casei":
            (inner,) = map(self._scalar, _exactly(1, name, arguments))
            if inner.kind != "text":
                raise _refused("CASEI takes a text")
            text = None if inner.text is None else inner.text.casefold()
            return _Scalar("text", folded(inner.expression), text)
        if name in _ARITHMETIC:
            numbers = [self._scalar(one) for one in arguments]
            if not 1 <= len(numbers) <= 2 or (len(numbers) == 1 and name != "-"):
                raise _refused(f"{name} takes two numbers")
            if any(number.kind != "number" for number in numbers):
                raise _refused(f"{name} takes numbers")
            return _Scalar("number", _ARITHMETIC[name](*(number.expression for number in numbers)))
        raise _refused(f"{name!r} is not supported")

    def _spatial(self, name: str, arguments: list[Node]) -> ColumnElement[bool]:
        first, second = _exactly(2, name, arguments)
        if _is_geometry(first) and not _is_geometry(second):
            return related(self._layer, _RELATIONS[name], _geometry(second))
        if _is_geometry(second) and not _is_geometry(first):
            return related(self._layer, _RELATIONS[_MIRRORED[name]], _geometry(first))
        raise _refused(f"s_{name} takes the attribute {GEOMETRY} and a geometry")

    def _temporal(self, name: str, arguments: list[Node]) -> ColumnElement[bool]:
        one, other = map(self._period, _exactly(2, name, arguments))
        return _TEMPORAL[name](one, other)

    def _period(self, node: Node) -> _Period:
        if isinstance(node, dict) and isinstance(node.get("interval"), list):
            start, end = _exactly(2, "INTERVAL", node["interval"])
            return _Period(self._end(start, _FIRST, 0), self._end(end, _LAST, 1))
        if isinstance(node, dict) and isinstance(node.get("date"), str):
            return _Period(self._end(node["date"], "", 0), self._end(node["date"], "", 1))
        at = self._end(node, "", 0)
        return _Period(at, at)

    def _end(self, node: Node, otherwise: str, which: int) -> ColumnElement[str]:
        """One end of an interval; `which` says of a day whether its first or its last moment."""
        if isinstance(node, dict) and isinstance(node.get("date"), str):
            node = node["date"]
        if isinstance(node, str):
            if node in ("..", "") and otherwise:
                return literal(otherwise)
            try:
                return literal(period(node)[which])
            except (ValueError, OverflowError) as error:
                raise _refused(f"{node[:60]!r} is not a time") from error
        value = self._scalar(node)
        if value.kind != "time":
            raise _refused("a temporal function takes times")
        return value.expression


def _exactly(count: int, name: str, arguments: list[Node]) -> list[Node]:
    if len(arguments) != count:
        raise _refused(f"{name} takes {count} argument{'' if count == 1 else 's'}")
    return arguments


def _time(text: str) -> _Scalar:
    try:
        return _Scalar("time", literal(period(text)[0]))
    except (ValueError, OverflowError) as error:
        raise _refused(f"{text[:60]!r} is not a time") from error


def _glob(pattern: str) -> str:
    """A pattern of LIKE in the signs of SQLite's GLOB, which minds case."""
    signs = [
        {"%": "*", "_": "?"}.get(part) or re.sub(r"([*?[])", r"[\1]", part[-1])
        for part in re.findall(r"\\.|\\$|[^\\]", pattern, re.DOTALL)
    ]
    if signs.count("*") > _MOST_WILDCARDS:
        raise _refused(f"LIKE takes at most {_MOST_WILDCARDS} %")
    return "".join(signs)


def _is_geometry(node: Node) -> bool:
    return isinstance(node, dict) and node.get("property") == GEOMETRY


def _geometry(node: Node) -> BaseGeometry:
    try:
        if isinstance(node, dict) and isinstance(node.get("bbox"), list):
            box = [float(one) for one in node["bbox"]]
            box = box if len(box) != 6 else [*box[:2], *box[3:5]]
            return box_area(*_exactly(4, "BBOX", box))
        geometry = shapely.force_2d(shapely.geometry.shape(node))
        if not geometry.is_empty and math.isfinite(sum(geometry.bounds)) and geometry.is_valid:
            return geometry
    except UsageError as error:
        raise _refused(f"a box {error.problem}") from error
    except Problem:
        raise
    except Exception as error:  # shapely's are of many kinds
        raise _refused("a geometry is malformed") from error
    raise _refused("a geometry is empty or invalid")


_PREDICATES: Mapping[str, Callable[[_Filter, str, list[Node]], ColumnElement[bool]]] = {
    "and": _Filter._all, "or": _Filter._all, "not": _Filter._not, "isnull": _Filter._is_null,
    "like": _Filter._like, "between": _Filter._between, "in": _Filter._in,
    **dict.fromkeys(("=", "<>", "<", "<=", ">", ">="), _Filter._compare),
}  # fmt: skip
_ARITHMETIC: Mapping[str, Callable[..., ColumnElement[Any]]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b=None: -a if b is None else a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / func.nullif(b, 0),
    "%": lambda a, b: a % func.nullif(b, 0),
    "div": lambda a, b: cast(a / func.nullif(b, 0), Integer),
}
# Each spatial function, and what it is with its arguments exchanged.
_MIRRORED = {
    "intersects": "intersects", "disjoint": "disjoint", "equals": "equals", "touches": "touches", "crosses": "crosses",
    "overlaps": "overlaps", "within": "contains", "contains": "within",
}  # fmt: skip
_RELATIONS: dict[str, Relation] = {
    "intersects": "intersects", "disjoint": "disjoint", "equals": "equals", "touches": "touches", "crosses": "crosses",
    "overlaps": "overlaps", "within": "within", "contains": "contains",
}  # fmt: skip
_TEMPORAL: Mapping[str, Callable[[_Period, _Period], ColumnElement[bool]]] = {
    "after": lambda a, b: a.start > b.end,
    "before": lambda a, b: a.end < b.start,
    "disjoint": lambda a, b: or_(a.start > b.end, a.end < b.start),
    "intersects": lambda a, b: and_(a.start <= b.end, a.end >= b.start),
    "equals": lambda a, b: and_(a.start == b.start, a.end == b.end),
    "during": lambda a, b: and_(a.start > b.start, a.end < b.end),
    "contains": lambda a, b: and_(a.start < b.start, a.end > b.end),
    "finishes": lambda a, b: and_(a.start > b.start, a.end == b.end),
    "finishedby": lambda a, b: and_(a.start < b.start, a.end == b.end),
    "meets": lambda a, b: a.end == b.start,
    "metby": lambda a, b: a.start == b.end,
    "overlaps": lambda a, b: and_(a.start < b.start, a.end > b.start, a.end < b.end),
    "overlappedby": lambda a, b: and_(a.start > b.start, a.start < b.end, a.end > b.end),
    "starts": lambda a, b: and_(a.start == b.start, a.end < b.end),
    "startedby": lambda a, b: and_(a.start == b.start, a.end > b.end),
}
