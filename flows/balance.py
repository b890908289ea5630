"""What `slickwatch balance` does: the balancing factor of a data set's training images."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ingest.progress import step
from models.datasets import open_dataset
from models.jointnet.balance import balancing_factor


def balance_of(dataset: str) -> dict[str, Any]:
    """Return the balancing factor of a data set, by name or folder, as a record: `Balance`, and of what it is.

    It is that of the training images; of the test images where there are no others, which `part` and `note` say.
    Raises what opening and reading the data set raise.
    """
    split = open_dataset(dataset)
    part, images = split.to_learn()
    with step(f"balance {split.name}") as advance:
        balance = balancing_factor(images, progress=advance)
    note = "there are no training images: computed over the test images" if part == "test" else ""
    return {"dataset": split.name, "part": part, "note": note, **asdict(balance)}


def summary(record: dict[str, Any]) -> str:
    """Return the record in a line that people read."""
    return (
        f"{record['dataset']}: b = {record['b']:.4f}, P(x0) = {record['p_image']:.4f}, "
        f"P(y0) = {record['p_label']:.4f}, {record['n_images']} {record['part']} images; {record['normalisation']}"
    )
