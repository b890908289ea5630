"""A private PostgreSQL server for tests, from the distribution's own package, gone with its folder."""

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

PASSWORD = "s3cr3t/of:the@tests"  # guards a server on loopback that lives for seconds


def programs() -> Path | None:
    """The folder of the newest server installed; Debian keeps it off the PATH."""
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: float(path.split("/")[4]))
    found = shutil.which("initdb")
    folders += [os.path.dirname(os.path.realpath(found))] if found else []
    return Path(folders[-1]) if folders else None


@contextmanager
def server() -> Iterator[str]:
    """Start a server on a free port; the value is the URL of its superuser without a database: add ``/postgres``."""
    binaries = programs()
    if binaries is None:
        pytest.skip("no PostgreSQL server here (apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed (extra postgresql)")
    from sqlalchemy import URL

    # Sockets' paths are short; the server's user must be able to come to the folder.
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), _free_port()
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        _hand_over(folder)
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
    """The server refuses to run as root; the package brings a user of its own."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _hand_over(folder: Path) -> None:
    user = _user()
    for path in (folder, *folder.iterdir()):
        if user is not None:
            shutil.chown(path, user)


def _run(*command: object) -> None:
    # Into a file: the server inherits its parent's output, and would keep a pipe open.
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
