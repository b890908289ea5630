"""The interface of a scene source: it finds scenes by a query, and opens their bytes at any offset."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from shapely.geometry.base import BaseGeometry

from ingest.scene import Scene


@dataclass(frozen=True)
class Query:
    """Which scenes are wanted; None means any. The area is WGS 84 lon/lat, split where it crosses the antimeridian."""

    area: BaseGeometry | None = None
    mode: str | None = "IW"
    product_type: str = "GRD"
    polarisation: str | None = None  # one the scene must have, such as VV
    relative_orbit: int | None = None
    orbit_direction: str | None = None  # ascending, descending
    timeliness: str | None = None  # the source's own word, such as NRT-3h

    def matches(self, scene: Scene, orbit_direction: str | None = None, timeliness: Collection[str] = ()) -> bool:
        """Whether a scene matches; unknown properties do not exclude it."""
        return (
            self.mode in (None, scene.mode)
            and self.product_type == scene.product_type
            and (self.polarisation is None or self.polarisation in scene.polarisations)
            and (None in (self.relative_orbit, scene.relative_orbit) or self.relative_orbit == scene.relative_orbit)
            and (None in (self.orbit_direction, orbit_direction) or _same(self.orbit_direction, orbit_direction))
            and (self.timeliness is None or not timeliness or self.timeliness in timeliness)
            and (self.area is None or scene.footprint is None or bool(scene.footprint.intersects(self.area)))
        )


def _same(one: str | None, other: str | None) -> bool:
    return str(one).lower() == str(other).lower()


def time_text(moment: datetime) -> str:
    """A time in UTC as the queries of catalogues have it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True)
class ByteStream:
    """The rest of a scene's archive from `offset` on; iterate over it once."""

    offset: int  # where it really begins: 0 if the source cannot resume
    total: int | None  # bytes of the whole archive, if known
    blocks: Iterable[bytes]

    def __iter__(self) -> Iterator[bytes]:
        return (block for block in self.blocks if block)


class SceneSource(Protocol):
    """A source of scenes. It holds no state but its connection and tokens."""

    name: str  # short, for the ledger and messages: inbox, cdse, ...

    def find(self, query: Query, published_after: datetime | None) -> Iterator[Scene]:
        """Yield the scenes of a query by publication time, oldest first; raises `SourceError`."""

    def open(self, scene: Scene, offset: int) -> AbstractContextManager[ByteStream]:
        """Open the scene's archive, a SAFE zip, at a byte.

        Raises `SourceError`, and `TransientError` if a retry may help.
        """
