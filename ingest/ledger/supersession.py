"""Which product to use of several from the same radar data: the newest processing, in one format.

Everything here follows from the set of products, never from the order in which they arrived.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

from shapely.geometry.base import BaseGeometry

from ingest.scene import scene_from_name

# A fast processing may cut the datatake a few seconds off the later one (3 s seen); neighbours are 25 s apart.
SLICE_TOLERANCE = timedelta(seconds=5)
# Catalogues list a COG mostly after the product it was made from, sometimes before.
COG_WINDOW = timedelta(days=1)

_PARTS = re.compile(r"(?P<kind>.+)_\w{15}_\w{15}_(?P<datatake>\w{6}_\w{6})_(?P<unique>\w{4})(?P<cog>_COG)?")


@dataclass(frozen=True)
class ProductName:
    """A product's identity, from its name."""

    id: str
    datatake: str  # platform, beam mode, type, class, polarisation, orbit and datatake
    start: datetime
    stop: datetime
    stem: str  # the id without _COG
    cog: bool

    @classmethod
    def read(cls, name: str) -> ProductName:
        """Parse a product name. Raises `UnreadableInput` if it is not one."""
        scene = scene_from_name(name)
        parts = _PARTS.fullmatch(scene.id)
        assert parts is not None  # scene_from_name has accepted it
        return cls(
            scene.id,
            f"{parts['kind']}_{parts['datatake']}",
            scene.acquired_start,
            scene.acquired_end,
            scene.id.removesuffix("_COG"),
            parts["cog"] is not None,
        )


@dataclass(frozen=True)
class Member:
    """One product of a datatake, with what determines its standing."""

    name: ProductName
    published: datetime
    begun: bool = False  # claimed, fetched or processed
    broken: bool = False  # parked or in quarantine before it was fetched
    attempts: int = 0
    forgotten: bool = False
    footprint: BaseGeometry | None = field(default=None, compare=False)  # WGS 84 lon/lat


@dataclass(frozen=True)
class Standing:
    """`current` is to be worked on; a `superseded` or `duplicate` product yields to another."""

    kind: str
    by: str | None = None


CURRENT = Standing("current")


def standings(members: Iterable[Member]) -> dict[str, Standing]:
    """The standing of every product of one datatake, by id."""
    return {id: standing for slice in _slices(list(members)) for id, standing in _of_slice(slice)}


def _slices(members: list[Member]) -> Iterator[list[Member]]:
    """Products of one place whose start and stop both agree within the tolerance, directly or through others."""
    for left in _by_start(members):
        yield from _connected(left)


def _by_start(members: list[Member]) -> Iterator[list[Member]]:
    """Products whose starts follow one another closely: only these need to be compared."""
    ordered = sorted(members, key=lambda member: (member.name.start, member.name.id))
    gaps = [i for i in range(1, len(ordered)) if ordered[i].name.start - ordered[i - 1].name.start > SLICE_TOLERANCE]
    for first, last in pairwise([0, *gaps, len(ordered)]):
        yield ordered[first:last]


def _connected(left: list[Member]) -> Iterator[list[Member]]:
    while left:
        slice, waiting = [], [left.pop(0)]
        while waiting:
            slice.append(waiting.pop())
            near = [member for member in left if _same_slice(slice[-1], member)]
            left = [member for member in left if member not in near]
            waiting.extend(near)
        yield slice


def _same_slice(one: Member, other: Member) -> bool:
    apart = max(abs(one.name.start - other.name.start), abs(one.name.stop - other.name.stop))
    return apart <= SLICE_TOLERANCE and _overlap(one.footprint, other.footprint)


def _overlap(one: BaseGeometry | None, other: BaseGeometry | None) -> bool:
    """An unknown footprint separates nothing: the times already agree."""
    return one is None or other is None or bool(one.intersects(other))


def _of_slice(slice: list[Member]) -> Iterator[tuple[str, Standing]]:
    """The newest processing that was not forgotten is current; one of its products is used."""
    processings = _processings(slice)
    wanted = [_chosen(formats) for formats in processings if not any(member.forgotten for member in formats)]
    current = wanted[-1].name.id if wanted else None
    for formats in processings:
        taken = _chosen(formats)
        for member in formats:
            id = member.name.id
            if id == current or member.forgotten:
                yield id, CURRENT
            elif current is not None and taken.name.id != current and not taken.forgotten:
                yield id, Standing("superseded", current)
            else:
                yield id, Standing("duplicate", taken.name.id)


def _chosen(formats: list[Member]) -> Member:
    """The product that represents a processing: the one begun, else the one most likely available, else the first."""
    return min(
        formats,
        key=lambda m: (not m.forgotten, not m.begun, m.broken, m.attempts, m.published, m.name.id),
    )


def _processings(slice: list[Member]) -> list[list[Member]]:
    """The products by processing, oldest first.

    A COG's unique id differs from that of the product it was made from (it is a checksum of the manifest, which the
    conversion rewrites), so COGs are matched by time: to the newest product published within a day before, else the
    next one within a day after, else the newest before at all.
    """
    processings: dict[str, list[Member]] = defaultdict(list)
    plain = sorted((m for m in slice if not m.name.cog), key=_age)
    for member in plain:
        processings[member.name.stem].append(member)
    for cog in (m for m in slice if m.name.cog):
        processings[cog.name.stem if cog.name.stem in processings else _made_from(cog, plain)].append(cog)
    return sorted(processings.values(), key=lambda formats: _age(formats[0]))


def _age(member: Member) -> tuple[datetime, str]:
    return member.published, member.name.id


def _made_from(cog: Member, plain: list[Member]) -> str:
    before = [m for m in plain if m.published <= cog.published]
    after = [m for m in plain if cog.published < m.published <= cog.published + COG_WINDOW]
    if before and (not after or before[-1].published >= cog.published - COG_WINDOW):
        return before[-1].name.stem
    return after[0].name.stem if after else cog.name.stem
