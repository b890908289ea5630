"""Where each setting comes from, and what an error about it begins with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from flows.settings.environment import DEFAULT_FILE, Keys
from ingest.errors import UsageError


@dataclass(frozen=True)
class Origins:
    """The file with the keys in it, and the variables by the keys that they are for."""

    file: Path | None = None
    in_file: tuple[Keys, ...] = ()
    variables: dict[Keys, str] = field(default_factory=dict)

    def of(self, keys: Keys) -> str:
        """A variable's name, that of the file, or default; keys in a list are where the list is."""
        ways = [keys[:n] for n in range(len(keys), 0, -1)]
        if name := self.variable(keys):
            return name
        return str(self.file) if any(way in self.in_file for way in ways) else "default"

    def variable(self, keys: Keys) -> str | None:
        """The variable that set a key, or the list that it is in."""
        return next((self.variables[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in self.variables), None)

    def refusal(self, keys: Keys, problem: str, remedy: str) -> UsageError:
        """The error about a key, which begins with the variable that set it, else with the file."""
        if name := self.variable(keys):
            return UsageError(name, problem, remedy)
        return UsageError(self.file or DEFAULT_FILE, f"{'.'.join(keys)}: {problem}", remedy)
