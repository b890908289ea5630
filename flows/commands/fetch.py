"""`slickwatch fetch`: one scene by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Verbose, results_folder
from ingest.errors import UsageError


def fetch(
    scene: Annotated[str, typer.Argument(metavar="SCENE", help="Product name, with or without .SAFE or .zip.")],
    source: Annotated[
        str,
        typer.Option(
            metavar="SOURCE", help="A [sources.NAME] of the settings, or a kind: inbox, cdse, eodata, stac or dhus."
        ),
    ] = "cdse",
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            metavar="NAME=VALUE",
            help="Option of the source, such as folder=inbox; repeatable; overrides the settings.",
        ),
    ] = None,
    out: Annotated[Path | None, results_folder("Folder of scenes; default: scenes.folder.")] = None,
    verbose: Verbose = False,
) -> None:
    """Fetch one scene, verify it and print its path.

    Example: slickwatch fetch S1A_IW_GRDH_1SDV_20240601T053000_20240601T053025_054100_069A3C_E422
    """
    from flows import resolve
    from ingest.download import fetch as fetch_scene
    from ingest.download import find_scene
    from ingest.progress import download_name, downloads
    from ingest.scene import scene_from_name

    wanted = scene_from_name(scene)
    with resolve.source(source, _options(option or [])) as opened:
        found, folder = find_scene(opened, wanted), resolve.scenes_folder(out)
        with downloads() as shown, shown(download_name(wanted.id)) as advance:
            path = fetch_scene(opened, found, folder, progress=advance)
        typer.echo(path)


def _options(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not equals:
            raise UsageError("--option", f"{name!r} is not NAME=VALUE", "give for example --option folder=inbox")
    return {name: value for name, _, value in pairs}
