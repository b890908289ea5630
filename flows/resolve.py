"""What the names that commands take stand for, and the settings that options left out fall back on.

One rule for all commands: what is given counts, then the environment, then the settings, then their defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flows.settings import Settings

if TYPE_CHECKING:
    from flows.detection import DetectionOptions
    from flows.settings.sections import Detection
    from ingest.ledger.ledger import Ledger
    from ingest.sources.source import SceneSource
    from outputs.catalogue import Catalogue
    from outputs.options import SlickOptions


def registry_folder(given: Path | None = None) -> Path:
    """The folder of the model registry: as given, else `models.registry`."""
    return given or Settings.read().models.registry


def find_model(model: str | None, registry: Path | None = None) -> Path:
    """The folder of a model: the champion for None and ``champion``, a version, a shipped model, or a folder.

    Raises `ModelError` as `models.registry.inventory.find_model` does.
    """
    from models.registry import inventory

    return inventory.find_model(model, registry_folder(registry))


def open_ledger(given: str | None = None) -> Ledger:
    """Open an existing ledger: as given, else $SLICKWATCH_LEDGER, else `scenes.ledger`.

    Raises `UsageError` where there is none, `StorageError`, `SourceError`.
    """
    from ingest.ledger.ledger import Ledger

    return Ledger.open(given or Settings.read().ledger_url(), create=False)


def open_catalogue(given: Path | None = None) -> Catalogue:
    """Open an existing catalogue: the file given, else `monitor.catalogue`. Raises `UsageError` where there is none."""
    from outputs.catalogue import Catalogue

    return Catalogue.open(given or Settings.read().monitor.catalogue, create=False)


def scenes_folder(given: Path | None = None) -> Path:
    """The folder of fetched scenes: as given, else `scenes.folder`."""
    return given or Settings.read().scenes.folder


@contextmanager
def source(name: str, options: Mapping[str, str]) -> Iterator[SceneSource]:
    """Open a source by the name of its section of the settings, or by its kind; `options` override the section's.

    Raises `UsageError` and `SourceError` as `ingest.sources.kinds.open_source` does.
    """
    from ingest.sources.kinds import opened_source

    with opened_source(name, {**Settings.read().sources.get(name, {}), **options}) as opened:
        yield opened


def detection_options(
    model: str | None, polarisation: str | None, coastline: Path | None, **slicks: float | None
) -> DetectionOptions:
    """What is asked of a detection; `slicks`, as of `slick_options`, override the settings.

    Raises `ModelError` for an unknown model, `UsageError` for thresholds out of order.
    """
    from flows.detection import DetectionOptions

    settings = Settings.read()
    folder = find_model(model, settings.models.registry)
    return DetectionOptions(str(folder), polarisation, coastline, slick_options(settings.detection, **slicks))


def slick_options(settings: Detection, **given: float | None) -> SlickOptions:
    """What counts as a slick: keys of `[detection]` as given, else as in the settings.

    Raises `UsageError` as `SlickOptions` does.
    """
    from outputs.options import SlickOptions

    values = settings.model_dump() | {name: value for name, value in given.items() if value is not None}
    return SlickOptions(minimum_area_m2=values.pop("minimum_area_km2") * 1e6, **values)
