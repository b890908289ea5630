"""A temporary PostgreSQL server for tests, from the distribution's package."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "s3cr3t/of:the@tests"  # of a temporary server on loopback


def programs() -> Path | None:
    """Folder of the newest installed server; Debian does not put it on the PATH."""
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: float(path.split("/")[4]))
    found = shutil.which("initdb")
    folders += [os.path.dirname(os.path.realpath(found))] if found else []
    return Path(folders[-1]) if folders else None


@contextmanager
def server() -> Iterator[str]:
    """Start a server on a free port; yields its superuser's URL without a database: add ``/postgres``."""
    binaries = programs()
    if binaries is None:
        pytest.skip("no PostgreSQL server here (apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed (extra postgresql)")
    from sqlalchemy import URL

    # Socket paths are limited in length, and the server's user must have access to the folder.
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), _free_port()
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        _change_owner(folder)
        data, log = folder / "data", folder / "log"
        _run(binaries / "initdb", "-D", data, "-U", "tester", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8",
             "--locale=C", "--no-sync")  # fmt: skip
        options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off -c shared_buffers=16MB -c max_connections=40"
        _run(binaries / "pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start")
        try:
            url = URL.create("postgresql", "tester", PASSWORD, "127.0.0.1", port)
            yield url.render_as_string(hide_password=False)
        finally:
            _run(binaries / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")


def _user() -> str | None:
    """The server refuses to run as root; the package creates a user for it."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _change_owner(folder: Path) -> None:
    user = _user()
    for path in (folder, *folder.iterdir()):
        if user is not None:
            shutil.chown(path, user)


def _run(*command: object) -> None:
    # To a file: the server inherits the output, and would keep a pipe open.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            [str(part) for part in command], user=_user(), cwd="/", check=False, timeout=120,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        output.seek(0)
        assert done.returncode == 0, f"{command[0]}: {output.read()}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
