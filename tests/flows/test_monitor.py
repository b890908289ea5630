"""Monitoring from an inbox to catalogue and alerts, on a real Prefect server, with workers that are killed."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import time
import warnings
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import torch
from prefect.exceptions import ParameterTypeError

import flows.detect
import flows.monitor
from flows import alerts, processing, tasks
from flows.agreement import disagreements, forget
from flows.detect import detect_slicks
from flows.detection import DetectionOptions
from flows.failures import OneLine
from flows.monitor import Monitored, is_deployed, monitor, process_scene, submit
from flows.processing import SceneRun, process
from flows.results import is_up_to_date, staged
from flows.settings import Settings
from flows.tasks import PUBLISHED
from ingest.areas import Area
from ingest.errors import SourceError, StorageError, UnreadableInput, UsageError
from ingest.ledger.ledger import Ledger, keep_lease
from ingest.watch import Round
from models.checkpoint import default_model_folder, default_model_id, load_model, save_model
from models.registry.registry import Registry
from models.simulator.product import simulate_product
from outputs.alerting.alerter import Alerter
from outputs.attributes import slick_table
from outputs.catalogue import Catalogue
from outputs.record import input_file, read_record
from tests.support.monitor_workers import LEASE_S, Told

ROOT = Path(__file__).parents[2]
SEED, SIZE = 7, (600, 600)  # one slick
BEGIN = datetime(2024, 6, 1, 5, 30, tzinfo=UTC)
SETTINGS = """
[sources.inbox]
folder = "inbox"
settle = 0
[[watch]]
name = "all"
source = "inbox"
[alerts]
minimum_confidence = 0.1
minimum_area_km2 = 0
silence_hours = 1
"""


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    """Three products of as many scenes."""
    folder = tmp_path_factory.mktemp("products")
    torch.set_num_threads(1)
    return [simulate_product(folder, SEED, SIZE, start=BEGIN + timedelta(minutes=i)).safe for i in range(3)]


class Site:
    """A folder with settings, an inbox, and an alerter that tells into a list."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config, self.inbox = folder, folder / "slickwatch.toml", folder / "inbox"
        self.inbox.mkdir()
        self.set("")

    def set(self, further: str) -> None:
        self.config.write_text(SETTINGS + further)
        self.settings = Settings.read(self.config)
        self.settings.prefect.home.mkdir(exist_ok=True)

    def put(self, product: Path, name: str | None = None) -> str:
        name = name or product.name
        shutil.copytree(product, self.inbox / name)
        return name.removesuffix(".SAFE")

    def record(self, product: Path, name: str | None = None) -> str:
        """As a round of watching leaves a scene: fetched."""
        scene_id = self.put(product, name)
        with self.ledger() as ledger:
            processing._record_product(self.inbox / f"{scene_id}.SAFE", ledger, "test", 60)
        return scene_id

    def ledger(self, **given) -> Ledger:
        return Ledger.open(self.settings.ledger_url(), **given)

    def state(self, scene_id: str):
        with self.ledger() as ledger:
            return ledger.get(scene_id)

    @property
    def catalogue(self) -> Catalogue:
        return Catalogue.open(self.settings.monitor.catalogue)

    def alerter(self) -> Alerter:
        state = self.settings.prefect.home / "alerts.sqlite"
        return Alerter.open(alerts.alert_options(self.settings), state, channels=[Told(self.folder / "told")])

    def process(self, scene: str | None = None):
        with self.alerter() as alerter:
            try:
                return process(scene, self.settings, alerter)
            finally:
                alerter.deliver()

    def disagreements(self) -> list[str]:
        with self.ledger() as ledger:
            return disagreements(self.settings, ledger)

    def told(self) -> list[list[str]]:
        file = self.folder / "told"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def site(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("SLICKWATCH_")]:
        monkeypatch.delenv(name)
    # The worker of the server that all tests share has other settings.
    monkeypatch.setattr(flows.monitor, "DEPLOYMENT", "process-scene/of-this-test")
    return Site(tmp_path)


@pytest.fixture
def direct(monkeypatch):
    """All steps for real, but without a server around them, which takes longer than they do."""
    steps = {name: step.fn for name, step in vars(tasks).items() if isinstance(step, type(tasks.publish))}
    monkeypatch.setattr(flows.detect, "tasks", SimpleNamespace(**steps))
    monkeypatch.setattr(processing, "detect_slicks", SimpleNamespace(with_options=lambda **_: detect_slicks.fn))
    monkeypatch.setattr(tasks, "report", lambda *_, **__: None)
    monkeypatch.setattr(flows.monitor, "process_scene", process_scene.fn)
    monkeypatch.setattr(flows.monitor, "report_round", lambda *_, **__: None)


def promote(site: Site, id: str, change: float) -> None:
    """A champion with weights that differ a little from the shipped ones, and so gives slicks of other ids."""
    network, checkpoint = load_model(str(default_model_folder()))
    with torch.no_grad():
        next(network.parameters()).mul_(1.0 + change)
    folder = site.folder / "trained" / id
    save_model(
        folder, network, checkpoint.architecture, checkpoint.preprocess, {}, {}, checkpoint.classes,
        tiling=checkpoint.tiling,
    )  # fmt: skip
    registry = Registry(site.settings.models.registry)
    registry.add(folder)
    registry.promote(id, "a test", "test")


# A round


def test_a_round_takes_each_scene_from_the_inbox_to_catalogue_and_results(site, products, prefect_server, caplog):
    ids = [site.put(product) for product in products[:2]]
    done = monitor("all", str(site.config))
    assert sorted(one.scene_id for one in done.processed) == sorted(ids)
    assert {one.outcome for one in done.processed} == {"processed"}
    assert (done.round.found, done.submitted, done.failed) == (2, (), {})
    told = [line.getMessage() for line in caplog.records if line.name == "outputs.alerting.channels"]
    assert len(told) == 2
    assert all("oil slick in watch all (1 scene)" in text and "monitor" not in text for text in told)
    slicks, runs = site.catalogue.slicks(), site.catalogue.runs()
    assert sorted(slicks["scene_id"]) == sorted(ids)
    assert len(runs) == 2
    for id in ids:
        folder = site.settings.monitor.results / id
        assert sorted(path.name for path in folder.iterdir()) == sorted(PUBLISHED)
        record = read_record(folder / "run.json")
        assert record.inputs == (input_file(site.inbox / f"{id}.SAFE"),)
        assert record.run_id == site.catalogue.run(record.run_id).record.run_id
        state = site.state(id)
        assert (state.state, state.result_folder, state.model_id) == ("processed", str(folder), default_model_id())
    again = monitor("all", str(site.config))
    assert (again.round.found, again.processed) == (0, ())
    assert len(site.catalogue.runs()) == 2
    artifacts = {one.key: one.data for one in asyncio.run(_artifacts())}
    key = f"provenance-{ids[0].lower().replace('_', '-')}"
    record = read_record(site.settings.monitor.results / ids[0] / "run.json")
    for said in (
        record.inputs[0].checksum,
        record.weights_sha256,
        record.config_hash,
        record.git_commit,
        "peak memory",
    ):
        assert str(said) in artifacts[key]
    assert "2 scenes found" not in artifacts["monitor-all"]


async def _artifacts():
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        return sorted(await client.read_artifacts(), key=lambda one: one.created)


def test_a_failing_scene_does_not_stop_the_others_which_go_two_at_once(site, products, prefect_server, direct):
    site.set("[monitor]\nparallel = 2\n")
    ids = [site.record(product) for product in products[:2]]
    broken = site.record(products[2])
    for tiff in (site.inbox / f"{broken}.SAFE" / "measurement").glob("*.tiff"):
        os.truncate(tiff, tiff.stat().st_size // 2)
    done = monitor.fn("all", str(site.config))
    assert sorted(one.scene_id for one in done.processed) == sorted(ids)
    assert list(done.failed) == [broken]
    state = site.state(broken)
    assert (state.state, state.path) == ("quarantined", str(site.inbox / f"{broken}.SAFE"))
    assert state.reason == done.failed[broken]
    assert not (site.settings.monitor.results / broken).exists()
    assert staged(site.settings.monitor.results) == []
    with closing(alerts.open_alerter(site.settings)) as alerter, site.ledger() as ledger:
        alerter.report_scene(ledger.get(broken))
        assert alerter.deliver().sent == (), "the round has told of it"


def test_a_server_with_the_deployment_is_handed_each_scene_once(site, products, prefect_server, direct):
    """As long as nobody claims it there is one run; when a worker died with it, the next round asks for another."""
    assert not is_deployed()
    asyncio.run(_deploy())
    try:
        assert is_deployed()
        scene_id = site.put(products[0])
        assert monitor.fn("all", str(site.config)).submitted == (scene_id,)
        assert monitor.fn("all", str(site.config)).submitted == (scene_id,)
        (run,) = asyncio.run(_runs(scene_id))
        assert run.parameters == {"scene": scene_id, "config": str(site.config)}
        asyncio.run(_end(run.id))
        monitor.fn("all", str(site.config))
        assert len(asyncio.run(_runs(scene_id))) == 2, "the first ended without a claim, as when its worker died"
        with site.ledger(clock=lambda: datetime.now(UTC) - timedelta(hours=1)) as ledger:
            ledger.claim("process", "dead", 1.0)
        monitor.fn("all", str(site.config))
        assert len(asyncio.run(_runs(scene_id))) == 3, "a worker died with a claim"
        with site.ledger() as ledger:
            ledger.claim("process", "alive", 60)
        assert monitor.fn("all", str(site.config)).submitted == ()
        assert submit({}, {}) == ()
    finally:
        asyncio.run(_undeploy())


async def _deploy():
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        flow_id = await client.create_flow(process_scene)
        await client.create_deployment(flow_id, "of-this-test", entrypoint="flows.monitor.process_scene")


async def _undeploy():
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        deployment = await client.read_deployment_by_name("process-scene/of-this-test")
        await client.delete_deployment(deployment.id)


async def _runs(scene_id):
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        # Other tests run the flow on the same scene, without a deployment.
        handed_over = [run for run in await client.read_flow_runs() if run.deployment_id is not None]
        return [run for run in handed_over if run.parameters.get("scene") == scene_id]


async def _end(run_id):
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed

    async with get_client() as client:
        await client.set_flow_run_state(run_id, Crashed(message="its worker died"), force=True)


def test_silence_of_a_watch_is_told_and_a_watch_that_is_never_silent_is_not(site):
    old = datetime.now(UTC) - timedelta(hours=30)
    with site.alerter() as alerter:
        alerter.record_run({"all": old}, alerts.last_run_file(site.settings))
        alerter.deliver()
    assert [(line[0], line[2:]) for line in site.told()] == [("silence", ["watch", "all"])]
    site.config.write_text(site.config.read_text().replace('source = "inbox"', 'source = "inbox"\nsilence_hours = 0'))
    site.settings = Settings.read(site.config)
    with site.alerter() as alerter:
        alerter.record_run({"all": old - timedelta(hours=9)}, alerts.last_run_file(site.settings))
        alerter.deliver()
    assert len(site.told()) == 1


def test_a_gap_in_the_monitoring_is_told_by_the_first_run_after_it(site):
    note = site.settings.prefect.home / "monitored.json"
    note.write_text(json.dumps({"finished": (datetime.now(UTC) - timedelta(days=3)).isoformat()}))
    with site.alerter() as alerter:
        alerter.record_run({}, note)
        alerter.deliver()
    assert [line[0] for line in site.told()] == ["silence", "all-clear"]
    assert datetime.now(UTC) - datetime.fromisoformat(json.loads(note.read_text())["finished"]) < timedelta(minutes=5)


def test_a_round_that_fails_is_told_and_raised(site, prefect_server, direct):
    site.config.write_text(SETTINGS.replace('folder = "inbox"', 'folder = "nowhere"') + "[monitor]\nparallel = 2\n")
    monitor.fn("all", str(site.config))  # a source that is down fails no round
    site.settings.monitor.catalogue.write_text("no catalogue")
    with pytest.raises(UsageError, match="no watch 'north'"):
        monitor.fn("north", str(site.config))
    with closing(alerts.open_alerter(Settings.read(site.config))) as alerter:
        assert alerter.report_failure("monitor", "x", kind="flow")
        assert not alerter.report_failure("source inbox", _down(site), kind="other")


def _down(site):
    from flows.watches import open_watches

    with open_watches(Settings.read(site.config)) as watching:
        import threading

        return watching.run_round(threading.Event()).down["inbox"]


@pytest.mark.parametrize("scene", ["S1A_IW_GRDH_1SDV_20240101T000000_20240101T000025_051900_0645F0_1234", ["no text"]])
def test_a_run_that_fails_is_told_of(site, prefect_server, scene, caplog):
    with pytest.raises((UsageError, ParameterTypeError)):
        process_scene(scene, str(site.config))
    (alert,) = [record.getMessage() for record in caplog.records if record.name == "outputs.alerting.channels"]
    assert alert.startswith("Flow failed: process-scene")
    assert "not in the ledger" in alert or "valid string" in alert


def test_a_known_failure_is_logged_without_traceback():
    def logged(error: Exception) -> str:
        record = logging.LogRecord("x", logging.ERROR, "", 1, "Encountered %r", (error,), (type(error), error, None))
        assert OneLine().filter(record)
        return logging.Formatter().format(record)

    assert logged(UsageError("a", "is wrong", "mend it")) == "a: is wrong; mend it"
    assert logged(ParameterTypeError("no\n - scene: text")) == "ParameterTypeError: no - scene: text"
    assert logged(KeyError("k")).startswith("Encountered KeyError('k')\n")
    assert any(isinstance(one, OneLine) for one in logging.getLogger("prefect.flow_runs").filters)


# One scene


@pytest.fixture
def one(site, products, direct):
    return site.record(products[0])


class Killed(BaseException):
    """Ends a run as a signal does."""


STEPS = {
    "before it is in place": (processing, "put_in_place", False),
    "before the catalogue": (Catalogue, "publish", False),
    "before the alerts": (Alerter, "report_slicks", False),
    "before the ledger": (Ledger, "processed", False),
    "after all": (Ledger, "processed", True),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_run_cut_off_at_any_step_leaves_one_result_and_one_alert_after_the_next(site, one, monkeypatch, step):
    owner, name, after = STEPS[step]
    real = getattr(owner, name)

    def cut(*given, **named):
        if after:
            real(*given, **named)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, cut)
        with pytest.raises(Killed):
            site.process(one)
    assert site.disagreements() == []
    done = site.process(one)
    assert done.folder == site.settings.monitor.results / one
    assert one_result(site, one)
    assert [line[0] for line in site.told()] == ["detection"]
    assert site.process(one).outcome == "unchanged"
    assert len(site.told()) == 1


def one_result(site: Site, scene_id: str) -> bool:
    """Whether there is one current result of a scene, the same one everywhere; exactly one slick is in these scenes."""
    (run,) = [run for run in site.catalogue.runs(scene_id) if run.state == "current"]
    slicks = site.catalogue.slicks()
    ours = slicks[slicks["scene_id"] == scene_id]
    folder = site.settings.monitor.results / scene_id
    published = gpd.read_file(folder / "slicks.geojson")
    assert list(ours["id"]) == list(published["id"])
    assert len(ours) == 1
    assert run.record.run_id == read_record(folder / "run.json").run_id == published["run_id"][0]
    assert run.result_folder == folder
    assert site.state(scene_id).state == "processed"
    return True


def test_the_same_scene_gives_the_same_slicks_in_any_place(site, one, products, tmp_path):
    site.process(one)
    elsewhere = detect_slicks.fn(products[0], tmp_path / "elsewhere", report=False)
    assert set(gpd.read_file(elsewhere.folder / "slicks.geojson")["id"]) == set(site.catalogue.slicks()["id"])


def test_a_model_is_pinned_for_the_scene_and_the_next_takes_the_new_champion(site, one, products, monkeypatch):
    next_one = site.record(products[1])
    detect = processing.SceneRun._detect

    def promoting(self, product):
        if not Registry(site.settings.models.registry).ids():
            promote(site, "B", 1e-5)
        return detect(self, product)

    monkeypatch.setattr(processing.SceneRun, "_detect", promoting)
    assert site.process(one).outcome == "processed"
    assert site.process(next_one).outcome == "processed"
    models = dict(zip(site.catalogue.slicks()["scene_id"], site.catalogue.slicks()["model_id"], strict=True))
    assert models == {one: default_model_id(), next_one: "B"}
    assert len(site.told()) == 2
    # Asked for by name, the first is done again: the new result takes the place of the old one, everywhere.
    assert site.process(one).outcome == "processed"
    assert site.process(one).outcome == "unchanged"
    assert one_result(site, one)
    assert read_record(site.settings.monitor.results / one / "run.json").model_id == "B"
    (former,) = [run for run in site.catalogue.runs(one) if run.state == "superseded"]
    assert former.record.model_id == default_model_id()
    assert len(site.told()) == 2, "the same oil, seen by another model, is no news"


def test_a_damaged_champion_is_told_of_and_the_model_before_it_used(site, one):
    promote(site, "B", 1e-5)
    weights = Registry(site.settings.models.registry).champion().folder / "weights.safetensors"
    weights.chmod(0o600)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    site.process(one)
    assert site.state(one).model_id == default_model_id()
    assert sorted(line[0] for line in site.told()) == ["detection", "failure"]


def test_a_later_processing_supersedes_the_former_result(site, one, products):
    site.process(one)
    later = site.record(products[0], products[0].name[:-9] + "FFFF.SAFE")
    assert later != one
    assert site.process().scene_id == later
    assert list(site.catalogue.slicks()["scene_id"]) == [later]
    assert [run.record.scene_id for run in site.catalogue.runs() if run.state == "superseded"] == [one]
    assert len(site.told()) == 1
    left = site.process(one)
    assert (left.outcome, left.why) == ("skipped", f"superseded: replaced by {later}")


def test_forgetting_the_later_processing_gives_the_former_slicks_back_and_new_ones_are_told_of(site, one, products):
    site.process(one)
    later = site.record(products[0], products[0].name[:-9] + "FFFF.SAFE")
    site.process()
    with site.ledger() as ledger:
        assert sorted(forget(later, False, ledger, site.settings)) == sorted([one, later])
    assert list(site.catalogue.slicks()["scene_id"]) == [one]
    assert site.disagreements() == []
    promote(site, "B", 1e-5)
    assert site.process(one).outcome == "processed"
    assert site.catalogue.slicks()["model_id"].tolist() == ["B"]
    assert site.disagreements() == []


def test_a_product_that_the_ledger_does_not_know_is_recorded_and_processed(site, products, direct):
    done = process_scene.fn(str(products[0]), str(site.config))
    assert (done.outcome, done.scene_id) == ("processed", products[0].stem)
    assert site.state(done.scene_id).path == str(products[0])
    assert process_scene.fn(str(products[0]), str(site.config)).outcome == "unchanged"
    assert process_scene.fn(None, str(site.config)).scene_id is None
    with pytest.raises(UsageError, match="not in the ledger"):
        process_scene.fn(products[1].stem, str(site.config))


def test_a_product_that_changed_is_not_up_to_date(site, one):
    done = site.process(one)
    product = site.inbox / f"{one}.SAFE"
    assert is_up_to_date(done.folder, product, DetectionOptions())
    assert not is_up_to_date(done.folder, product, DetectionOptions(polarisation="VV"))
    manifest = product / "manifest.safe"
    manifest.write_text(manifest.read_text() + "\n")
    assert not is_up_to_date(done.folder, product, DetectionOptions())


def test_what_is_claimed_is_left_alone(site, one, prefect_server):
    with site.ledger() as ledger:
        (claim,) = ledger.claim("process", "another", 3)
        with keep_lease(ledger, claim):
            held = process_scene(one, str(site.config), return_state=True)
        assert (held.type.value, held.name) == ("CANCELLED", "Cancelled")
        assert held.message.startswith(f"{one}: another is working on it (lease until ")
        ledger.release(claim)
        ledger.claim_scene(one, "process", "another", 600)
        assert site.process(one).outcome == "held"
        assert site.process().scene_id is None


def test_what_a_dead_worker_held_is_taken_over_when_its_lease_ends(site, one):
    with site.ledger() as ledger:
        ledger.claim("process", "dead", 1)
    assert site.process(one).outcome == "processed"


def test_failures_are_tried_again_later_and_in_the_end_the_scene_is_parked_and_told_of(site, one):
    shutil.rmtree(site.inbox / f"{one}.SAFE")
    now = datetime.now(UTC)
    for attempt in range(1, 7):
        with site.ledger(clock=lambda at=now: at) as ledger, site.alerter() as alerter:
            (claim,) = ledger.claim("process", "w", 60)
            assert claim.attempt == attempt
            with pytest.raises(SourceError, match="no longer at"):
                SceneRun(claim, ledger, site.settings, alerter, default_model_folder()).run()
            alerter.deliver()
            assert (ledger.get(one).state == "failed") is (attempt == 6)
            now += timedelta(hours=7)
    assert [(line[0], line[2]) for line in site.told()] == [("failure", one)]
    assert site.process(one).why.startswith("failed: ")


def test_a_failure_of_the_disk_costs_the_scene_no_attempt(site, one, monkeypatch):
    def full(*given):
        raise StorageError("results", "the disk is full", "make room")

    with monkeypatch.context() as patched:
        patched.setattr(processing, "put_in_place", full)
        with pytest.raises(StorageError):
            site.process(one)
    state = site.state(one)
    assert (state.state, state.attempts, state.claimed_by, state.due_at) == ("fetched", 0, None, None)
    assert [line[0] for line in site.told()] == ["failure"]
    assert site.process(one).outcome == "processed"


def test_a_damaged_catalogue_puts_no_scene_into_quarantine(site, one):
    site.settings.monitor.catalogue.write_text("something else")
    with pytest.raises(UnreadableInput):
        site.process(one)
    assert (site.state(one).state, site.state(one).attempts) == ("fetched", 0)
    assert (site.settings.monitor.results / one / "run.json").exists()
    site.settings.monitor.catalogue.unlink()
    assert site.process(one).outcome == "unchanged"
    assert one_result(site, one)


# By a thread, so that the alarm signal is left to Prefect, as it is in a worker. Where the signal is taken, Prefect
# raises its error in a thread by number, which Python may give to one that is just being started: it never starts then.
@pytest.mark.timeout(method="thread")
def test_a_scene_that_takes_too_long_is_tried_again_later(site, products, prefect_server, monkeypatch):
    one = site.record(products[0])
    site.set("[monitor]\nscene_timeout_minutes = 0.05\n")
    # The signal finds it waiting, not within a library that swallows the error.
    monkeypatch.setattr("flows.tasks.land_mask", lambda *_: time.sleep(500))
    with pytest.raises(TimeoutError):
        site.process(one)
    state = site.state(one)
    assert (state.state, state.attempts, state.reason) == ("fetched", 1, "not finished after 0.05 minutes")
    assert state.due_at is not None
    assert site.process(one).outcome == "held"
    assert staged(site.settings.monitor.results) == []


def test_a_polarisation_that_the_model_was_not_trained_on_costs_no_scene(site, one):
    site.set('[monitor]\npolarisation = "VH"\n')
    with pytest.raises(UsageError, match=r"monitor\.polarisation: VH is selected, the model was trained on VV"):
        site.process(one)
    assert (site.state(one).state, site.state(one).attempts) == ("fetched", 0)


def test_a_scene_without_data_is_alerted_and_not_taken_for_clean(site, products, direct):
    blank = shutil.copytree(products[0], site.folder / products[0].name)
    for file in (blank / "measurement").iterdir():
        with warnings.catch_warnings(), rasterio.open(file, "r+") as image:
            warnings.simplefilter("ignore")
            image.write(np.zeros(image.shape, np.uint16), 1)
    done = site.process(site.record(blank))
    why = "0 % land, 100 % no data, 0 % calm sea"
    assert (done.slick_count, done.new_alerts, done.coverage.nothing_to_see) == (0, 1, why)
    (alert,) = site.told()
    assert alert[0] == "failure"
    (scene,) = site.catalogue.scenes().to_dict("records")
    assert scene["nothing_to_see"] == why
    nothing_else = Round(0, (), {}, {}, (), {}, None, 0.0)
    summary = flows.monitor.round_summary(Monitored(nothing_else, (), (done,), {}, ()))
    assert f"processed, nothing to see ({why})" in summary
    assert site.process(done.scene_id).outcome == "unchanged"
    assert len(site.told()) == 1


def test_a_worker_that_slept_through_its_lease_changes_nothing(site, one, monkeypatch):
    """While it sleeps its successor does all the work, with another model."""
    detected = processing.SceneRun._detect

    def slow(self, product):
        folder = detected(self, product)
        monkeypatch.setattr(processing.SceneRun, "_detect", detected)
        promote(site, "B", 1e-5)
        with site.ledger(clock=lambda: datetime.now(UTC) + timedelta(hours=1)) as ledger, site.alerter() as alerter:
            (claim,) = ledger.claim("process", "successor", 60)
            model = processing.pinned_model(site.settings, alerter)
            SceneRun(claim, ledger, site.settings, alerter, model).run()
        return folder

    monkeypatch.setattr(processing.SceneRun, "_detect", slow)
    assert site.process(one).outcome == "held"
    assert one_result(site, one)
    assert site.state(one).model_id == "B"


# Areas


def test_alerts_are_of_what_is_watched_and_asked_for(site):
    def areas(watches: str, asked: str) -> dict[str, tuple[float, ...]]:
        text = SETTINGS.replace('source = "inbox"', f'source = "inbox"\n{watches}')
        site.config.write_text(text + asked)
        return {area.name: area.geometry.bounds for area in alerts.alerted_areas(Settings.read(site.config))}

    assert areas("", "") == {}, "everywhere"
    assert areas('area = "0,50,10,60"', "") == {"all": (0, 50, 10, 60)}
    (bounds,) = areas("", 'areas = ["5,55,20,70"]').values()
    assert bounds == (5, 55, 20, 70)
    (bounds,) = areas('area = "0,50,10,60"', 'areas = ["5,55,20,70"]').values()
    assert bounds == (5, 55, 10, 60)
    (nowhere,) = areas('area = "0,50,1,51"', 'areas = ["5,55,20,70"]').values()
    assert not any(edge > 0 for edge in nowhere)


def test_slicks_outside_the_watched_areas_and_those_told_before_are_no_news(site):
    boxes = [shapely.box(x, 51, x + 0.1, 51.1) for x in (1.0, 2.0, 3.0, 30.0)]
    slicks = slick_table([_slick(name) for name in "abcd"], [shapely.MultiPolygon([one]) for one in boxes])
    former = slick_table(
        [_slick("old") | {"status": "rejected"}, _slick("weak") | {"confidence_mean": 0.01}],
        [shapely.MultiPolygon([boxes[0]]), shapely.MultiPolygon([boxes[1]])],
    )
    site.config.write_text(SETTINGS.replace('source = "inbox"', 'source = "inbox"\narea = "0,50,10,60"'))
    settings = Settings.read(site.config)
    areas = alerts.alerted_areas(settings)
    with site.alerter() as alerter:
        assert len(alerter.report_slicks(slicks, "all", areas, "scene", "model", former)) == 2
        assert alerter.report_slicks(slicks, "all", areas, "scene", "model", former) == ()
        alerter.deliver()
    assert sorted(line[2] for line in site.told()) == ["b", "c"]
    assert isinstance(areas[0], Area)


def _slick(name: str) -> dict[str, object]:
    return {"id": name, "class": "oil", "status": "unreviewed", "area_m2": 1e6, "confidence_mean": 0.9}


# kill -9


def test_killed_at_random_nothing_is_lost_and_nothing_doubled(site, products, prefect_server):
    from prefect.settings import PREFECT_API_URL

    ids = [site.record(product) for product in products]
    told = site.folder / "told"
    around = os.environ | {
        "PREFECT_API_URL": PREFECT_API_URL.value(),
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "-m", "tests.support.monitor_workers", str(site.config), str(told)]
    draw, statuses = random.Random(4), []
    with subprocess.Popen(
        command, cwd=ROOT, env=around, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout.readline() == "ready\n"
        for seconds in [*(draw.uniform(0.2, 5.0) for _ in range(5)), 0.0]:
            worker.stdin.write(f"{seconds}\n")
            worker.stdin.flush()
            statuses.append(int(worker.stdout.readline()))
            assert site.disagreements() == []
            time.sleep(LEASE_S / 4)
        worker.stdin.close()
    assert statuses[-1] == 0
    assert set(statuses[:-1]) <= {0, -9}
    assert -9 in statuses
    assert all(one_result(site, id) for id in ids)
    assert {record.state for record in _all(site)} == {"processed"}
    results = site.settings.monitor.results
    assert sorted(path.name for path in results.iterdir() if path.name[0] != ".") == [*sorted(ids), "collection.json"]
    assert staged(results) == []
    assert len(site.catalogue.slicks()) == len(ids)
    alerts = {line[1]: line[0] for line in site.told()}
    assert list(alerts.values()) == ["detection"] * len(ids)


def _all(site: Site):
    with site.ledger() as ledger:
        return ledger.list()
