"""How much of a scene was looked at: sea, land, no data, and sea too calm for slicks to show."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

_LEAST_VISIBLE = 0.01  # of the image


@dataclass(frozen=True)
class Coverage:
    """Areas of a scene in km2; `low_wind_share` is that of the sea, None without sea or co-polarisation."""

    sea_km2: float  # with data: what was searched for slicks
    land_km2: float
    no_data_km2: float  # not on land
    low_wind_share: float | None

    @property
    def nothing_to_see(self) -> str | None:
        """Why no slick could have been seen: less than 1 % of the image is sea with wind and data; None otherwise."""
        total = self.sea_km2 + self.land_km2 + self.no_data_km2
        calm = self.sea_km2 * (self.low_wind_share or 0.0)
        if self.sea_km2 - calm >= _LEAST_VISIBLE * total > 0:
            return None
        parts = {"land": self.land_km2, "no data": self.no_data_km2, "calm sea": calm}
        return ", ".join(f"{100 * area / max(total, 1e-9):.0f} % {name}" for name, area in parts.items())

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {**asdict(self), "nothing_to_see": self.nothing_to_see}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Coverage:
        """Undo `as_dict`."""
        return cls(**{name: value for name, value in values.items() if name != "nothing_to_see"})


def finding(slick_count: int, coverage: Coverage | None) -> str:
    """The result of a scene in a few words: how many slicks, and in what."""
    found = f"{slick_count or 'no'} slick{'' if slick_count == 1 else 's'}"
    if coverage is None:
        return found
    if slick_count == 0 and coverage.nothing_to_see is not None:
        return f"nothing to see ({coverage.nothing_to_see})"
    calm = f", {100 * coverage.low_wind_share:.0f} % of it calm" if coverage.low_wind_share else ""
    return f"{found} in {coverage.sea_km2:.0f} km2 of sea{calm}"
