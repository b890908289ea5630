"""What a machine must offer before a flow starts: without it, Prefect fails after minutes and gives another reason."""

from __future__ import annotations

from ingest.proxies import require_usable_proxies


def require_usable_machine() -> None:
    """Raise `UsageError` for an environment in which no flow could reach its Prefect server."""
    require_usable_proxies(socks_package=None)
