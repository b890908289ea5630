"""Whether a challenger replaces the champion: three scores on each held-out set, each within its margin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

Scores = Mapping[str, float | None]  # by name; null where undefined


@dataclass(frozen=True)
class Margins:
    """How much worse the challenger may be."""

    miou: float = 0.01  # lower
    object_f1: float = 0.02  # lower
    false_alarms: float = 0.1  # more per image


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
