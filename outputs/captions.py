"""Captions that fit the picture they belong to."""

from __future__ import annotations

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath


def fitted(text: str, points: float, size: float, weight: str = "normal") -> str:
    """A line of text, in the middle of which as much is left out as does not fit into `points` at this font size."""
    kept, line = len(text), text
    while kept > 2 and _width(line, size, weight) > points:
        kept -= 1
        line = f"{text[: kept // 2]}…{text[-(kept - kept // 2) :]}"
    return line


def _width(text: str, size: float, weight: str) -> float:
    """In points."""
    font = FontProperties(weight=weight)
    return float(TextPath((0, 0), text, size=size, prop=font).get_extents().width)
