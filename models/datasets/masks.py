"""Masks of oil: white on black, or the values or colours that a folder's classes.json names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ingest.errors import UnreadableInput
from models.classes import IGNORE, LABEL_NAMES, NOT_OIL, OIL
from models.datasets.pairs import Shown, read_shown

# (value,) or (red, green, blue), and the label it stands for.
ClassTable = tuple[tuple[tuple[int, ...], int], ...]
CLASS_TABLE = "classes.json"
_REMEDY = f"write oil as 255 and all else as 0, or name the values in {CLASS_TABLE} (docs/researcher/datasets.md)"
_MOST_NAMED = 6  # values in a message


def read_class_table(folder: Path) -> ClassTable | None:
    """Read what the values or colours of masks mean from ``classes.json``; None where a folder has none.

    Such as ``{"sea": 0, "oil": 1}`` or ``{"sea": [0, 0, 0], "oil": [0, 255, 255]}``. Raises `UnreadableInput`.
    """
    path = folder / CLASS_TABLE
    if not path.is_file():
        return None
    labels = {name: label for label, name in LABEL_NAMES.items()}
    try:
        table = json.loads(path.read_bytes())
        keys = {name: tuple(key) if isinstance(key, list) else (key,) for name, key in table.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise UnreadableInput(path, "not a table of classes", 'give {"sea": 0, "oil": 1} or the like') from error
    if unknown := sorted(set(keys) - set(labels)):
        raise UnreadableInput(path, f"unknown class {unknown[0]!r}", f"choose from {', '.join(labels)}")
    plain = all(type(value) is int for key in keys.values() for value in key)
    if not plain or len(set(keys.values())) < len(keys) or {len(key) for key in keys.values()} not in ({1}, {3}):
        raise UnreadableInput(path, "values are not all different integers, or all colours", "give one to each class")
    return tuple((key, labels[name]) for name, key in keys.items())


def mask_labels(path: Path, table: ClassTable | None = None) -> NDArray[np.int64]:
    """Read a mask as labels (H, W): `OIL`, `NOT_OIL` or `IGNORE`.

    Without a table, white is oil and black is not, greys only what JPEG makes of the border between them. Raises
    `UnreadableInput` naming the file and what else it holds, and for a mask that is transparent somewhere.
    """
    shown = read_shown(path)
    if shown.transparent.any():
        raise UnreadableInput(path, "is partly transparent, which may stand for oil or for no data", _REMEDY)
    return _white_on_black(shown, path) if table is None else _looked_up(shown, table, path)


def _white_on_black(shown: Shown, path: Path) -> NDArray[np.int64]:
    values = shown.values
    if shown.is_jpeg and values.ndim == 3 and (np.ptp(values, axis=2) < 64).all():
        values = values[..., 1]
    if values.ndim == 3:
        raise _holds(values.reshape(-1, 3), path)
    black = values == 0
    if not any((black | (values == white)).all() for white in (255, shown.white)) and not (
        shown.is_jpeg and _is_blurred(values)
    ):
        raise _holds(values.reshape(-1, 1), path)
    white = values > 127
    if shown.indices is not None and not _in_order(shown.indices, white):
        raise UnreadableInput(path, "its palette shows a higher index darker or like a lower one", _REMEDY)
    if shown.no_data[white].any():
        raise UnreadableInput(path, "its white, which is oil, is declared no data", _REMEDY)
    return np.where(white, OIL, NOT_OIL)


def _in_order(indices: NDArray[Any], white: NDArray[np.bool_]) -> bool:
    """Whether one index is black and a higher one white: otherwise it cannot be told if indices or colours count."""
    blacks, whites = np.unique(indices[~white]), np.unique(indices[white])
    return max(blacks.size, whites.size) == 1 and (whites.size == 0 or whites[0] > max(blacks.max(initial=0), 0))


def _is_blurred(values: NDArray[Any]) -> bool:
    """Whether greys are but the compressed border of something white: no area is grey."""
    grey = (values > 16) & (values < 239)
    return bool((values > 127).any()) and not ndimage.binary_opening(grey, np.ones((5, 5), np.bool_)).any()


def _looked_up(shown: Shown, table: ClassTable, path: Path) -> NDArray[np.int64]:
    channels, values = len(table[0][0]), shown.values
    if channels == 1 and shown.indices is not None:
        values = shown.indices
    if channels == 3 and values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    values = values if values.ndim == 3 else values[..., None]
    labels = np.full(values.shape[:2], -1, np.int64)
    if values.shape[2] == channels:
        for key, label in table:
            labels[(values == key).all(axis=2)] = label if label in (OIL, IGNORE) else NOT_OIL
    if (labels < 0).any():
        raise _holds(values[labels < 0], path)
    return labels


def _holds(values: NDArray[Any], path: Path) -> UnreadableInput:
    """The error that names greys (n, 1) or colours (n, 3)."""
    if values.shape[1] == 3:
        kind, named = "the colours ", [str(tuple(one)) for one in np.unique(values, axis=0).tolist()]
    else:
        kind, named = "", [f"{one:g}" for one in np.unique(values).tolist()]
    if len(named) > _MOST_NAMED:
        named = [*named[:_MOST_NAMED], f"{len(named) - _MOST_NAMED} more"]
    text = " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))
    return UnreadableInput(path, f"holds {kind}{text}", _REMEDY)
