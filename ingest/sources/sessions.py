"""Sessions of requests, as pystac-client and sentinelsat open them, kept from sending credentials of `.netrc`."""

from __future__ import annotations

from functools import partial

import requests


def ignore_netrc(session: requests.Session) -> None:
    """Send no login but the session's own, and that to no other host than asked for.

    By itself requests sends what `.netrc` has for a host, or for any host in its entry `default`, over plain HTTP too,
    and again after each redirect.
    """
    session.auth = session.auth or _no_login
    session.rebuild_auth = partial(_after_redirect, session)  # type: ignore[method-assign]


def _no_login(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _after_redirect(session: requests.Session, request: requests.PreparedRequest, response: requests.Response) -> None:
    if session.should_strip_auth(str(response.request.url), str(request.url)):
        request.headers.pop("Authorization", None)
