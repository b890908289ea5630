"""Where each setting comes from: file, environment variable or default."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from flows.settings.environment import DEFAULT_FILE, Keys
from ingest.errors import UsageError


@dataclass(frozen=True)
class Provenance:
    """The settings file with the keys it sets, and the environment variables by the keys they set."""

    file: Path | None = None
    in_file: tuple[Keys, ...] = ()
    variables: dict[Keys, str] = field(default_factory=dict)

    def of(self, keys: Keys) -> str:
        """The name of the variable or the file that sets a key, else "default"; list items count as their list."""
        if name := self.variable(keys):
            return name
        return str(self.file) if any(one in self.in_file for one in _with_parents(keys)) else "default"

    def variable(self, keys: Keys) -> str | None:
        """The variable that sets a key, or the list that contains it."""
        return next((self.variables[one] for one in _with_parents(keys) if one in self.variables), None)

    def error(self, keys: Keys, problem: str, remedy: str) -> UsageError:
        """An error about a key; its subject is the variable that sets it, else the file."""
        if name := self.variable(keys):
            return UsageError(name, problem, remedy)
        return UsageError(self.file or DEFAULT_FILE, f"{'.'.join(keys)}: {problem}", remedy)


def _with_parents(keys: Keys) -> list[Keys]:
    return [keys[:n] for n in range(len(keys), 0, -1)]
