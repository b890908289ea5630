"""Challenger against champion on held-out data, and what follows from it in the registry."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flows.evaluate import evaluate_models
from flows.retraining.combined import Collected
from flows.retraining.decision import Decision, Scores, decide
from flows.retraining.heldout import heldout_fingerprints
from flows.retraining.plan import Plan
from flows.retraining.steps import Done, Value, done_once
from ingest.errors import ModelError
from models.checkpoint import read_checkpoint, require_five_classes
from models.registry.inventory import user_and_host
from models.registry.registry import ChampionModel, Provenance, Registry
from outputs.record import code_version

FIGURES = (
    "n_images", "miou", "oil_iou", "f1", "precision", "recall", "object_precision", "object_recall", "object_f1",
    "false_alarms_per_image", "ece",
)  # fmt: skip
_WEIGHTS = ("weights.safetensors", "checkpoint.json")
_CODE = (
    "models/evaluation",
    "models/evaluation/metrics.py",
    "flows/evaluate.py",
    "models/datasets",
    "models/simulator",
)


@dataclass(frozen=True)
class Opponents:
    """The two models of a comparison."""

    champion: str
    champion_folder: Path
    challenger: str
    challenger_folder: Path


def opponents(plan: Plan, student: Done) -> tuple[Opponents, ChampionModel]:
    """Return the champion of the registry, verified, and the new model."""
    champion = Registry(plan.registry).champion()
    return Opponents(champion.id, champion.folder, student.value["id"], student.folder), champion


def compare(plan: Plan, pair: Opponents) -> Done:
    """Evaluate both on the test images of each held-out set; a step that is done once for the same weights."""
    fingerprints = heldout_fingerprints(plan.heldout)
    models = {name: read_checkpoint(str(folder)).weights_sha256 for name, folder in (
        ("champion", pair.champion_folder), ("challenger", pair.challenger_folder)
    )}  # fmt: skip

    def body(folder: Path) -> Value:
        value = {}
        for number, (name, fingerprint) in enumerate(fingerprints.items()):
            both = [str(pair.champion_folder), str(pair.challenger_folder)]
            record = evaluate_models(name, both, out=folder / f"{number}")
            value[name] = {**said_of(record, fingerprint), "tables": f"{number}/table.md",
                           "champion": figures(record["models"][pair.champion]),
                           "challenger": figures(record["models"][pair.challenger])}  # fmt: skip
        return value

    depends_on = {"heldout": fingerprints, **models}
    return done_once(plan.folder, "evaluation", depends_on, _CODE, body)


def said_of(record: Mapping[str, Any], fingerprint: str) -> dict[str, Any]:
    """Return what an evaluation says of its held-out set."""
    dataset = record["dataset"]
    return {
        "sha256": fingerprint, "n_images": dataset["n_images"], "note": dataset["note"],
        "compared_on": list(dataset["compared_on"]),
    }  # fmt: skip


def figures(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores of a model that are kept with it, with their intervals."""
    kept = {name: scores[name] for name in FIGURES}
    return {**kept, "intervals": {name: scores["intervals"].get(name) for name in FIGURES if name != "n_images"}}


def decided(plan: Plan, pair: Opponents, comparison: Done) -> Decision:
    """Say whether the challenger takes the champion's place; one that lacks any of the five classes never does."""
    compared: dict[str, tuple[Scores, Scores]] = {
        name: (one["champion"], one["challenger"]) for name, one in comparison.value.items()
    }
    impossible = None
    try:
        require_five_classes(read_checkpoint(str(pair.challenger_folder)))
    except ModelError as error:
        impossible = f"{error.subject} {error.problem}, and the monitoring needs all five classes"
    return decide(compared, plan.margins, impossible)


def register(plan: Plan, pair: Opponents, data: Collected, comparison: Done, card: str, run: str | None) -> None:
    """Add the challenger to the registry with its card and provenance, whether it is promoted or not."""
    checkpoint = read_checkpoint(str(pair.challenger_folder))
    start = checkpoint.training["options"].get("start")
    provenance = Provenance(
        run=run,
        parent=Path(start).name if start else None,
        code_version=code_version(),
        datasets=data.sources | {"all training pairs": data.sha256},
        metrics=_provenance_figures(comparison, "challenger"),
        champion=pair.champion,
        champion_metrics=_provenance_figures(comparison, "champion"),
    )
    with TemporaryDirectory(prefix=".version-", dir=plan.folder) as folder:
        staged = Path(folder) / checkpoint.id
        staged.mkdir()
        for name in _WEIGHTS:
            shutil.copyfile(pair.challenger_folder / name, staged / name)
        (staged / "README.md").write_text(card, encoding="utf-8")
        Registry(plan.registry).add(staged, provenance)


def _provenance_figures(comparison: Done, model: str) -> dict[str, Any]:
    return {name: {**one[model], "sha256": one["sha256"]} for name, one in comparison.value.items()}


def promote(plan: Plan, pair: Opponents, decision: Decision, run: str | None) -> None:
    """Carry a decision out, and remove what the registry need not keep.

    Raises `ModelError` where another champion came meanwhile: the comparison was not with it.
    """
    registry = Registry(plan.registry)
    if decision.promote:
        now = registry.champion()
        if now.id not in {pair.champion, pair.challenger}:
            problem = f"became the champion while {pair.challenger} was compared with {pair.champion}"
            raise ModelError(now.id, problem, "run the retraining again: all but the comparison is there")
        by = f"retrain-dakd, run {run}" if run else f"retrain-dakd, {user_and_host()}"
        registry.promote(pair.challenger, decision.sentence, by)
    registry.prune(plan.keep)


def plain_decision(decision: Decision) -> dict[str, Any]:
    """Return a decision as JSON."""
    checks = [{**asdict(check), "holds": check.holds} for check in decision.checks]
    return {"promote": decision.promote, "reasons": list(decision.reasons), "checks": checks}
