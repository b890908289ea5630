"""What a name, an option left out or a setting stands for: options of a detection."""

from __future__ import annotations

from flows.settings.sections import Detection
from outputs.options import SlickOptions


def slick_options(
    settings: Detection,
    keep: float | None = None,
    outline: float | None = None,
    grow: float | None = None,
    minimum_area_km2: float | None = None,
) -> SlickOptions:
    """What counts as a slick: what is given, else the settings. Raises `UsageError` as `SlickOptions` does."""
    area = settings.minimum_area_km2 if minimum_area_km2 is None else minimum_area_km2
    return SlickOptions(
        keep=settings.keep if keep is None else keep,
        outline=settings.outline if outline is None else outline,
        grow=settings.grow if grow is None else grow,
        minimum_area_m2=area * 1e6,
    )
