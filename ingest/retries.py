"""Retries of transient failures: exponential back-off, and when to give up."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import tenacity

from ingest.errors import TransientError

Sleep = Callable[[float], None]


@dataclass(frozen=True)
class RetryPolicy:
    """How often to try, and how many seconds to wait in between: `first_wait`, doubled after each failure."""

    attempts: int = 8
    seconds: float = 2 * 3600.0  # from the first attempt to the start of the last
    first_wait: float = 1.0
    longest_wait: float = 120.0

    def wait(self, failures: int) -> float:
        """Return the seconds to wait after a number of failures, 1 or more."""
        return min(self.longest_wait, self.first_wait * 2.0 ** min(failures - 1, 60))


def retrying(policy: RetryPolicy, sleep: Sleep) -> tenacity.Retrying:
    """Iterate over attempts until one does not raise `TransientError`; after the last, its error is raised.

    Each wait is drawn from 0 to `policy.wait` (full jitter; AWS Architecture Blog, "Exponential Backoff And Jitter"),
    plus the server's Retry-After. No attempt begins after `policy.seconds`.
    """
    return tenacity.Retrying(
        sleep=sleep,
        retry=tenacity.retry_if_exception_type(TransientError),
        stop=tenacity.stop_after_attempt(policy.attempts) | tenacity.stop_before_delay(policy.seconds),
        wait=partial(_wait, policy),
        reraise=True,
    )


def _wait(policy: RetryPolicy, state: tenacity.RetryCallState) -> float:
    failure = state.outcome.exception() if state.outcome else None
    asked = failure.retry_after if isinstance(failure, TransientError) else None
    # The jitter is added, or all clients refused together would return together.
    return random.uniform(0.0, policy.wait(state.attempt_number)) + max(0.0, asked or 0.0)
