"""Whether a challenger takes the champion's place: three scores on each held-out set, each within its margin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Scores = Mapping[str, float | None]  # by name; null where there is nothing to divide by


@dataclass(frozen=True)
class Margins:
    """By how much the challenger may be worse."""

    miou: float = 0.01  # lower
    object_f1: float = 0.02  # lower
    false_alarms: float = 0.1  # more per image


@dataclass(frozen=True)
class Held:
    """A score that must hold: its name in an evaluation, in words, and whether more of it is better."""

    name: str
    words: str
    margin: str  # field of `Margins`
    more_is_better: bool


HELD = (
    Held("miou", "mIoU", "miou", more_is_better=True),
    Held("object_f1", "object F1", "object_f1", more_is_better=True),
    Held("false_alarms_per_image", "false alarms per image", "false_alarms", more_is_better=False),
)


@dataclass(frozen=True)
class Check:
    """One score of one held-out set, of two models."""

    dataset: str
    score: str
    words: str
    champion: float | None
    challenger: float | None
    margin: float
    worse_by: float | None  # of the challenger; null where it cannot be said

    @property
    def holds(self) -> bool:
        """Whether the challenger is known to be worse by no more than the margin."""
        return self.worse_by is not None and self.worse_by <= self.margin

    @property
    def reason(self) -> str:
        """The check in words."""
        said = f"{self.dataset}: {self.words} {_said(self.challenger)}, the champion's {_said(self.champion)}"
        if self.worse_by is None:
            return f"{said}: they cannot be compared"
        if self.worse_by <= 0:
            return f"{said}: no worse"
        within = "within" if self.holds else "beyond"
        return f"{said}: worse by {self.worse_by:.4f}, {within} the margin of {self.margin:g}"


@dataclass(frozen=True)
class Decision:
    """What is to be done, and why."""

    promote: bool
    reasons: tuple[str, ...]  # against a promotion where there are any, else for it
    checks: tuple[Check, ...]

    @property
    def sentence(self) -> str:
        """The decision in one line, for the journal."""
        verdict = "takes the champion's place" if self.promote else "the champion stays"
        return f"{verdict}: {'; '.join(self.reasons)}"


def decide(compared: Mapping[str, tuple[Scores, Scores]], margins: Margins, impossible: str | None = None) -> Decision:
    """Hold a challenger to the champion; `compared` has the scores of (champion, challenger) by held-out set.

    It is promoted only where all three scores hold on every set, and nothing makes it `impossible`, such as classes
    that it does not tell apart.
    """
    checks = checked(compared, margins)
    against = [] if impossible is None else [impossible]
    against += [check.reason for check in checks if not check.holds]
    if not checks:
        against.append("there is nothing to compare them on")
    return Decision(not against, tuple(against) or tuple(check.reason for check in checks), checks)


def checked(compared: Mapping[str, tuple[Scores, Scores]], margins: Margins) -> tuple[Check, ...]:
    """Return the three checks of each held-out set."""
    return tuple(
        _check(dataset, held, champion.get(held.name), challenger.get(held.name), getattr(margins, held.margin))
        for dataset, (champion, challenger) in compared.items()
        for held in HELD
    )


def _check(dataset: str, held: Held, champion: float | None, challenger: float | None, margin: float) -> Check:
    worse_by = None
    if champion is not None and challenger is not None:
        difference = champion - challenger if held.more_is_better else challenger - champion
        # Scores have six digits; what a subtraction adds beyond them must not decide.
        worse_by = None if difference != difference else round(difference, 6)
    return Check(dataset, held.name, held.words, champion, challenger, margin, worse_by)


def _said(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
