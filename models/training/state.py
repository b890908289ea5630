"""The state and the log that a training leaves in its folder."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from ingest.errors import ModelError, UsageError
from ingest.files import whole_file, write_bytes
from models.training.options import CommonOptions, flat

Options = TypeVar("Options", bound=CommonOptions)
_REMEDY = "train in another folder or without --resume"


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Replace a whole state; raises `StorageError`."""
    with whole_file(path) as hidden, hidden.open("wb") as file:
        torch.save(state, file)


def read_state(
    path: Path, options: CommonOptions, pairs: Mapping[str, str | None], device: torch.device
) -> dict[str, Any]:
    """Read a state written with the same options on the same pairs (fingerprints by kind).

    Raises `ModelError` for a damaged state, `UsageError` naming what differs.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        stored, stored_pairs = _options(state, options), _pairs(state)
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise ModelError(path, "damaged or not the state of a training", _REMEDY) from error
    for name, value in options.fixed().items():
        if stored.get(name) != value:
            raise UsageError(path, f"was written with another {name}", _REMEDY)
    for kind, sha256 in pairs.items():
        if stored_pairs.get(kind, sha256) != sha256:
            raise UsageError(path, f"was written with other {kind} pairs", _REMEDY)
    return state


def with_stored_parts(options: Options, state: dict[str, Any]) -> Options:
    """Return options that divide a batch as the training that wrote the state did.

    With a budget of memory the parts are measured, and another measurement could lead to other parts, and weights.
    """
    if options.memory.memory_gb is None:
        return options
    parts = max(options.memory.accumulate, int(_options(state, options)["accumulate"]))
    return replace(options, memory=replace(options.memory, accumulate=parts))


def _options(state: dict[str, Any], options: CommonOptions) -> dict[str, Any]:
    stored = dict(state["options"])
    if "schedule" in stored:  # of release 0.1, where the cosine of SAR-JointNet's stages began at their first step
        stored |= {"decay": stored.pop("schedule"), "decay_from": "start" if "stage" in state else "warm-up"}
    return flat(type(options)()) | stored


def _pairs(state: dict[str, Any]) -> dict[str, str | None]:
    """Return the fingerprints of a state; release 0.1 knew the training pairs of SAR-JointNet or synthetic ones."""
    pairs = state.get("pairs", {})
    if isinstance(pairs, str):
        return {"training": pairs}
    return {"synthetic": state["synthetic"]} if "synthetic" in state else dict(pairs)


def log_row(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a CSV file, with a header where it is new."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


def keep_rows(path: Path, step: int) -> None:
    """Delete the rows after `step`, by the number in their first column, and a row that was cut short."""
    if not path.exists():
        return
    header, *rows = path.read_text().splitlines(keepends=True) or [""]
    whole = [row.split(",") for row in rows if row.count(",") == header.count(",") and row.endswith("\n")]
    kept = [",".join(row) for row in whole if row[0].isdigit() and int(row[0]) <= step]
    if kept:
        write_bytes(path, "".join([header, *kept]).encode())
    else:
        path.unlink()
