"""Ledger, catalogue and results folders agree: the catalogue follows the ledger, and a check of all three proves it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pandas as pd

from flows.alerts import alerted_areas, open_alerter
from flows.settings import Settings
from flows.tasks import PUBLISHED
from ingest.files import read_json
from ingest.ledger.ledger import Ledger
from ingest.ledger.records import SceneRecord
from ingest.ledger.supersession import Standing
from outputs.alerting.alerter import Alerter
from outputs.catalogue import Catalogue, Run
from outputs.record import read_record


def settle(ledger: Ledger, settings: Settings, alerter: Alerter | None = None) -> list[str]:
    """Make the results current that the ledger says are; returns the scenes that changed.

    Slicks that become current again are reported, less those that the withdrawn results had already; without an
    `alerter`, the next round of monitoring delivers.
    """
    ledger.settle()
    if not settings.monitor.catalogue.exists():
        return []
    catalogue = Catalogue.open(settings.monitor.catalogue)
    changed = catalogue.settle(ledger.standings)
    current = {
        run.record.scene_id: run.record for id in changed for run in catalogue.runs(id) if run.state == "current"
    }
    if current:
        slicks, former = catalogue.slicks(), pd.concat([catalogue.former_slicks(id) for id in changed])
        with open_alerter(settings) if alerter is None else nullcontext(alerter) as opened:
            for scene_id, record in current.items():
                ours, others = slicks[slicks["scene_id"] == scene_id], former[former["scene_id"] != scene_id]
                watch, areas = ledger.get(scene_id).found_by, alerted_areas(settings)
                opened.report_slicks(ours, watch, areas, scene_id, record.model_id, others)
    return changed


def forget(scene_id: str, entirely: bool, ledger: Ledger, settings: Settings) -> list[str]:
    """Forget a scene and withdraw its results; returns the scenes whose results changed. Raises as `Ledger.forget`."""
    scene_id = ledger.get(scene_id).id
    try:
        if entirely and settings.monitor.catalogue.exists():  # while the ledger still knows it
            Catalogue.open(settings.monitor.catalogue).settle(lambda: {scene_id: Standing("forgotten")})
        ledger.forget(scene_id, entirely)
    finally:
        changed = settle(ledger, settings)
    return changed


def disagreements(settings: Settings, ledger: Ledger) -> list[str]:
    """Where ledger, catalogue and results folders disagree, a line each. Scenes being worked on may be in between.

    What is said twice is true: a scene may move on between two reads.
    """
    first = list(_disagreements(settings, ledger))
    again = set(_disagreements(settings, ledger)) if first else set()
    return [line for line in first if line in again]


def _disagreements(settings: Settings, ledger: Ledger) -> Iterator[str]:
    yield from (f"{id}: its standing in the ledger is outdated" for id in ledger.outdated())
    records = {record.id: record for record in ledger.list()}
    path = settings.monitor.catalogue
    catalogue = Catalogue.open(path) if path.exists() else None
    runs: dict[str, Run] = {}
    if catalogue is not None:
        yield from catalogue.disagreements(ledger.standings)
        ordered = sorted(catalogue.runs(), key=lambda run: run.state == "current")
        runs = {run.record.scene_id: run for run in ordered}  # the current one, where there is one
        unknown = sorted(id for id, run in runs.items() if run.state == "current" and id not in records)
        yield from (f"{id}: in the catalogue, but not in the ledger" for id in unknown)
        slicks = catalogue.slicks()
        ids = slicks.groupby("scene_id")["id"].agg(set).to_dict()
    for record in records.values():
        if record.state == "processed" and record.claimed_by is None:
            run = runs.get(record.id)
            problem = "not in the catalogue" if run is None else _result_problem(record, run, ids.get(record.id, set()))
            if problem is not None:
                yield f"{record.id}: processed, but {problem}"
    for folder in sorted(settings.monitor.results.glob("[!.]*/run.json")):
        if folder.parent.name not in records:
            yield f"{folder.parent}: results of a scene that is not in the ledger"


def _result_problem(record: SceneRecord, run: Run, slick_ids: set[str]) -> str | None:
    """What is wrong with the folder of a processed scene; `slick_ids` are those of the catalogue."""
    folder = Path(record.result_folder or "")
    if run.result_folder != folder:
        return f"its results are in {folder} by the ledger, in {run.result_folder} by the catalogue"
    missing = [name for name in PUBLISHED if not (folder / name).is_file()]
    if missing:
        return f"{folder / missing[0]} is missing"
    own = read_record(folder / "run.json")
    if own.run_id != run.record.run_id and run.repeated_at is None:
        return f"{folder} has run {own.run_id}, the catalogue {run.record.run_id}"
    found = {feature["properties"]["id"] for feature in read_json(folder / "slicks.geojson")["features"]}
    return None if found == slick_ids or run.state != "current" else f"{folder} has other slicks than the catalogue"
