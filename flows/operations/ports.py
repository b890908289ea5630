"""Whether the server's port is free, and which process uses it."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

from flows.operations.plan import Plan
from ingest.errors import UsageError

_LISTENING = "0A"  # in /proc/net/tcp


def require_free_port(plan: Plan) -> None:
    """Raise `UsageError`, naming the process that uses it, if the server's port is taken."""
    family, kind, _, _, address = socket.getaddrinfo(plan.host, plan.port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            problem = f"the server cannot listen on this port ({error.strerror}{_user_of(plan.port)})"
            key = f"[prefect] port in {plan.config}" if plan.config else "SLICKWATCH_PREFECT__PORT"
            raise UsageError(plan.address, problem, f"stop that process, or choose another port: {key}") from error


def _user_of(port: int) -> str:
    process = _listener(port)
    if process is None:
        return ""
    with suppress(OSError):
        words = (process / "cmdline").read_bytes().split(b"\0")
        command = " ".join(b" ".join(words).decode(errors="replace").split())[:80]
        return f", process {process.name}: {command}"
    return f", process {process.name}"


def _listener(port: int) -> Path | None:
    """The /proc folder of the process; None if it is not known: another user's process, or not Linux."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(str(link.readlink()) in sockets for link in (process / "fd").iterdir()):
                return process
    return None
