"""The time a retraining may take, shared among its steps: what one leaves over, the next ones have."""

from __future__ import annotations

import time

from ingest.errors import SlickwatchError
from ingest.progress import Advance

# Of what is left when a step begins: synthesis and SAROSS-Net share what SAR-JointNet leaves, evaluation has the rest.
JOINTNET, SYNTHESIS, STUDENT = 0.6, 0.4, 0.9


class OutOfTime(SlickwatchError):
    """A step used up its share; all it saved is there for the next run."""

    def __init__(self, step: str, hours: float, done: str) -> None:
        remedy = "run it again to go on from there, or raise retraining.budget.hours"
        super().__init__(f"retraining, {step}", f"its {hours:.2f} hours are over at {done}", remedy)


class Clock:
    """Counts down from when it is made."""

    def __init__(self, hours: float) -> None:
        self._until = time.monotonic() + hours * 3600

    def share(self, fraction: float) -> float:
        """Return the hours that a step may take which has this fraction of what is left."""
        return max(0.0, (self._until - time.monotonic()) / 3600) * fraction


def ends_after(hours: float, step: str, advance: Advance) -> Advance:
    """Pass on (units done, units in all) to `advance`, and raise `OutOfTime` once the hours are over."""
    until = time.monotonic() + hours * 3600

    def progress(done: int, total: int) -> None:
        advance(done, total)
        if done < total and time.monotonic() > until:
            raise OutOfTime(step, hours, f"{done} of {total}")

    return progress
