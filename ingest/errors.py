"""Errors that a user can understand and act on, each with its exit code on the command line."""

from __future__ import annotations

from pathlib import Path


class SlickwatchError(Exception):
    """A known failure: its subject, the problem, and what to do.

    Renders as the one line that the command line prints on stderr:
    ``<subject>: <problem>; <remedy>``.
    """

    exit_code = 1

    def __init__(self, subject: str | Path, problem: str, remedy: str) -> None:
        super().__init__(subject, problem, remedy)
        self.subject, self.problem, self.remedy = str(subject), problem, remedy

    def __str__(self) -> str:
        # Names of files and of products may contain line breaks.
        return " ".join(f"{self.subject}: {self.problem}; {self.remedy}".splitlines())


class UsageError(SlickwatchError):
    """Wrong usage or settings, such as a polarisation the product does not have."""

    exit_code = 2


class UnreadableInput(SlickwatchError):
    """An input that is damaged, incomplete or of an unsupported kind."""

    exit_code = 3


class SourceError(SlickwatchError):
    """A remote source, the network or credentials failed."""

    exit_code = 4


class StorageError(SlickwatchError):
    """No space or no permission to write a result."""

    exit_code = 5


class ModelError(SlickwatchError):
    """A checkpoint that is missing, damaged or of an unknown architecture."""

    exit_code = 6


class TransientError(Exception):
    """A failure that a retry may fix: HTTP 429 or 5xx, a time-out, a lost connection. `retry_after` is in seconds."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
