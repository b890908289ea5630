"""The service as settings and options ask for it: its catalogue, who may use it, its socket, its run."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from flows.settings import Settings
from flows.settings.sections import Service
from ingest.errors import SlickwatchError, UsageError
from ingest.sources.http import is_loopback
from outputs.catalogue import Catalogue
from service.access import Access
from service.app import Options, make_app
from service.tokens import TokenFile

DEMO_CATALOGUE = Path("demo", "catalogue.gpkg")  # where make demo leaves it
_GRACE_S = 5  # for answers that are being sent when the service is asked to stop


def served_catalogue(settings: Settings, given: Path | None) -> Path:
    """The catalogue to serve: the one given, else that of the settings, else the demonstration's here.

    Its tables are upgraded. Raises `UsageError` where there is none, and as `Catalogue.open` does.
    """
    path = given or settings.monitor.catalogue
    if given is None and not path.exists() and DEMO_CATALOGUE.exists():
        path = DEMO_CATALOGUE
    return Catalogue.open(path, create=False).path


def service_options(service: Service) -> Options:
    """Who may use the service. Raises `UsageError` for an address that others reach, without tokens or `open`."""
    tokens = TokenFile(service.tokens)
    local, some = is_loopback(service.host), bool(tokens.list())
    if not local and not some and not service.open:
        remedy = "run slickwatch tokens add NAME first, or give --open if everybody may read"
        raise UsageError(service.host, "is reachable from other machines, and there are no tokens", remedy)
    return Options(
        url=service.url and service.url.rstrip("/"),
        access=Access(tokens, open=service.open or not some),
        requests_per_minute=service.requests_per_minute,
        # A page of another host must not reach an open service through a browser on this machine.
        hosts=frozenset({"127.0.0.1", "localhost", "::1", service.host}) if local and service.url is None else None,
    )


@contextmanager
def listening(host: str, port: int) -> Iterator[tuple[socket.socket, str]]:
    """A listening socket and the service's address on it. Raises `UsageError` where it cannot be had."""
    if not 0 <= port <= 65535:
        raise UsageError(str(port), "not a port", "give a --port from 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family)
    except OSError as error:
        reason = "in use" if error.errno == errno.EADDRINUSE else str(error)
        problem = f"cannot listen there ({reason})"
        raise UsageError(f"{host}:{port}", problem, "give another --host or --port") from error
    with bound:
        name = f"[{host}]" if ":" in host else host
        yield bound, f"http://{name}:{bound.getsockname()[1]}"


def serve(settings: Settings) -> None:
    """Serve the catalogue of the settings, an empty one where there is none yet, until SIGTERM. Raises as the rest."""
    options = service_options(settings.service)
    catalogue = Catalogue.open(settings.monitor.catalogue)
    with listening(settings.service.host, settings.service.port) as (listener, _):
        run(catalogue.path, options, listener)


def run(catalogue: Path, options: Options, listener: socket.socket, log_requests: bool = False) -> None:
    """Serve until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        make_app(catalogue, options), log_level="info" if log_requests else "warning", access_log=log_requests,
        server_header=False, timeout_graceful_shutdown=_GRACE_S, timeout_keep_alive=30,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listener])


def main() -> None:
    """Serve as the settings in the file named on the command line say, for `slickwatch up`."""
    try:
        serve(Settings.read(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
    except SlickwatchError as error:
        sys.exit(f"slickwatch: {error}")


if __name__ == "__main__":
    main()
