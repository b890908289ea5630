"""Opening a source by its name and options, and finding one scene in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ingest.errors import SourceError
from ingest.scene import Scene
from ingest.sources.kinds import open_source
from ingest.sources.source import Query, SceneSource


@contextmanager
def opened_source(name: str, options: Mapping[str, Any]) -> Iterator[SceneSource]:
    """Open a source of the `kind` among its options, else of the kind `name`; raises as `open_source` does."""
    source = open_source(str(options.get("kind", name)), {key: options[key] for key in options if key != "kind"})
    try:
        yield source
    finally:
        if hasattr(source, "close"):
            source.close()


def find_scene(source: SceneSource, wanted: Scene) -> Scene:
    """The scene with the id of `wanted`, as listed by the source. Raises `SourceError` if it is not listed.

    Mode, orbit and time from the name narrow the listing to a few scenes.
    """
    query = Query(
        mode=wanted.mode,
        product_type=wanted.product_type,
        polarisation=wanted.polarisations[0],
        relative_orbit=wanted.relative_orbit,
    )
    for scene in source.find(query, wanted.acquired_start):  # no scene is published before it is acquired
        if scene.id == wanted.id:
            return scene
    raise SourceError(wanted.id, f"{source.name} does not list it", "check the name, or try another --source")
