"""Prefect's API over HTTP, as far as it is needed here: its own client takes seconds to import."""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import Any

import httpx

from ingest.errors import SourceError

_BUSY = {429, 502, 503}  # 503 is also what a server says whose SQLite is locked; nothing was done then
_WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)  # s


class Refused(SourceError):
    """A server that is up does not want what it is asked for."""


class Api:
    """A connection to a server; methods raise `SourceError` where it does not answer or refuses."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        self.url = url
        secret = os.environ.get("PREFECT_API_AUTH_STRING")
        auth = httpx.BasicAuth(*secret.split(":", 1)) if secret and ":" in secret else None
        # A proxy for the outside has no business between two processes of one machine.
        self._client = httpx.Client(base_url=url, timeout=timeout, trust_env=False, auth=auth)

    def __enter__(self) -> Api:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def is_up(self) -> bool:
        """Whether a Prefect server answers."""
        try:
            answer = self._client.get("/health")
            return answer.status_code == 200 and answer.json() is True
        except (httpx.HTTPError, ValueError):
            return False

    def get(self, path: str) -> Any:
        """What is at a path; None where there is nothing."""
        return self._call("GET", path)

    def post(self, path: str, **content: Any) -> Any:
        """Make or ask for something."""
        return self._call("POST", path, content)

    def patch(self, path: str, **content: Any) -> None:
        """Change something."""
        self._call("PATCH", path, content)

    def delete(self, path: str) -> None:
        """Remove something."""
        self._call("DELETE", path)

    def _call(self, method: str, path: str, content: Any = None) -> Any:
        try:
            answer = self._client.request(method, path, json=content)
            for wait in _WAITS:
                if answer.status_code not in _BUSY:
                    break
                time.sleep(wait)
                answer = self._client.request(method, path, json=content)
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            raise SourceError(self.url, f"no Prefect server answers ({said})", "start it: slickwatch up") from error
        if answer.status_code == 404 and method == "GET":
            return None
        if not answer.is_success:
            problem = f"{method} {path} was refused with {answer.status_code} ({answer.text[:200]})"
            raise Refused(self.url, problem, "see the server's log")
        return answer.json() if answer.content else None
