"""Tables of figures on stdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer


def print_table(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows under headers; numbers stand below each other, and a missing value is a dash.

    columns: header by key of the rows, in order.
    """
    printed = [_column(header, [row.get(key) for row in rows]) for key, header in columns.items()]
    for line in zip(*printed, strict=True):
        typer.echo("  ".join(line).rstrip())


def _column(header: str, values: Sequence[Any]) -> list[str]:
    """A header and its values, all of one width; numbers to the right, with as many decimals as any of them has."""
    numeric = all(value is None or _is_number(value) for value in values)
    decimals = max((_decimals(value) for value in values), default=0)
    cells = [header, *(_text(value, decimals) for value in values)]
    width = max(map(len, cells))
    return [cell.rjust(width) if numeric else cell.ljust(width) for cell in cells]


def _text(value: Any, decimals: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{decimals}f}" if isinstance(value, float) else str(value)


def _decimals(value: Any) -> int:
    return len(str(value).partition(".")[2]) if isinstance(value, float) else 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
