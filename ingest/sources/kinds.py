"""Sources of scenes by name; a new one takes a file with a `SceneSource` and a line in `SOURCES`.

An opener's parameters are the source's options. A source's dependencies are imported when it is opened.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.errors import SourceError, UsageError
from ingest.sources.source import SceneSource

if TYPE_CHECKING:
    from pydantic import SecretStr


def _inbox(folder: str | Path, settle: float = 10.0, name: str = "inbox") -> SceneSource:
    from ingest.sources.inbox import Inbox

    return Inbox(Path(os.path.expanduser(folder)), settle=float(settle), name=name)


def _cdse(
    catalogue_url: str | None = None,
    download_url: str | None = None,
    token_url: str | None = None,
    service_domain: str | None = None,
) -> SceneSource:
    from ingest.sources.cdse import CopernicusDataSpace

    return CopernicusDataSpace(
        **_given(
            catalogue_url=catalogue_url, download_url=download_url, token_url=token_url, service_domain=service_domain
        )
    )


def _eodata(catalogue_url: str | None = None, endpoint_url: str | None = None) -> SceneSource:
    from ingest.sources.eodata import EodataStore

    return EodataStore(**_given(catalogue_url=catalogue_url, endpoint_url=endpoint_url))


def _stac(
    url: str,
    collection: str,
    published_property: str | None = None,
    token_variable: str | None = None,
    trusted_hosts: str | list[str] = "",
    lateness_days: float = 30.0,
    name: str = "stac",
) -> SceneSource:
    from ingest.sources.stac import StacCatalogue

    return StacCatalogue(
        url,
        collection,
        published_property=published_property,
        authorization=None if token_variable is None else _bearer(token_variable),
        trusted_hosts=trusted_hosts.replace(",", " ").split() if isinstance(trusted_hosts, str) else trusted_hosts,
        lateness=timedelta(days=float(lateness_days)),
        name=name,
    )


def _dhus(api_url: str, name: str = "dhus") -> SceneSource:
    from ingest.credentials import find_credentials
    from ingest.sources.dhus import DhusNode
    from ingest.sources.http import base_address

    return DhusNode(api_url, find_credentials("dhus", machine=base_address(api_url).host), name=name)


SOURCES: dict[str, Callable[..., SceneSource]] = {
    "inbox": _inbox,
    "cdse": _cdse,
    "eodata": _eodata,
    "stac": _stac,
    "dhus": _dhus,
}


def open_source(kind: str, options: Mapping[str, Any] | None = None) -> SceneSource:
    """Open one of `SOURCES` with its options, numbers as numbers or strings.

    Raises `UsageError` for an invalid kind, option or number and for a missing option, `SourceError` if credentials
    are missing. Sends no request to the service.
    """
    options = options or {}
    if kind not in SOURCES:
        raise UsageError(kind, "unknown source", f"choose one of {', '.join(SOURCES)}")
    parameters = inspect.signature(SOURCES[kind]).parameters
    for option in options:
        if option not in parameters:
            raise UsageError(kind, f"unknown option {option}", f"choose one of {', '.join(parameters)}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and options.get(name) in (None, ""):
            raise UsageError(kind, f"the option {name} is missing", f"give {name}; see docs/operator/sources.md")
    try:
        return SOURCES[kind](**options)
    except (TypeError, ValueError) as error:
        raise UsageError(kind, "an option has the wrong type", "see docs/operator/sources.md") from error


@contextmanager
def opened_source(name: str, options: Mapping[str, Any]) -> Iterator[SceneSource]:
    """Open a source of the `kind` among its options, else of the kind `name`; raises as `open_source` does."""
    source = open_source(str(options.get("kind", name)), {key: options[key] for key in options if key != "kind"})
    try:
        yield source
    finally:
        if hasattr(source, "close"):
            source.close()


def _given(**options: str | None) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _bearer(variable: str) -> Callable[[], SecretStr]:
    """The token in an environment variable, read at each use, since it may be renewed."""
    from pydantic import SecretStr

    def authorization() -> SecretStr:
        token = os.environ.get(variable, "").strip()
        if not token:
            raise SourceError("the STAC source", f"{variable} is not set", f"set {variable} to the access token")
        return SecretStr(f"Bearer {token}")

    authorization()  # a missing token fails before any work
    return authorization
