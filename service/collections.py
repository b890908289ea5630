"""The collections: layers of the catalogue, under names and words for people."""

from __future__ import annotations

from dataclasses import dataclass

from outputs.catalogue.layers import CANDIDATES, SCENES, SLICKS, Layer


@dataclass(frozen=True, eq=False)
class Collection:
    """A collection; its id is the name of its layer."""

    layer: Layer
    title: str
    description: str
    shown: tuple[str, ...]  # attributes in the table of its page

    @property
    def id(self) -> str:
        return self.layer.name


COLLECTIONS: dict[str, Collection] = {
    one.id: one
    for one in (
        Collection(
            SLICKS, "Slicks", "Slicks of the current results of all scenes.",
            ("id", "acquired_start", "class", "confidence_level", "confidence_mean", "area_m2", "length_m", "status"),
        ),
        Collection(
            CANDIDATES, "Candidates", "Dark patches that were rejected as look-alikes, with their probability of oil.",
            ("id", "acquired_start", "rejected_by", "oil_probability", "area_m2", "length_m"),
        ),
        Collection(
            SCENES, "Scenes", "Footprints of the scenes analysed, clean ones too.",
            ("scene_id", "acquired_start", "slick_count", "sea_km2", "low_wind_share", "nothing_to_see"),
        ),
    )
}  # fmt: skip
