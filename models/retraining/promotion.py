"""What a comparison leads to in the registry: the decision, the new version, the promotion."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ingest.errors import ModelError
from models.checkpoint import read_checkpoint, require_five_classes
from models.registry.records import CARD, CHECKPOINT, WEIGHTS, Provenance
from models.registry.registry import Registry
from models.retraining.decision import Decision, Margins, Scores, decide
from models.retraining.records import TrainingData

HeldOut = Mapping[str, Any]  # scores of champion and challenger, as `heldout_record` and `kept_scores` give, by set


@dataclass(frozen=True)
class Opponents:
    """The two models of a comparison."""

    champion: str
    champion_folder: Path
    challenger: str
    challenger_folder: Path


def decide_promotion(heldout: HeldOut, challenger: Path, margins: Margins) -> Decision:
    """Decide whether the challenger replaces the champion; one that lacks any of the five classes never does."""
    compared: dict[str, tuple[Scores, Scores]] = {
        name: (one["champion"], one["challenger"]) for name, one in heldout.items()
    }
    obstacle = None
    try:
        require_five_classes(read_checkpoint(str(challenger)))
    except ModelError as error:
        obstacle = f"{error.subject} {error.problem}, and monitoring needs all five classes"
    return decide(compared, margins, obstacle)


def register_challenger(
    registry: Path,
    opponents: Opponents,
    data: TrainingData,
    heldout: HeldOut,
    card: str,
    *,
    run: str | None,
    code_version: str | None,
    scratch: Path,
) -> None:
    """Add the challenger to the registry with its model card and provenance, promoted or not; `scratch`: a folder."""
    checkpoint = read_checkpoint(str(opponents.challenger_folder))
    start = checkpoint.training["options"].get("start")
    provenance = Provenance(
        run=run,
        parent=Path(start).name if start else None,
        code_version=code_version,
        datasets=data.sources | {"all training pairs": data.sha256},
        metrics=_metrics(heldout, "challenger"),
        champion=opponents.champion,
        champion_metrics=_metrics(heldout, "champion"),
    )
    with TemporaryDirectory(prefix=".version-", dir=scratch) as folder:
        staged = Path(folder) / checkpoint.id
        staged.mkdir()
        for name in (WEIGHTS, CHECKPOINT):
            shutil.copyfile(opponents.challenger_folder / name, staged / name)
        (staged / CARD).write_text(card, encoding="utf-8")
        Registry(registry).add(staged, provenance)


def promote_challenger(registry: Path, opponents: Opponents, reason: str, by: str) -> None:
    """Make the challenger the champion.

    Raises `ModelError` where the champion changed since: the comparison was with another one.
    """
    models = Registry(registry)
    champion = models.champion()
    if champion.id not in {opponents.champion, opponents.challenger}:
        problem = f"became the champion while {opponents.challenger} was compared with {opponents.champion}"
        raise ModelError(champion.id, problem, "run the retraining again; only the comparison is repeated")
    models.promote(opponents.challenger, reason, by)


def _metrics(heldout: HeldOut, model: str) -> dict[str, Any]:
    return {name: {**one[model], "sha256": one["sha256"]} for name, one in heldout.items()}
