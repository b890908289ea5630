"""Plugin for Prefect's command line: the server's address from the settings, and bare deployment names.

Without it Prefect accepts only `retrain-dakd/retrain-dakd` in `prefect deployment run retrain-dakd`, and without a
server starts one of its own. slickwatch_prefect.pth, in the environment's site-packages, enables plugins for the
command `prefect`. Every import of Prefect loads this module if plugins are enabled. Therefore it acts only on that
command, imports lazily, and warns instead of failing if a new version of Prefect differs.
"""

from __future__ import annotations

import functools
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from prefect.plugins import register_hook

from ingest.errors import SlickwatchError
from ingest.proxies import without_proxy

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.plugins import HookContext, SetupResult

_NO_SETTINGS = "there is no slickwatch.toml here: go to its folder, and start the server with slickwatch up"
_DEPLOYMENTS = {"deployment", "deployments"}
_NO_SERVER_NEEDED = {"config", "dev", "init", "plugins", "profile", "profiles", "server", "version"}


@register_hook
def setup_environment(*, ctx: HookContext) -> SetupResult | None:
    """Called by Prefect: set the server's address unless one is configured, without a proxy; resolve bare names."""
    command = _command(sys.argv)
    if command is None or command in _NO_SERVER_NEEDED:
        return None
    try:
        url, file = (ctx.api_url, None) if ctx.api_url else _server_of_settings()
        if command in _DEPLOYMENTS:
            # Another folder may hold the settings of a server that runs elsewhere.
            _accept_bare_names(url, "start it: slickwatch up" if file or ctx.api_url else _NO_SETTINGS)
        environment = without_proxy() | ({} if ctx.api_url else {"PREFECT_API_URL": url})
        if not environment:
            return None
        from prefect.plugins import SetupResult

        return SetupResult(env=environment, note="the server of slickwatch up")
    except SlickwatchError as error:
        if command in _DEPLOYMENTS:  # Prefect would start a server of its own, and end with a traceback
            _fail(str(error), error.exit_code)
        _print(f"slickwatch plugin disabled: {error}")
        return None
    except Exception as error:  # Prefect must work without the plugin
        _print(f"slickwatch plugin disabled: {' '.join(str(error).split())}")
        return None


def _command(argv: list[str]) -> str | None:
    """The subcommand of `prefect`; None for any other program."""
    program = Path(argv[0] if argv else "")
    as_module = program.name == "-m" and "prefect" in sys.orig_argv[:3]  # while Python looks for the module
    if program.name != "prefect" and program.parts[-2:] != ("prefect", "__main__.py") and not as_module:
        return None
    return next((word for word in argv[1:] if not word.startswith("-")), None)


def _server_of_settings() -> tuple[str, Path | None]:
    """The server's address, and the settings file if there is one."""
    from flows.settings import Settings

    settings = Settings.read()
    prefect = settings.prefect
    host = f"[{prefect.host}]" if ":" in prefect.host else prefect.host
    return f"http://{host}:{prefect.port}/api", settings.file


def _accept_bare_names(url: str, remedy: str) -> None:
    from prefect.client.orchestration import PrefectClient
    from prefect.exceptions import PrefectHTTPStatusError

    read: Any = PrefectClient.read_deployment_by_name

    @functools.wraps(read)
    async def read_deployment_by_name(client: PrefectClient, name: str) -> Any:
        _require_server(url, remedy)
        return await read(client, name if "/" in name else await _full_name(client, name))

    create: Any = PrefectClient.create_flow_run_from_deployment

    @functools.wraps(create)
    async def create_flow_run_from_deployment(client: PrefectClient, *given: Any, **named: Any) -> Any:
        try:
            return await create(client, *given, **named)
        except PrefectHTTPStatusError as error:  # wrong parameters, mostly
            _fail(f"the run was refused: {_detail(error.response)}")

    PrefectClient.create_flow_run_from_deployment = create_flow_run_from_deployment  # type: ignore[assignment, method-assign]
    PrefectClient.read_deployment_by_name = read_deployment_by_name  # type: ignore[assignment, method-assign]


def _detail(response: Any) -> str:
    """What the server says, in one line."""
    try:
        said = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        said = response.text
    return " ".join(str(said).split())[:500]


async def _full_name(client: PrefectClient, name: str) -> str:
    """`flow/deployment` of the only deployment with that name; an unknown name is left for Prefect to report."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName

    same_name = DeploymentFilter(name=DeploymentFilterName(any_=[name]))
    deployments: list[Any] = await client.read_deployments(deployment_filter=same_name)
    names = sorted([f"{(await client.read_flow(one.flow_id)).name}/{one.name}" for one in deployments])
    if len(names) > 1:
        _fail(f"{name}: {len(names)} deployments have this name; use one of {', '.join(names)}")
    return names[0] if names else f"{name}/{name}"


def _require_server(url: str, remedy: str) -> None:
    """Fail at once, with one line: Prefect's client would retry for a minute and end with a traceback."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=10).close()
    except OSError as error:
        address = f"{parts.scheme}://{parts.hostname}:{port}"
        _fail(f"{address}: no Prefect server answers ({error.strerror or error}); {remedy}")


def _fail(message: str, code: int = 1) -> NoReturn:
    _print(message)
    raise SystemExit(code)


def _print(message: str) -> None:
    print(f"prefect: {message}", file=sys.stderr)
