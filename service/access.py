"""Who may use the service: tokens with scopes, hosts that requests may name, limits, and headers of every answer."""

from __future__ import annotations

import base64
import binascii
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest.errors import SlickwatchError
from service.problems import Problem, problem_response
from service.tokens import Token, TokenFile

LARGEST_BODY = 64 * 1024  # bytes
_MOST_CLIENTS = 10_000  # whose requests are counted at a time
_SECURITY = {
    # Everything that a page needs comes from the service itself.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "worker-src 'self'; font-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), camera=(), microphone=()",
}


@dataclass(frozen=True)
class Access:
    """Who may read without a token, and the tokens."""

    tokens: TokenFile | None = None
    open: bool = True  # reading needs no token

    def require(self, headers: Headers, scope: str) -> Token | None:
        """The token of a request; None where it needs none. Raises `Problem`: 401, or 403 for want of the scope."""
        given = _presented(headers)
        if given is None:
            if scope == "read" and self.open:
                return None
            raise _unauthorised("A token is needed.")
        token = None if self.tokens is None else self.tokens.find(given)
        if token is None:
            raise _unauthorised("The token is not valid.")
        if not token.allows(scope):
            raise Problem(403, f"The token does not have the scope {scope}.")
        return token


def _presented(headers: Headers) -> str | None:
    """The token of the header Authorization: Bearer, or Basic as its password, which browsers and QGIS ask for."""
    header = headers.get("authorization")
    if header is None:
        return None
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if scheme.lower() == "basic":
        try:
            _, divider, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            divider = ""
        if divider:
            return password
    raise _unauthorised("The header Authorization is malformed.")


def _unauthorised(detail: str) -> Problem:
    return Problem(401, detail, {"WWW-Authenticate": 'Basic realm="Slickwatch, token as password", charset="UTF-8"'})


@dataclass
class Rate:
    """Requests of each client, of which each may make so many a minute, in bursts up to as many."""

    per_minute: int
    clock: Callable[[], float] = time.monotonic
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)  # requests left, at a time

    def wait(self, client: str) -> float:
        """Count a request; returns the seconds that the client must wait, 0 where it may go on."""
        now = self.clock()
        if len(self._left) >= _MOST_CLIENTS:
            full = self.per_minute - 1
            self._left = {one: at for one, at in self._left.items() if self._now(at, now) < full}
        left = self._now(self._left.get(client, (float(self.per_minute), now)), now)
        if left < 1:
            return (1 - left) * 60 / self.per_minute
        self._left[client] = left - 1, now
        return 0.0

    def _now(self, entry: tuple[float, float], now: float) -> float:
        left, at = entry
        return min(float(self.per_minute), left + (now - at) * self.per_minute / 60)


class Guard:
    """Middleware: refuses requests by host, rate, size and token; every answer gets the security headers."""

    def __init__(self, app: ASGIApp, access: Access, rate: Rate, hosts: frozenset[str] | None) -> None:
        self._app, self._access, self._rate, self._hosts = app, access, rate, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-cache" if self._access.open else "private, no-cache")
                headers.add_vary_header("Accept, Authorization")
            await send(message)

        try:
            self._admit(Request(scope))
        except Problem as refused:
            await problem_response(refused.status, refused.detail, refused.headers)(scope, receive, send_guarded)
            return
        except SlickwatchError as error:
            print(f"slickwatch: {error}", file=sys.stderr, flush=True)
            await problem_response(503, "The tokens cannot be read.")(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _admit(self, request: Request) -> None:
        """Raise `Problem` for a request that is not let in."""
        if self._hosts is not None and _host(request.headers.get("host", "")) not in self._hosts:
            # A page elsewhere whose name was made to point here must not read the catalogue in somebody's browser.
            raise Problem(400, "The service is not known by this host name.")
        wait = self._rate.wait(request.client.host if request.client else "")
        if wait > 0:
            raise Problem(429, "Too many requests.", {"Retry-After": str(int(wait) + 1)})
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:18]) > LARGEST_BODY or "transfer-encoding" in request.headers:
            raise Problem(413, f"A body has at most {LARGEST_BODY} bytes, and says how many.")
        self._access.require(request.headers, "read")


def _host(header: str) -> str:
    """The host of a header Host, without its port."""
    host = header.rpartition("]")[0] + "]" if header.startswith("[") else header.partition(":")[0]
    return host.strip("[]").lower()
