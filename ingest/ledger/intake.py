"""What a source has found goes into the tables: new scenes, other archives of known ones, and who yields to whom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

import shapely
from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from ingest.ledger.supersession import Member, ProductName, standings
from ingest.ledger.tables import OfferRow, SceneRow, WatermarkRow
from ingest.scene import Scene, scene_from_name

_CHUNK = 500  # names in one IN (...)


def record(session: Session, scenes: Sequence[Scene], now: datetime) -> list[str]:
    """Write what was found; the ids of the scenes not known before, as they came. Raises `UnreadableInput`."""
    names = [ProductName.read(scene.id) for scene in scenes]
    known = _rows_by_id(session, {name.id for name in names})
    new: list[str] = []
    touched: set[str] = set()
    for name, scene in zip(names, scenes, strict=True):
        row = known.get(name.id)
        if row is None:
            row = known[name.id] = _new_row(name, scene, now)
            session.add(row)
            new.append(name.id)
        if row.footprint is None and scene.footprint is not None:
            row.footprint = shapely.to_wkb(scene.footprint)
        if row.id in new or _published_earlier(row, scene):
            touched.add(name.datatake)
        touched |= _take_offer(row, scene, now)
    session.flush()
    settle_standings(session, touched, now)
    return new


def settle_standings(session: Session, datatakes: Iterable[str], now: datetime) -> None:
    """Decide anew which products of these datatakes are current."""
    groups: dict[str, list[SceneRow]] = defaultdict(list)
    for chunk in _chunks(sorted(datatakes)):
        for row in session.scalars(select(SceneRow).where(SceneRow.datatake.in_(chunk))):
            groups[row.datatake].append(row)
    for rows in groups.values():
        decided = standings(map(_member, rows))
        for row in rows:
            standing = decided[row.id]
            if (row.standing, row.yields_to) != (standing.kind, standing.by):
                row.standing, row.yields_to, row.changed_at = standing.kind, standing.by, now


def move_watermark(session: Session, source: str, watch: str, published: datetime, now: datetime) -> None:
    """Move the mark forward, never back."""
    row = session.get(WatermarkRow, (source, watch))
    if row is None:
        session.add(WatermarkRow(source=source, watch=watch, published=published, changed_at=now))
    elif row.published < published:
        row.published, row.changed_at = published, now


def same_archive(one: str | None, other: str | None) -> bool:
    """False where two checksums of one algorithm differ; unknown ones and other algorithms say nothing."""
    if one is None or other is None or one.partition(":")[0] != other.partition(":")[0]:
        return True
    return one.casefold() == other.casefold()


def scene_of(row: SceneRow, offer: OfferRow) -> Scene:
    """The scene as one source offers it."""
    return replace(
        scene_from_name(row.id),
        acquired_start=row.acquired_start,
        acquired_end=row.acquired_end,
        footprint=None if row.footprint is None else shapely.from_wkb(row.footprint),
        source=offer.source,
        key=offer.key,
        size=offer.size,
        checksum=offer.checksum,
        published=offer.published,
    )


def release_lease(row: SceneRow) -> None:
    """Nobody works on it any more."""
    row.lease_task = row.lease_owner = row.lease_until = None


def begin_anew(row: SceneRow, now: datetime) -> None:
    """Back to `found`, with all attempts ahead; whoever works on it loses its lease. Results stay until replaced."""
    advance(row, "found", now)
    row.token += 1


def advance(row: SceneRow, progress: str, now: datetime) -> None:
    """To another state, with all attempts at what follows ahead."""
    row.progress, row.changed_at = progress, now
    row.attempts, row.deaths, row.due_at, row.failed_task, row.reason = 0, 0, None, None, None
    release_lease(row)


def _new_row(name: ProductName, scene: Scene, now: datetime) -> SceneRow:
    return SceneRow(
        id=name.id,
        datatake=name.datatake,
        acquired_start=scene.acquired_start,
        acquired_end=scene.acquired_end,
        published=scene.published,
        recorded_at=now,
        changed_at=now,
    )


def _published_earlier(row: SceneRow, scene: Scene) -> bool:
    """Take an earlier time of publication: a mirror lists an old product late, which does not make it a new one."""
    if scene.published is None or (row.published is not None and row.published <= scene.published):
        return False
    row.published = scene.published
    return True


def _take_offer(row: SceneRow, scene: Scene, now: datetime) -> set[str]:
    """Note where the scene can be had; the datatake whose standings this may change."""
    offer = next((offer for offer in row.offers if offer.source == scene.source), None)
    if offer is None:
        row.offers.append(
            OfferRow(
                source=scene.source, key=scene.key, size=scene.size, checksum=scene.checksum,
                published=scene.published, recorded_at=now,
            )
        )  # fmt: skip
        return set()
    if scene.published and offer.published and scene.published < offer.published:
        return set()  # an old page of the catalogue
    other = not same_archive(offer.checksum, scene.checksum) or _other_size(offer, scene)
    offer.key, offer.published = scene.key or offer.key, scene.published or offer.published
    offer.size, offer.checksum = scene.size or offer.size, scene.checksum or offer.checksum
    return _republished(row, scene.source, now) if other else set()


def _other_size(offer: OfferRow, scene: Scene) -> bool:
    """Where a source gives no checksum, another size is another archive."""
    unknown = offer.checksum is None and scene.checksum is None
    return unknown and None not in (offer.size, scene.size) and offer.size != scene.size


def _republished(row: SceneRow, source: str, now: datetime) -> set[str]:
    """Another archive under the same name: what was fetched from this source, or failed, begins anew."""
    row.republished_at = row.changed_at = now
    done = row.progress in ("fetched", "processed") or row.failed_task == "process"
    broken = row.progress in ("failed", "quarantined")
    if row.progress != "forgotten" and ((done and row.fetched_from == source) or (broken and not done)):
        begin_anew(row, now)
        return {row.datatake}
    return set()


def _member(row: SceneRow) -> Member:
    done = row.progress in ("fetched", "processed") or row.failed_task == "process"
    return Member(
        ProductName.read(row.id),
        row.published or row.recorded_at,
        begun=done or row.lease_owner is not None or row.result_folder is not None,
        broken=row.progress in ("failed", "quarantined") and not done,
        attempts=row.attempts,
        forgotten=row.progress == "forgotten",
    )


def _rows_by_id(session: Session, ids: set[str]) -> dict[str, SceneRow]:
    rows: dict[str, SceneRow] = {}
    for chunk in _chunks(sorted(ids)):
        wanted = select(SceneRow).where(SceneRow.id.in_(chunk)).options(selectinload(SceneRow.offers))
        rows |= {row.id: row for row in session.scalars(wanted)}
    return rows


def _chunks(items: list[str]) -> list[list[str]]:
    return [items[i : i + _CHUNK] for i in range(0, len(items), _CHUNK)]
