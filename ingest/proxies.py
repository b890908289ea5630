"""Proxies and certificates that the environment names: never for this machine itself, and checked before the work."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from ingest.errors import UsageError

_KINDS = ("http", "https", "all")
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE")
_SOCKS = {"socksio": "run pip install 'httpx[socks]'", "socks": "run pip install 'requests[socks]'"}


def without_proxy(*hosts: str) -> dict[str, str]:
    """Variables that keep traffic with this machine and `hosts` from proxies of the environment; empty without any."""
    proxies = _proxies()
    if not any(kind in proxies for kind in _KINDS) or proxies.get("no") == "*":
        return {}
    exempt = [*_THIS_MACHINE, *hosts, *proxies.get("no", "").split(",")]
    if _socks(proxies) and find_spec("socksio") is None:
        exempt.insert(0, "*")  # for httpx, which fails on SOCKS whomever it talks to; other clients ignore it here
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(dict.fromkeys(filter(None, map(str.strip, exempt)))))


def require_usable_proxies(socks_package: str | None = "socksio") -> None:
    """Raise `UsageError` for proxies or certificates of the environment with which no request could succeed.

    `socks_package` is what the client needs for SOCKS: that of httpx, or ``socks`` of requests; empty if it cannot use
    it, None if it only talks to this machine. A proxy is not quoted, as its address may contain a password.
    """
    import httpx

    for name in _CERTIFICATES:
        if path := os.environ.get(name):
            _require_certificates(name, path)
    proxies = _proxies()
    if not proxies or proxies.get("no") == "*":
        return
    if socks_package is not None and (kind := _socks(proxies)) and not (socks_package and find_spec(socks_package)):
        remedy = _SOCKS.get(socks_package, "name an HTTP proxy")
        raise UsageError(f"{kind}_proxy".upper(), "names a SOCKS proxy, which cannot be used", f"{remedy}, or unset it")
    kind, remedy = "", "give it as http://HOST:PORT, or unset it"
    try:
        for kind in filter(proxies.get, _KINDS):
            address = proxies[kind] if "://" in proxies[kind] else f"http://{proxies[kind]}"
            _construct(proxy=address, trust_env=False)
        kind, remedy = "no", "separate hosts with commas and write IPv6 addresses without brackets"
        _construct()
    except (httpx.InvalidURL, ValueError):
        raise UsageError(f"{kind}_proxy".upper(), "is malformed", remedy) from None


def _construct(**options: Any) -> None:
    import httpx

    with suppress(ImportError):  # SOCKS without its package, which matters to some clients only
        httpx.Client(verify=False, **options).close()


def _proxies() -> dict[str, str]:
    """Addresses by kind; `no` lists the hosts exempted."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return {}
    from urllib.request import getproxies_environment  # takes long to import

    return getproxies_environment()


def _socks(proxies: dict[str, str]) -> str | None:
    """The first kind that is a SOCKS proxy."""
    return next((kind for kind in _KINDS if proxies.get(kind, "").lower().startswith("socks")), None)


def _require_certificates(name: str, path: str) -> None:
    try:
        os.stat(path)
        if os.path.isfile(path):
            ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise UsageError(name, f"{path} contains no certificates", "correct it, or unset it") from error
    except OSError as error:
        raise UsageError(name, f"{path} cannot be read ({error.strerror})", "correct it, or unset it") from error
