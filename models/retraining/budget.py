"""The time budget of a retraining, shared among its steps; time that a step leaves over goes to the next ones."""

from __future__ import annotations

import time

from ingest.errors import SlickwatchError
from ingest.progress import Advance

# Fractions of the time left when a step begins; the comparison of models has the rest.
JOINTNET, SYNTHESIS, STUDENT = 0.6, 0.4, 0.9


class OutOfTime(SlickwatchError):
    """A step used up its time; the next run continues from its saved state."""

    def __init__(self, step: str, hours: float, done: str) -> None:
        remedy = "run it again to continue, or raise retraining.budget.hours"
        super().__init__(f"retraining, {step}", f"its {hours:.2f} hours are used up at {done}", remedy)


class Clock:
    """Counts down from its creation."""

    def __init__(self, hours: float) -> None:
        self._until = time.monotonic() + hours * 3600

    def share(self, fraction: float) -> float:
        """Return this fraction of the time left, in hours."""
        return max(0.0, (self._until - time.monotonic()) / 3600) * fraction


def time_limit(hours: float, step: str, advance: Advance) -> Advance:
    """Pass (units done, units in all) on to `advance`, and raise `OutOfTime` once the hours are used up."""
    until = time.monotonic() + hours * 3600

    def progress(done: int, total: int) -> None:
        advance(done, total)
        if done < total and time.monotonic() > until:
            raise OutOfTime(step, hours, f"{done} of {total}")

    return progress
