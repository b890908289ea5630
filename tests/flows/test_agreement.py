"""Ledger, catalogue and results folders: what is forgotten or restored, and what a check says where they disagree."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flows.agreement import settle
from flows.settings import Settings
from flows.tasks import PUBLISHED
from ingest.files import write_json
from ingest.ledger.ledger import Ledger
from outputs.catalogue import Catalogue
from outputs.record import write_record
from tests.support.catalogue_results import FOOTPRINT, SCENE, record, squares, table

LATER = replace(SCENE, id=SCENE.id[:-4] + "0FCC")
T0 = datetime(2026, 1, 1, tzinfo=UTC)


class Site:
    """A ledger, a catalogue and results, without products and models."""

    def __init__(self, folder, cli) -> None:
        (folder / "slickwatch.toml").write_text("[alerts]\nminimum_confidence = 0\nminimum_area_km2 = 0\n")
        self.settings, self.cli = Settings.read(folder / "slickwatch.toml"), cli
        self.ledger = Ledger.open(self.settings.ledger_url())
        self.catalogue = Catalogue.open(self.settings.monitor.catalogue)

    def process(self, scene, outlines, age=0) -> None:
        published = replace(scene, source="x", key="k", published=T0 + timedelta(days=age))
        self.ledger.record_found("x", "w", [published])
        claim = self.ledger.claim_scene(scene.id, "fetch", "w", 60)
        self.ledger.fetched(claim, f"/{scene.id}.zip", 1, None)
        claim = self.ledger.claim_scene(scene.id, "process", "w", 60)
        folder = self.settings.monitor.results / scene.id
        folder.mkdir(parents=True)
        run = record(f"run-{scene.id[-4:]}", scene, len(outlines))
        for name in PUBLISHED:
            (folder / name).touch()
        write_record(run, folder / "run.json")
        write_json(folder / "slicks.geojson", {"features": [{"properties": {"id": id}} for id in outlines]})
        self.catalogue.publish(
            run, scene, FOOTPRINT, table(run.run_id, outlines, scene), result_folder=folder,
            standings=lambda: self.ledger.standings(scene.id),
        )  # fmt: skip
        self.ledger.processed(claim, str(folder), "m", None)

    def check(self) -> list[str]:
        code, out, err = self.cli("check", "--json")
        assert err == ""
        assert code == (0 if json.loads(out)["well"] else 1)
        return json.loads(out)["disagreements"]

    def current(self) -> list[str]:
        return sorted(self.catalogue.slicks()["id"])


@pytest.fixture
def site(tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLICKWATCH_LEDGER", raising=False)
    made = Site(tmp_path, cli)
    yield made
    made.ledger.close()


@pytest.fixture
def superseded(site):
    site.process(SCENE, squares(3))
    site.process(LATER, squares(2, prefix="t"), age=1)
    assert (site.check(), site.current()) == ([], ["t0", "t1"])
    return site


@pytest.mark.parametrize("entirely", [[], ["--entirely"]])
def test_forgetting_a_later_processing_gives_the_former_slicks_back(superseded, cli, entirely):
    code, out, err = cli("scenes", "forget", LATER.id, *entirely)
    assert (code, err) == (0, "")
    assert out.endswith(f"; results current again: {SCENE.id}\n")
    assert superseded.current() == ["s0", "s1", "s2"]
    left = [f"{superseded.settings.monitor.results / LATER.id}: results of a scene that is not in the ledger"]
    assert superseded.check() == (left if entirely else [])
    if not entirely:
        assert cli("scenes", "retry", LATER.id)[0] == 0
        assert (superseded.check(), superseded.current()) == ([], ["t0", "t1"])


def test_slicks_that_were_never_current_are_told_of_when_they_become_so(site, tmp_path):
    site.process(LATER, squares(2, prefix="t"), age=1)
    site.ledger.record_found("x", "w", [replace(SCENE, source="x", published=T0)])
    site.ledger.forget(LATER.id)
    site.process(SCENE, squares(3))
    site.ledger.retry(LATER.id)
    assert sorted(settle(site.ledger, site.settings)) == [LATER.id, SCENE.id]
    site.ledger.forget(LATER.id)
    assert [line.split(": its result is ")[1] for line in site.check()] == [
        "current in the catalogue, by the ledger it should be superseded (forgotten)",
        "superseded in the catalogue, by the ledger it should be current",
    ]
    settle(site.ledger, site.settings)
    assert (site.check(), site.current()) == ([], ["s0", "s1", "s2"])
    with closing(sqlite3.connect(site.settings.prefect.home / "alerts.sqlite")) as told, told:
        assert any("s2" in line for line in told.iterdump())


def test_the_check_names_each_disagreement(superseded):
    results = superseded.settings.monitor.results
    folder = results / LATER.id
    write_json(folder / "slicks.geojson", {"features": []})
    assert superseded.check() == [f"{LATER.id}: processed, but {folder} has other slicks than the catalogue"]
    (folder / "run.json").unlink()
    assert superseded.check() == [f"{LATER.id}: processed, but {folder / 'run.json'} is missing"]
    with closing(sqlite3.connect(superseded.settings.ledger_url())) as ledger, ledger:
        ledger.execute("UPDATE scenes SET standing = 'current', yields_to = NULL")
    said = superseded.check()
    assert said[0] == f"{SCENE.id}: its standing in the ledger is outdated"
    assert said[1].startswith(f"{SCENE.id}: its result is superseded in the catalogue")
    superseded.ledger.settle()
    superseded.settings.monitor.catalogue.unlink()
    assert superseded.check() == [f"{LATER.id}: processed, but not in the catalogue"]


def test_a_check_makes_no_ledger(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLICKWATCH_LEDGER", raising=False)
    assert cli("check")[0] == 2
    assert list(tmp_path.iterdir()) == []
