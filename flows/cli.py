"""The command line: the commands by group, and how a failure ends the process."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from flows.commands import bench, models, scenes, settings, slicks, tokens, train, up
from flows.commands.balance import balance
from flows.commands.calibrate import calibrate
from flows.commands.check import check
from flows.commands.demo import demo
from flows.commands.detect import detect
from flows.commands.evaluate import evaluate
from flows.commands.fetch import fetch
from flows.commands.options import VERBOSE
from flows.commands.quality import quality
from flows.commands.report import report
from flows.commands.screen import screen
from flows.commands.segment import segment
from flows.commands.serve import serve
from flows.commands.simulate import simulate
from flows.commands.synthesize import synthesize
from flows.commands.terminal import Command, Group, command_group, print_failure, print_note
from flows.commands.watch import watch
from ingest.errors import SlickwatchError, SourceError, UsageError
from ingest.proxies import without_proxy

COMMANDS: dict[str, dict[str, Callable[..., Any] | typer.Typer]] = {
    "Detect": {"demo": demo, "detect": detect, "calibrate": calibrate, "segment": segment},
    "Monitor": {
        "up": up.up, "down": up.down, "status": up.status, "watch": watch, "fetch": fetch, "scenes": scenes.app,
        "check": check, "settings": settings.app,
    },
    "Catalogue": {"slicks": slicks.app, "report": report, "serve": serve, "tokens": tokens.app},
    "Models": {"models": models.app, "train": train.app, "evaluate": evaluate},
    "Research": {
        "simulate": simulate, "synthesize": synthesize, "quality": quality, "balance": balance, "screen": screen,
        "bench": bench.app,
    },
}  # fmt: skip


class _Commands(Group):
    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of `COMMANDS`; Typer puts groups last."""
        return [name for commands in COMMANDS.values() for name in commands]


app = command_group("Detect oil slicks in Sentinel-1 SAR images.", _Commands)
for _panel, _commands in COMMANDS.items():
    for _name, _command in _commands.items():
        if isinstance(_command, typer.Typer):
            app.add_typer(_command, name=_name, rich_help_panel=_panel)
        else:
            app.command(_name, cls=Command, rich_help_panel=_panel)(_command)


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version  # takes as long as all other imports of --help

        typer.echo(f"slickwatch {version('slickwatch')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the documented code: 0 done, 1 unexpected, or that of the failure."""
    VERBOSE.set(False)
    os.environ.update(without_proxy())
    # As an exception, so that unfinished files are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        _require_text(sys.argv[1:] if arguments is None else arguments)
        app(arguments)
    except SlickwatchError as error:
        print_failure(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if (failure := _prefect_failure(error)) is not None:
            print_failure(failure)
            sys.exit(failure.exit_code)
        message = " ".join(str(error).split())
        print_note(f"slickwatch: unexpected {type(error).__name__}: {message}; run again with --verbose")
        if VERBOSE.get():
            traceback.print_exc()
        sys.exit(1)


def _require_text(arguments: Sequence[str]) -> None:
    """Names of files that are no text cannot go into a ledger, a record or a layer."""
    try:
        here = os.getcwd()
    except FileNotFoundError as error:
        raise UsageError("the working folder", "no longer exists", "change to another") from error
    for word in (*arguments, here):
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise UsageError(repr(os.fsencode(word)), "is not UTF-8", "rename the file or the folder") from error


def _prefect_failure(error: Exception) -> SourceError | None:
    """Failures for which Prefect has no exceptions of its own: told by where they were raised, and from what."""
    raised_in = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)][-1]
    if not isinstance(error, RuntimeError) or not raised_in.startswith("prefect."):
        return None
    if raised_in == "prefect.server.api.server":
        limit = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
        return SourceError(
            "the Prefect server of this run", "did not start in time", f"see its log above, or set {limit}"
        )
    import httpx  # takes a while

    if isinstance(error.__cause__, httpx.HTTPError | ValueError):  # ValueError: something else answers there
        url = os.environ.get("PREFECT_API_URL", "the Prefect server")
        return SourceError(url, "no Prefect server answers", "start it, or unset PREFECT_API_URL to run without")
    return None


if __name__ == "__main__":
    main()
