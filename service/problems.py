"""Failures as problem documents (RFC 9457): what went wrong, never where on this machine."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ingest.errors import SlickwatchError

_RETRY_AFTER_S = 5


class Problem(Exception):
    """A request that is refused, with the reason as a sentence."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


def problem_response(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A problem as application/problem+json."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(content, status, dict(headers or {}), media_type="application/problem+json")


def unavailable(error: SlickwatchError | TimeoutError) -> Response:
    """Why the catalogue cannot be read now, without its path."""
    if isinstance(error, TimeoutError):
        detail = "The search takes too long; narrow bbox, datetime or filter."
    else:
        detail = f"The catalogue is not available: {error.problem}."
    return problem_response(503, detail, {"Retry-After": str(_RETRY_AFTER_S)})


def _of_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error.status, error.detail, error.headers)


def _of_unavailable(request: Request, error: Exception) -> Response:
    assert isinstance(error, SlickwatchError | TimeoutError)
    print(f"slickwatch: {error}", file=sys.stderr, flush=True)
    return unavailable(error)


def _of_routing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    details = {404: "There is nothing at this address.", 405: "This address takes no such request."}
    return problem_response(error.status_code, details.get(error.status_code, str(error.detail)), error.headers)


def _of_fault(request: Request, error: Exception) -> Response:
    traceback.print_exception(error)
    return problem_response(500, "An unexpected failure; the service's log has more.")


HANDLERS: dict[type[Exception], Callable[[Request, Exception], Response | Awaitable[Response]]] = {
    Problem: _of_problem,
    SlickwatchError: _of_unavailable,
    TimeoutError: _of_unavailable,
    HTTPException: _of_routing,
    Exception: _of_fault,
}
