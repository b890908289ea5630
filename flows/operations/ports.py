"""Whether a port is free, and who has it."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

from flows.operations.plan import Plan
from ingest.errors import UsageError

_LISTENS = "0A"  # in /proc/net/tcp


def require_free(plan: Plan) -> None:
    """Raise `UsageError` with the name of the process that listens where the server should."""
    family, kind, _, _, address = socket.getaddrinfo(plan.host, plan.port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            problem = f"the server cannot listen there ({error.strerror}{_whose(plan.port)})"
            where = f"[prefect] port in {plan.config}" if plan.config else "SLICKWATCH_PREFECT__PORT"
            raise UsageError(plan.address, problem, f"stop that, or choose another port: {where}") from error


def _whose(port: int) -> str:
    process = _listener(port)
    if process is None:
        return ""
    with suppress(OSError):
        words = (process / "cmdline").read_bytes().split(b"\0")
        command = " ".join(b" ".join(words).decode(errors="replace").split())[:80]
        return f", process {process.name}: {command}"
    return f", process {process.name}"


def _listener(port: int) -> Path | None:
    """Its folder in /proc; None where that cannot be told: another's process, or no Linux."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(str(link.readlink()) in sockets for link in (process / "fd").iterdir()):
                return process
    return None
