"""The state and the log that a training leaves in its folder."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ingest.errors import ModelError, SlickwatchError, UsageError
from ingest.files import storage_errors, whole_file, write_bytes
from models.training.options import CommonOptions, flat

_REMEDY = "train in another folder or without --resume"


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Replace a whole state; raises `StorageError`."""
    with whole_file(path) as hidden, hidden.open("wb") as file:
        torch.save(state, file)


def read_state(
    path: Path, options: CommonOptions, pairs: Mapping[str, str | None], device: torch.device
) -> dict[str, Any]:
    """Read a state written with the same options on the same pairs (fingerprints by kind).

    Raises `UsageError` naming what differs, and what `load_state` raises.
    """
    state = load_state(path, device)
    with damage_named(path):
        stored, stored_pairs = _options(state, options), _pairs(state)
    require_same(path, stored, options.fixed())
    for kind, sha256 in pairs.items():
        if stored_pairs.get(kind, sha256) != sha256:
            raise UsageError(path, f"was written with other {kind} pairs", _REMEDY)
    return state


def load_state(path: Path, device: torch.device) -> dict[str, Any]:
    """Read what `save_state` wrote; raises `ModelError` for a damaged file, `StorageError` for one that is unreadable.

    PyTorch itself does not compare the checksums of the tensors.
    """
    with storage_errors(path, "read"), path.open("rb") as file, damage_named(path):
        with zipfile.ZipFile(file) as archive:
            if (member := archive.testzip()) is not None:
                raise ValueError(f"{member} is damaged")
        file.seek(0)
        state: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
        return dict(state)


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn whatever a damaged state, or that of another network, leads to while it is used into `ModelError`."""
    try:
        yield
    except (SlickwatchError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a decoder fails on damage in many ways
        raise ModelError(path, "damaged or not the state of a training", _REMEDY) from error


def require_same(path: Path, stored: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Raise `UsageError` naming the first of the options that a state was not written with."""
    for name, value in options.items():
        if stored.get(name) != value:
            raise UsageError(path, f"was written with another {name}", _REMEDY)


def stored_parts(options: CommonOptions, state: Mapping[str, Any]) -> int | None:
    """Return the parts in which a training resumed from a state divides a batch; None where they are to be found anew.

    With a budget of memory the parts are measured. Another measurement could lead to other parts, and so to other
    weights: they are measured again only for another budget or number of devices.
    """
    stored = _options(state, options)
    measured = ("memory_gb", "devices")
    if options.memory.memory_gb is None or any(stored[name] != flat(options)[name] for name in measured):
        return None
    return max(options.memory.accumulate, int(stored["accumulate"]))


def _options(state: Mapping[str, Any], options: CommonOptions) -> dict[str, Any]:
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
