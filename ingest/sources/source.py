"""What a source of scenes is: it finds scenes by a query, and opens their bytes at any offset."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shapely.geometry.base import BaseGeometry

from ingest.scene import Scene


@dataclass(frozen=True)
class Query:
    """Which scenes are wanted; None is any. The area is WGS 84 lon/lat, divided where it crosses the antimeridian."""

    area: BaseGeometry | None = None
    mode: str | None = "IW"
    product_type: str = "GRD"
    polarisation: str | None = None  # one that the scene must have, such as VV
    relative_orbit: int | None = None
    orbit_direction: str | None = None  # ascending, descending
    timeliness: str | None = None  # the source's own word, such as NRT-3h


class ByteStream(Protocol):
    """The rest of a scene's archive from `offset` on; iterate over it once."""

    offset: int  # where it really begins: 0 where the source cannot resume
    total: int | None  # bytes of the whole archive, where known

    def __iter__(self) -> Iterator[bytes]: ...


class SceneSource(Protocol):
    """A place where scenes come from. A source holds no state but its connection and its tokens."""

    name: str  # short, for the ledger and messages: inbox, cdse, ...

    def find(self, query: Query, published_after: datetime | None) -> Iterator[Scene]:
        """Yield the scenes of a query by publication time, oldest first; raises `SourceError`."""

    def open(self, scene: Scene, offset: int) -> AbstractContextManager[ByteStream]:
        """Open the scene's archive, a SAFE zip, at a byte.

        Raises `SourceError`, and `TransientError` where a retry may help.
        """
