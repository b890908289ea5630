"""A small XML writer for Sentinel-1 products: nested mappings in, elements in ESA's formatting out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

Numbers: TypeAlias = "NDArray[np.int64] | NDArray[np.float64] | NDArray[np.complex128]"


@dataclass(frozen=True)
class Repeated:
    """The content of a list element: its `count` attribute and one child `tag` for each item."""

    tag: str
    items: Sequence[Content]


Content: TypeAlias = (
    "bool | int | float | str | datetime | np.datetime64 | Numbers | tuple[float, ...]"
    " | Repeated | Mapping[str, Content]"
)


def timestamp(time: datetime | np.datetime64) -> str:
    """Format a UTC time as products do, to the microsecond and without a zone."""
    if isinstance(time, datetime):
        time = np.datetime64(time.replace(tzinfo=None), "us")
    return str(time.astype("datetime64[us]"))


def document(root: str, content: Content) -> bytes:
    """Write a whole document; mappings keep their order, which the schemas prescribe."""
    element = _element(root, content)
    ElementTree.indent(element)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(element) + b"\n"


def _element(tag: str, content: Content) -> ElementTree.Element:
    element = ElementTree.Element(tag)
    if isinstance(content, Mapping):
        element.extend(_element(name, child) for name, child in content.items())
    elif isinstance(content, Repeated):
        element.set("count", str(len(content.items)))
        element.extend(_element(content.tag, item) for item in content.items)
    elif isinstance(content, np.ndarray | tuple):
        element.set("count", str(len(content)))
        element.text = " ".join(_numbers(content))
    else:
        element.text = _scalar(content)
    return element


def _scalar(value: bool | int | float | str | datetime | np.datetime64) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.15e}"
    return timestamp(value) if isinstance(value, datetime | np.datetime64) else str(value)


def _numbers(values: Numbers | tuple[float, ...]) -> Iterable[str]:
    """Integers as they are; arrays (single-precision tables) with seven digits, as ESA does; tuples in full."""
    if isinstance(values, tuple):
        return (f"{value:.15e}" for value in values)
    if values.dtype.kind == "c":
        return (f"{part:.6e}" for value in values.tolist() for part in (value.real, value.imag))
    return map(str, values.tolist()) if values.dtype.kind in "iu" else (f"{value:.6e}" for value in values.tolist())
