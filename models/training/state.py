"""What a training leaves behind to be resumed from and looked at: its state and its log."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch

from ingest.files import whole_file, write_bytes


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Replace a whole state; raises `StorageError`."""
    with whole_file(path) as hidden, hidden.open("wb") as file:
        torch.save(state, file)


def log_row(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a CSV file, with a header where it is new."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


def keep_rows(path: Path, step: int) -> None:
    """Drop the rows, by the number in their first column, that a training from `step` on will write anew.

    So goes a row that was cut short.
    """
    if not path.exists():
        return
    header, *rows = path.read_text().splitlines(keepends=True) or [""]
    whole = [row.split(",") for row in rows if row.count(",") == header.count(",") and row.endswith("\n")]
    kept = [",".join(row) for row in whole if row[0].isdigit() and int(row[0]) <= step]
    if kept:
        write_bytes(path, "".join([header, *kept]).encode())
    else:
        path.unlink()
