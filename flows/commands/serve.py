"""`slickwatch serve`: the catalogue in a browser, in QGIS and over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.options import Config, Verbose
from flows.commands.slicks import CatalogueFile


def serve(
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address to listen on; default: service.host, 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="N", help="Port; 0: any free one; default: service.port, 4280."),
    ] = None,
    catalogue: CatalogueFile = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Let everybody who reaches it read without a token; default: service.open.")
    ] = False,
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Serve the catalogue as web pages and OGC API - Features, until Ctrl-C or SIGTERM.

    Without tokens it listens to this machine only and changes nothing.

    Example: slickwatch serve
    """
    from flows.commands.options import VERBOSE
    from flows.serving import listening, run, served_catalogue, service_options
    from flows.settings import Settings

    settings = Settings.read(config)
    chosen = {"host": host, "port": port, "open": open_ or None}
    known = {name: value for name, value in chosen.items() if value is not None}
    service = settings.service.model_copy(update=known)
    file = served_catalogue(settings, catalogue)
    options = service_options(service)
    with listening(service.host, service.port) as (socket, address):
        typer.echo(f"{address}  {file}")
        run(file, options, socket, log_requests=VERBOSE.get())
