"""Captions that fit the picture they belong to."""

from __future__ import annotations

from bisect import bisect_right

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath


def fitted(text: str, points: float, size: float, weight: str = "normal") -> str:
    """A line of text, in the middle of which as much is left out as does not fit into `points` at this font size."""
    if _width(text, size, weight) <= points:
        return text
    # Longer lines are wider: the first of the shortened ones that does not fit follows the longest that does.
    too_long = bisect_right(range(3, len(text)), points, key=lambda kept: _width(_cut(text, kept), size, weight))
    return _cut(text, 2 + too_long)


def _cut(text: str, kept: int) -> str:
    """`text` with `kept` of its characters, those of the middle replaced by an ellipsis."""
    return f"{text[: kept // 2]}…{text[-(kept - kept // 2) :]}"


def _width(text: str, size: float, weight: str) -> float:
    """In points."""
    font = FontProperties(weight=weight)
    return float(TextPath((0, 0), text, size=size, prop=font).get_extents().width)
