"""`slickwatch balance`: the balancing factor of a data set."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import typer

from flows.commands.options import Dataset, Json, Verbose
from flows.commands.terminal import print_note


def balance(
    dataset: Dataset,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compute the balancing factor b of a data set (DAKD paper, Eq. 4).

    Example: slickwatch balance sos-official
    """
    record = balance_record(dataset)
    if record["note"]:
        print_note(f"{record['dataset']}: {record['note']}")
    typer.echo(json.dumps(record) if json_ else _line(record))


def balance_record(dataset: str) -> dict[str, Any]:
    """The `Balance` of a data set's training images, or of its test images where there are no others, as JSON has it.

    Raises what opening and reading the data set raise.
    """
    from ingest.progress import step
    from models.datasets.catalogue import open_dataset
    from models.jointnet.balance import balancing_factor

    split = open_dataset(dataset)
    part, images = split.to_learn()
    with step(f"balance {split.name}") as advance:
        factor = balancing_factor(images, progress=advance)
    note = "no training images; computed over the test images" if part == "test" else ""
    return {"dataset": split.name, "part": part, "note": note, **asdict(factor)}


def _line(record: dict[str, Any]) -> str:
    return (
        f"{record['dataset']}: b = {record['b']:.4f}, P(x0) = {record['p_image']:.4f}, "
        f"P(y0) = {record['p_label']:.4f}, {record['n_images']} {record['part']} images; {record['normalisation']}"
    )
