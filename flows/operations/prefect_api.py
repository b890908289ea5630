"""A minimal client of Prefect's REST API: importing Prefect's own takes seconds."""

from __future__ import annotations

import os
import time
from typing import Any

import httpx

from ingest.errors import SourceError

_BUSY = {429, 502, 503}  # 503 also means a locked SQLite database; the request had no effect
_WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)  # s


class RequestRefused(SourceError):
    """The server answered with an error."""


class Api:
    """A connection to a server; methods raise `SourceError` if it does not answer or refuses the request."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        self.url = url
        secret = os.environ.get("PREFECT_API_AUTH_STRING")
        auth = httpx.BasicAuth(*secret.split(":", 1)) if secret and ":" in secret else None
        # trust_env=False: proxies from the environment do not apply to services of one installation.
        self._client = httpx.Client(base_url=url, timeout=timeout, trust_env=False, auth=auth)

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def is_up(self) -> bool:
        """Whether a Prefect server answers."""
        try:
            answer = self._client.get("/health")
            return answer.status_code == 200 and answer.json() is True
        except (httpx.HTTPError, ValueError):
            return False

    def get(self, path: str) -> Any:
        """GET; None for 404."""
        return self._request("GET", path)

    def post(self, path: str, **content: Any) -> Any:
        """POST with a JSON body."""
        return self._request("POST", path, content)

    def patch(self, path: str, **content: Any) -> None:
        """PATCH with a JSON body."""
        self._request("PATCH", path, content)

    def delete(self, path: str) -> None:
        """DELETE."""
        self._request("DELETE", path)

    def _request(self, method: str, path: str, content: Any = None) -> Any:
        try:
            answer = self._client.request(method, path, json=content)
            for wait in _WAITS:
                if answer.status_code not in _BUSY:
                    break
                time.sleep(wait)
                answer = self._client.request(method, path, json=content)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise SourceError(self.url, f"no Prefect server answers ({reason})", "start it: slickwatch up") from error
        if answer.status_code == 404 and method == "GET":
            return None
        if not answer.is_success:
            problem = f"{method} {path} failed with status {answer.status_code} ({answer.text[:200]})"
            raise RequestRefused(self.url, problem, "see the server log")
        return answer.json() if answer.content else None
