"""When a failure that may pass is tried again: exponential back-off with full jitter, and an end to it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import tenacity

from ingest.sources.source import TransientError

Sleep = Callable[[float], None]


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long; waits are drawn from 0 to `first_wait` x 2^n seconds, at most `longest_wait`."""

    attempts: int = 8
    seconds: float = 2 * 3600.0  # from the first attempt to the start of the last
    first_wait: float = 1.0
    longest_wait: float = 120.0


def retrying(policy: RetryPolicy, sleep: Sleep) -> tenacity.Retrying:
    """Attempts that are repeated for `TransientError` alone, and raise the last one in the end.

    A server's Retry-After is the least that is waited; where it would lead beyond `seconds`, there is no further
    attempt (AWS Architecture Blog, "Exponential Backoff And Jitter", full jitter).
    """
    return tenacity.Retrying(
        sleep=sleep,
        retry=tenacity.retry_if_exception_type(TransientError),
        stop=tenacity.stop_after_attempt(policy.attempts) | tenacity.stop_before_delay(policy.seconds),
        wait=_Wait(policy),
        reraise=True,
    )


def sleep_until(stop: threading.Event) -> Sleep:
    """Sleep that an event ends early."""
    return tenacity.sleep_using_event(stop)


class _Wait(tenacity.wait.wait_base):
    def __init__(self, policy: RetryPolicy) -> None:
        self.back_off = tenacity.wait_random_exponential(multiplier=policy.first_wait, max=policy.longest_wait)

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        failure = retry_state.outcome.exception() if retry_state.outcome else None
        asked = failure.retry_after if isinstance(failure, TransientError) else None
        # The jitter is on top of it, or all who were refused together would come back together.
        return self.back_off(retry_state) + max(0.0, asked or 0.0)
