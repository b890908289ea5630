"""Whether a challenger replaces the champion, by three scores on each held-out set, and its entry in the registry."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ingest.errors import ModelError
from models.checkpoint import read_checkpoint, require_five_classes
from models.registry.records import CARD, CHECKPOINT, WEIGHTS, Provenance
from models.registry.registry import Registry
from models.retraining.margins import Margins
from models.retraining.steps import TrainingData

Scores = Mapping[str, float | None]  # by name; null where undefined


@dataclass(frozen=True)
class Criterion:
    """A score that decides: its name in an evaluation, its label, and whether higher is better."""

    score: str
    label: str
    margin: str  # field of `Margins`
    higher_is_better: bool


CRITERIA = (
    Criterion("miou", "mIoU", "miou", higher_is_better=True),
    Criterion("object_f1", "object F1", "object_f1", higher_is_better=True),
    Criterion("false_alarms_per_image", "false alarms per image", "false_alarms", higher_is_better=False),
)


@dataclass(frozen=True)
class Check:
    """One score of two models on one held-out set."""

    dataset: str
    score: str
    words: str
    champion: float | None
    challenger: float | None
    margin: float
    worse_by: float | None  # of the challenger; null where a score is undefined

    @property
    def holds(self) -> bool:
        """Whether the challenger is known to be within the margin."""
        return self.worse_by is not None and self.worse_by <= self.margin

    @property
    def reason(self) -> str:
        """The check in words."""
        scores = f"{self.dataset}: {self.words} {_text(self.challenger)}, champion {_text(self.champion)}"
        if self.worse_by is None:
            return f"{scores}: not comparable"
        if self.worse_by <= 0:
            return f"{scores}: no worse"
        within = "within" if self.holds else "beyond"
        return f"{scores}: worse by {self.worse_by:.4f}, {within} the margin of {self.margin:g}"

    def as_dict(self) -> dict[str, Any]:
        """The check as plain JSON."""
        return {**asdict(self), "holds": self.holds}


@dataclass(frozen=True)
class Decision:
    """Whether to promote the challenger, and why."""

    promote: bool
    reasons: tuple[str, ...]  # against a promotion where there are any, else for it
    checks: tuple[Check, ...]

    @property
    def sentence(self) -> str:
        """The decision in one line, for the journal."""
        verdict = "replaces the champion" if self.promote else "the champion stays"
        return f"{verdict}: {'; '.join(self.reasons)}"

    def as_dict(self) -> dict[str, Any]:
        """The decision as plain JSON."""
        checks = [check.as_dict() for check in self.checks]
        return {"promote": self.promote, "reasons": list(self.reasons), "checks": checks}


def decide(compared: Mapping[str, tuple[Scores, Scores]], margins: Margins, obstacle: str | None = None) -> Decision:
    """Decide on a promotion; `compared` has the scores of (champion, challenger) by held-out set.

    A challenger is promoted only where all criteria hold on every set and there is no `obstacle`, such as missing
    classes.
    """
    checks = check_scores(compared, margins)
    against = [] if obstacle is None else [obstacle]
    against += [check.reason for check in checks if not check.holds]
    if not checks:
        against.append("no held-out set to compare them on")
    return Decision(not against, tuple(against) or tuple(check.reason for check in checks), checks)


def check_scores(compared: Mapping[str, tuple[Scores, Scores]], margins: Margins) -> tuple[Check, ...]:
    """Return the three checks of each held-out set."""
    return tuple(
        _check(dataset, criterion, champion, challenger, margins)
        for dataset, (champion, challenger) in compared.items()
        for criterion in CRITERIA
    )


def _check(dataset: str, criterion: Criterion, champion: Scores, challenger: Scores, margins: Margins) -> Check:
    before, now = champion.get(criterion.score), challenger.get(criterion.score)
    worse_by = None
    if before is not None and now is not None:
        difference = before - now if criterion.higher_is_better else now - before
        # Scores have six digits; the rounding error of a subtraction must not decide.
        worse_by = None if difference != difference else round(difference, 6)
    margin = getattr(margins, criterion.margin)
    return Check(dataset, criterion.score, criterion.label, before, now, margin, worse_by)


def _text(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


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
