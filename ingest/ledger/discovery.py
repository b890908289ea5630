"""Recording what a source finds: new scenes, and new archives of known ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import shapely
from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from ingest.ledger.rows import chunks, reset, update_standings
from ingest.ledger.supersession import ProductName
from ingest.ledger.tables import FindRow, OfferRow, SceneRow, WatermarkRow
from ingest.scene import Scene


def record_scenes(session: Session, watch: str | None, scenes: Sequence[Scene], now: datetime) -> list[str]:
    """Record what a watch found, or somebody named; returns the ids of new scenes in order of arrival.

    Raises `UnreadableInput`.
    """
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
            touched.add(name.datatake)
        if row.id in new or _published_earlier(row, scene):
            touched.add(name.datatake)
        touched |= _take_offer(row, scene, now)
        if watch is not None and all(find.watch != watch for find in row.finds):
            row.finds.append(FindRow(watch=watch))
    session.flush()
    update_standings(session, touched, now)
    return new


def move_watermark(session: Session, source: str, watch: str, published: datetime, now: datetime) -> None:
    """Move the watermark forward, never back."""
    row = session.get(WatermarkRow, (source, watch))
    if row is None:
        session.add(WatermarkRow(source=source, watch=watch, published=published, changed_at=now))
    elif row.published < published:
        row.published, row.changed_at = published, now


def same_archive(one: str | None, other: str | None) -> bool:
    """False if two checksums of one algorithm differ; missing ones and other algorithms prove nothing."""
    if one is None or other is None or one.partition(":")[0] != other.partition(":")[0]:
        return True
    return one.casefold() == other.casefold()


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
    """Keep the earlier publication time: a mirror listing an old product late does not make it new."""
    if scene.published is None or (row.published is not None and row.published <= scene.published):
        return False
    row.published = scene.published
    return True


def _take_offer(row: SceneRow, scene: Scene, now: datetime) -> set[str]:
    """Record where the scene is available; returns the datatakes whose standings may change."""
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
    """Without a checksum, a different size means a different archive."""
    unknown = offer.checksum is None and scene.checksum is None
    return unknown and None not in (offer.size, scene.size) and offer.size != scene.size


def _republished(row: SceneRow, source: str, now: datetime) -> set[str]:
    """Another archive under the same name: whatever was fetched from this source, or failed, starts over."""
    row.republished_at = row.changed_at = now
    done = row.progress in ("fetched", "processed") or row.failed_task == "process"
    broken = row.progress in ("failed", "quarantined")
    if row.progress != "forgotten" and ((done and row.fetched_from == source) or (broken and not done)):
        reset(row, now)
        return {row.datatake}
    return set()


def _rows_by_id(session: Session, ids: set[str]) -> dict[str, SceneRow]:
    rows: dict[str, SceneRow] = {}
    for chunk in chunks(sorted(ids)):
        wanted = (
            select(SceneRow)
            .where(SceneRow.id.in_(chunk))
            .options(selectinload(SceneRow.offers), selectinload(SceneRow.finds))
        )
        rows |= {row.id: row for row in session.scalars(wanted)}
    return rows
