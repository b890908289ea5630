"""What a machine must offer before a flow starts: without it, flows fail after minutes and give another reason."""

from __future__ import annotations

import os
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

from flows.settings import Settings
from flows.settings.check import written_folders
from ingest.errors import StorageError
from ingest.files import home_folder, require_writable, user_cache
from ingest.proxies import require_usable_proxies
from preprocess.coastline import require_coastline

# Without any of them, a run starts a Prefect server with a database in Prefect's home.
_OTHER_DATABASE = (
    "PREFECT_API_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL",
)  # fmt: skip


def require_services(settings: Settings) -> None:
    """Raise `UsageError` or `StorageError` where server, worker and flows could not run with these settings."""
    _require_environment()
    for key, folder in written_folders(settings):
        require_writable(folder, f"set {key}, or SLICKWATCH_{key.upper().replace('.', '__')}, to another place")
    require_coastline(settings.monitor.coastline)


def require_detection(coastline: Path | None) -> None:
    """Raise where a detection could not run here: as `require_services` does, and as `require_coastline` does."""
    _require_environment()
    _require_prefect_home()
    require_coastline(coastline)


def _require_environment() -> None:
    require_usable_proxies(socks_package=None)
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        remedy = "set TMPDIR to a folder you may write to"
        raise StorageError("TMPDIR", "no folder for temporary files can be written", remedy) from error
    _spare_home_for_matplotlib()


def _spare_home_for_matplotlib() -> None:
    """Give Matplotlib a folder of our cache where it has none in the user's home: it would warn at every run."""
    if os.environ.get("MPLCONFIGDIR"):
        return
    try:
        require_writable(Path(os.environ.get("XDG_CONFIG_HOME") or home_folder() / ".config") / "matplotlib")
    except StorageError:
        with suppress(StorageError):
            os.environ["MPLCONFIGDIR"] = str(user_cache("matplotlib"))


def _require_prefect_home() -> None:
    if any(map(os.environ.get, _OTHER_DATABASE)):
        return
    named = os.environ.get("PREFECT_HOME")
    try:
        home = Path(os.path.expanduser(named)) if named else home_folder() / ".prefect"
        require_writable(home, "set PREFECT_HOME, or HOME, to a folder you may write to")
    except StorageError:
        if not _has_server():
            raise


def _has_server() -> bool:
    """Whether a profile of Prefect names a server."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that home cannot be written is told in our own words
        import flows.prefect_defaults  # noqa: F401 - before Prefect

        # isort: split
        from prefect.settings import PREFECT_API_URL
    return bool(PREFECT_API_URL.value())
