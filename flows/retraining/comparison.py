"""Compare challenger and champion on held-out data, with tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flows.evaluate import TABLE, evaluate_models
from models.checkpoint import read_checkpoint
from models.retraining.promotion import Opponents
from models.retraining.scores import heldout_record, kept_scores
from models.retraining.steps import StepResult, Value, run_step


def compare(work: Path, opponents: Opponents, heldout: Mapping[str, str]) -> StepResult:
    """Evaluate both models on the test images of each held-out set, as a cached step.

    heldout: hashes of the test images, by name of the data set.
    """
    folders = {"champion": opponents.champion_folder, "challenger": opponents.challenger_folder}
    weights = {name: read_checkpoint(str(folder)).weights_sha256 for name, folder in folders.items()}

    def body(folder: Path) -> Value:
        value = {}
        for number, (name, fingerprint) in enumerate(heldout.items()):
            models = [str(model) for model in folders.values()]
            record = evaluate_models(name, models, out=folder / f"{number}")
            value[name] = {**heldout_record(record, fingerprint), "tables": f"{number}/{TABLE}",
                           "champion": kept_scores(record["models"][opponents.champion]),
                           "challenger": kept_scores(record["models"][opponents.challenger])}  # fmt: skip
        return value

    return run_step(work, "evaluation", {"heldout": dict(heldout), **weights}, body)
