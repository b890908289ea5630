"""Options of finding and measuring slicks."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ingest.errors import UsageError


@dataclass(frozen=True)
class SlickOptions:
    """What counts as a slick. Raises `UsageError` unless 0 < grow <= outline <= keep <= 1.

    The surroundings are the sea cells from `ring_gap` to `ring_gap + ring_width` cells off the outline.
    """

    grow: float = 0.3
    outline: float = 0.5
    keep: float = 0.7
    minimum_area_m2: float = 100_000.0
    classes: tuple[str, ...] = ("oil",)
    medium: float = 0.7  # lowest mean probability of Medium confidence
    high: float = 0.85
    ring_gap: int = 2
    ring_width: int = 12
    minimum_ring: int = 20  # with fewer sea cells around a slick, its contrast is unknown

    def __post_init__(self) -> None:
        if not self.classes:
            raise UsageError("slick classes", "no class is given", "choose oil, look-alike or both")
        if not 0.0 < self.grow <= self.outline <= self.keep <= 1.0:
            raise UsageError(
                "slick thresholds",
                f"grow {self.grow}, outline {self.outline} and keep {self.keep} are out of order",
                "choose 0 < grow <= outline <= keep <= 1",
            )

    def thresholds(self) -> str:
        """The thresholds and the smallest area, as JSON for the slick table."""
        names = ("grow", "outline", "keep", "minimum_area_m2")
        return json.dumps({name: getattr(self, name) for name in names})
