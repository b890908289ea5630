"""What Prefect's own command line learns in a checkout: where the server is, and deployments by their bare name.

`prefect deployment run retrain-dakd` fails in Prefect as shipped, which wants `retrain-dakd/retrain-dakd`. Each import
of Prefect loads this module where plugins are on; so it does nothing but for the command `prefect`, imports late, and
where Prefect is not as expected any more, warns and leaves it alone.
"""

from __future__ import annotations

import functools
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from prefect.plugins import register_hook

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.plugins import HookContext, SetupResult

    Read = Callable[[PrefectClient, str], Awaitable[DeploymentResponse]]

_NO_SERVER_NEEDED = {"config", "dev", "init", "plugins", "profile", "profiles", "server", "version"}


@register_hook
def setup_environment(*, ctx: HookContext) -> SetupResult | None:
    """Prefect's hook: name the server of the settings where no other is named, and let bare names be resolved."""
    command = _command(sys.argv)
    if command is None or command in _NO_SERVER_NEEDED:
        return None
    try:
        url = ctx.api_url or _url_of_settings()
        if command in {"deployment", "deployments"}:
            _resolve_bare_names(url)
        if ctx.api_url is not None:
            return None
        from prefect.plugins import SetupResult

        return SetupResult(env={"PREFECT_API_URL": url}, note="the server of slickwatch up")
    except Exception as error:  # whatever it is, Prefect must go on as if we were not here
        _say(f"slickwatch's plugin is not used: {' '.join(str(error).split())}")
        return None


def _command(argv: list[str]) -> str | None:
    """The first word after `prefect`; None for any other program."""
    program = Path(argv[0] if argv else "")
    if program.name != "prefect" and program.parts[-2:] != ("prefect", "__main__.py"):
        return None
    return next((word for word in argv[1:] if not word.startswith("-")), None)


def _url_of_settings() -> str:
    from flows.settings import Settings

    prefect = Settings.read().prefect
    host = f"[{prefect.host}]" if ":" in prefect.host else prefect.host
    return f"http://{host}:{prefect.port}/api"


def _resolve_bare_names(url: str) -> None:
    from prefect.client.orchestration import PrefectClient

    resolving: Any = _by_any_name(PrefectClient.read_deployment_by_name, url)
    PrefectClient.read_deployment_by_name = resolving  # type: ignore[method-assign]


def _by_any_name(read: Read, url: str) -> Read:
    @functools.wraps(read)
    async def read_deployment_by_name(client: PrefectClient, name: str) -> DeploymentResponse:
        _require_server(url)
        return await read(client, name if "/" in name else await _full_name(client, name))

    return read_deployment_by_name


async def _full_name(client: PrefectClient, name: str) -> str:
    """The one deployment of that name; where there is none, a name that Prefect will not find either, and say so."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName

    wanted = DeploymentFilter(name=DeploymentFilterName(any_=[name]))
    deployments: list[Any] = await client.read_deployments(deployment_filter=wanted)
    names = sorted([f"{(await client.read_flow(one.flow_id)).name}/{one.name}" for one in deployments])
    if len(names) > 1:
        _refuse(f"{name}: {len(names)} deployments bear this name; give one of {', '.join(names)}")
    return names[0] if names else f"{name}/{name}"


def _require_server(url: str) -> None:
    """At once and in one line, where Prefect's client would try for a minute and end in a traceback."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=10).close()
    except OSError as error:
        said = error.strerror or error
        _refuse(
            f"{parts.scheme}://{parts.hostname}:{port}: no Prefect server answers ({said}); start it: slickwatch up"
        )


def _refuse(said: str) -> NoReturn:
    _say(said)
    raise SystemExit(1)


def _say(said: str) -> None:
    print(f"prefect: {said}", file=sys.stderr)
