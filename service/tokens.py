"""Tokens: made, kept as hashes in a file, found again, revoked.

A token is 32 random bytes, which nobody can guess; a plain SHA-256 of it is enough, since the salts and slow hashes
of passwords only protect what could be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingest.errors import UnreadableInput, UsageError
from ingest.files import storage_errors, whole_file
from ingest.locks import hold_lock

SCOPES = ("read", "review", "admin")  # each allows what those before it allow
_PREFIX = "slw_"


@dataclass(frozen=True)
class Token:
    """A token as kept: never the token itself, only its SHA-256."""

    name: str
    scope: str
    sha256: str
    created_at: str  # UTC

    def allows(self, scope: str) -> bool:
        """Whether it has a scope."""
        return SCOPES.index(scope) <= SCOPES.index(self.scope)


@dataclass(frozen=True)
class TokenFile:
    """The file of the tokens, readable by its owner only; a missing one has none. Changes count at once.

    Every method raises `StorageError` where the file cannot be read or written, `UnreadableInput` where it is damaged.
    """

    path: Path

    def list(self) -> Sequence[Token]:
        """All tokens, oldest first."""
        if not self.path.exists():
            return ()
        with storage_errors(self.path, "read"):
            content = self.path.read_bytes()
        try:
            tokens = [Token(**entry) for entry in json.loads(content)["tokens"]]
        except (ValueError, TypeError, KeyError) as error:
            raise UnreadableInput(self.path, "not a file of tokens", "restore it, or remove it and add anew") from error
        if any(token.scope not in SCOPES for token in tokens):
            raise UnreadableInput(self.path, "has an unknown scope", f"use {', '.join(SCOPES)}")
        return tokens

    def add(self, name: str, scope: str, now: datetime | None = None) -> str:
        """Make a token; returns it, this once. Raises `UsageError` for a name that is taken, or an unknown scope."""
        if scope not in SCOPES:
            raise UsageError(scope, "unknown scope", f"use {', '.join(SCOPES)}")
        if not name.strip() or not name.isprintable():
            raise UsageError(repr(name), "not a name", "name who will use the token")
        token = _PREFIX + secrets.token_urlsafe(32)
        made = Token(name, scope, _hashed(token), f"{now or datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
        with self._changing():
            tokens = self.list()
            if any(one.name == name for one in tokens):
                raise UsageError(name, "there is a token of this name", "revoke it first, or choose another name")
            self._write([*tokens, made])
        return token

    def revoke(self, name: str) -> None:
        """Remove a token. Raises `UsageError` for an unknown name."""
        with self._changing():
            tokens = self.list()
            kept = [one for one in tokens if one.name != name]
            if len(kept) == len(tokens):
                raise UsageError(name, "no such token", "see slickwatch tokens list")
            self._write(kept)

    def find(self, token: str) -> Token | None:
        """The token, if it is one of ours; takes the same time wherever it differs."""
        sha256, found = _hashed(token), None
        for one in self.list():
            if hmac.compare_digest(one.sha256, sha256):
                found = one
        return found

    @contextmanager
    def _changing(self) -> Iterator[None]:
        lock = self.path.with_name(f".{self.path.name}.lock")
        with storage_errors(lock):
            lock.parent.mkdir(parents=True, exist_ok=True)
            with hold_lock(lock):
                yield

    def _write(self, tokens: Sequence[Token]) -> None:
        content: dict[str, Any] = {"tokens": [asdict(one) for one in tokens]}
        with whole_file(self.path) as hidden:
            hidden.touch(0o600)
            hidden.write_text(json.dumps(content, indent=2) + "\n")


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
