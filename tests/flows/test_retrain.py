"""The whole retraining: killed, failing, gone on with under Prefect, promoted, and watched afterwards."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flows.retraining.pipeline import collect_data, compare_and_promote, retrain
from flows.retraining.plan import make_plan
from flows.settings import Settings
from ingest.errors import ModelError
from models.checkpoint import default_model_id, save_model
from models.classes import OIL_CLASSES
from models.networks.architecture import Architecture
from models.networks.build import build_network
from models.registry.inventory import describe_model, find_model
from models.registry.registry import Registry
from models.retraining import diffusion
from models.retraining.champion import report_champion
from models.retraining.decision import decide_promotion
from models.retraining.margins import Margins
from models.retraining.steps import DONE, StepResult
from models.training.options import changed
from preprocess.options import PreprocessOptions
from tests.support.retraining_folders import write_small_retraining

ANYTHING_GOES = Margins(miou=1.0, object_f1=1.0, false_alarms=1000.0)
# Kills itself once SAR-JointNet has saved a state of its second stage: that is after the row of its log.
KILLED = """
import os, signal, sys, threading, time
from pathlib import Path
from flows.retraining.pipeline import retrain
from flows.retraining.plan import make_plan
from flows.settings import Settings

plan = make_plan(Settings.read(Path(sys.argv[1]), {}))

def watch():
    while not any(len(log.read_text().splitlines()) >= 6 for log in plan.folder.glob("jointnet-*/log.csv")):
        time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=watch, daemon=True).start()
retrain(plan)
"""


def settings_plan(config, **values):
    return replace(make_plan(Settings.read(config, {})), **values)


def finished(folder):
    """The files of all finished steps, and when they were written."""
    folders = [done.parent for done in folder.glob(f"*/{DONE}")]
    return {path: path.stat().st_mtime_ns for step in folders for path in step.rglob("*") if path.is_file()}


def names(folder):
    return {done.parent.name.rsplit("-", 1)[0] for done in folder.glob(f"*/{DONE}")}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A retraining that was killed in the second stage of SAR-JointNet."""
    torch.set_num_threads(1)
    config = write_small_retraining(tmp_path_factory.mktemp("retraining"))
    run = subprocess.run([sys.executable, "-c", KILLED, config], cwd=Path(__file__).parents[2], capture_output=True)
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()
    return config


@pytest.fixture(scope="module")
def failed(killed):
    """The same, gone on with until it failed before the training of SAROSS-Net; what was printed."""
    plan, said = settings_plan(killed), []

    def run(name, function):
        def step(*arguments):
            if name == "train-saross":
                raise RuntimeError("the machine went down")
            return function(*arguments)

        return step

    assert names(plan.folder) == {"data", "balance"}
    before = finished(plan.folder)
    (state,) = plan.folder.glob("jointnet-*/state.pt")
    said.append(torch.load(state, weights_only=True)["stage"])
    with pytest.raises(RuntimeError, match="went down"):
        retrain(plan, run)
    after = finished(plan.folder)
    assert {path: after[path] for path in before} == before
    return killed, said[0], before


@pytest.fixture(scope="module")
def ended(failed, prefect_server):
    """The same, gone on with to its end by the flow."""
    from flows.retrain import retrain_dakd

    config, _, _ = failed
    plan = settings_plan(config)
    before = finished(plan.folder)
    outcome = retrain_dakd(config)
    return config, outcome, before


def test_a_killed_retraining_goes_on_within_the_training_it_was_killed_in(failed):
    config, stage, _ = failed
    assert stage == 2
    (log,) = settings_plan(config).folder.glob("jointnet-*/log.csv")
    rows = log.read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == [str(step) for step in range(1, 9)]  # each step once
    assert names(settings_plan(config).folder) >= {"data", "balance", "jointnet", "synthetic", "quality"}


def test_the_rerun_leaves_finished_steps_as_they_are(ended):
    config, outcome, before = ended
    after = finished(settings_plan(config).folder)
    assert {path: after[path] for path in before} == before
    assert set(outcome.reused) == {"balance", "jointnet", "synthetic", "quality"}


def test_a_worse_challenger_leaves_the_champion_and_says_why(ended):
    config, outcome, _ = ended
    registry = Registry(settings_plan(config).registry)
    assert not outcome.promoted
    assert registry.champion().id == outcome.champion == default_model_id()
    assert any("beyond the margin of" in reason or "not comparable" in reason for reason in outcome.reasons)
    (version,) = registry.versions()
    card = (version.folder / "README.md").read_text()
    assert "## Why it was not promoted" in card
    assert outcome.reasons[0] in card


def test_comparison_and_provenance_are_written_down(ended):
    config, outcome, _ = ended
    record = json.loads((outcome.folder / "comparison.json").read_text())
    text = (outcome.folder / "comparison.md").read_text()
    assert record["decision"]["reasons"] == list(outcome.reasons)
    assert f"**{default_model_id()} stays the champion.**" in text
    assert record["synthetic"]["count"] == round(0.75 * record["data"]["n_train"])
    assert record["jointnet"]["options"]["b"] == record["balance"]["b"]
    assert record["challenger"]["options"]["synthetic_labels"] == "soft"
    assert record["peak_memory_bytes"] > 0
    assert set(record["durations_s"]) >= {"jointnet", "synthetic", "student", "evaluation"}
    assert (outcome.folder / "contact-sheet.png").is_file()
    assert (outcome.folder / "evaluation" / "0" / "table.md").is_file()
    registry = settings_plan(config).registry
    described = describe_model(find_model(outcome.challenger, registry), registry)
    (heldout,) = described["registry"]["comparison"]
    assert described["registry"]["comparison"][heldout]["miou"]["champion"] > 0
    assert record["heldout"][heldout]["n_images"] == 4
    assert described["training"]["synthetic_pairs"]["n"] > 0


def test_prefect_has_the_steps_and_the_artifacts(ended):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowFilter, FlowFilterName

    keys = [f"{kind}-{ended[1].challenger}" for kind in ("comparison", "synthetic")]

    async def seen():
        async with get_client() as client:
            tasks = await client.read_task_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["retrain-dakd"])))
            wanted = ArtifactFilter(key=ArtifactFilterKey(any_=keys))
            return tasks, await client.read_artifacts(artifact_filter=wanted)

    tasks, artifacts = asyncio.run(seen())
    ran = {task.name.rsplit("-", 1)[0] for task in tasks}
    assert ran >= {"collect-data", "balance", "train-jointnet", "synthesize", "quality", "train-saross", "report"}
    assert {artifact.type for artifact in artifacts} == {"markdown", "image"}
    assert any("stays the champion" in str(artifact.data) for artifact in artifacts)


def test_the_next_round_begins_with_the_last_diffusion_model(ended):
    config, _, _ = ended
    plan = settings_plan(config)
    data = collect_data(plan)
    start = diffusion.diffusion_start(plan.folder, plan.jointnet, data)
    assert start.folder is not None
    assert start.folder.name.startswith("jointnet-")
    options = diffusion.diffusion_options(plan.jointnet, data, 0.5, start)
    assert (options.schedule.steps, options.model.start, options.diffusion.b) == ((0, 0, 2), str(start.folder), 0.5)
    wider = changed(plan.jointnet, channels=(8, 24))
    start = diffusion.diffusion_start(plan.folder, wider, data)
    assert start.folder is None
    assert "another architecture" in start.note


def student_of(plan):
    (folder,) = plan.folder.glob("saross-dakd-*")
    return StepResult(folder, json.loads((folder / DONE).read_text())["value"], 0.0, reused=True)


def steps_of(plan):
    by_name = {"balance": "balance", "jointnet": "jointnet", "synthetic": "synthetic", "quality": "quality"}
    found = {}
    for name, step in by_name.items():
        (folder,) = (done.parent for done in plan.folder.glob(f"{step}-*/{DONE}"))
        found[name] = StepResult(folder, json.loads((folder / DONE).read_text())["value"], 0.0, reused=True)
    return {**found, "student": student_of(plan)}


@pytest.fixture(scope="module")
def promoted(ended):
    """The same challenger where the margins let it through; in a registry of its own."""
    config, _, _ = ended
    plan = settings_plan(config, margins=ANYTHING_GOES)
    plan = replace(plan, registry=plan.registry.with_name("generous"))
    steps = steps_of(plan)
    return plan, steps, compare_and_promote(plan, collect_data(plan), steps, "run-1")


def test_a_challenger_within_the_margins_is_promoted_with_its_card_and_reasons(promoted):
    plan, _, outcome = promoted
    champion = Registry(plan.registry).champion()
    assert outcome.promoted
    assert champion.id == outcome.challenger
    assert champion.promotion.reason.startswith("replaces the champion: ")
    assert champion.promotion.by == "retrain-dakd, run run-1"
    assert "## Why it was promoted" in (champion.folder / "README.md").read_text()
    assert champion.version.provenance.champion == default_model_id()


def test_interrupted_after_the_promotion_it_only_finishes(promoted):
    plan, steps, outcome = promoted
    again = compare_and_promote(plan, collect_data(plan), steps, "run-2")
    assert (again.promoted, again.reasons) == (True, outcome.reasons)
    assert len(Registry(plan.registry).promotions()) == 1


def report_of_champion(plan):
    return report_champion(plan.folder, plan.registry, plan.heldout, Margins(0.0, 0.0, 0.0), None)


def test_the_champion_holds_until_it_drops(promoted, tmp_path):
    plan, _, outcome = promoted
    now = report_of_champion(plan)
    assert (now.champion, now.holds, len(now.checks)) == (outcome.challenger, True, 3)
    now.require()
    (heldout,) = plan.heldout
    kept = tmp_path / "kept"
    shutil.copytree(heldout, kept)
    try:  # all is oil now that it takes for the sea
        for mask in Path(heldout, "masks").iterdir():
            grey = np.asarray(Image.open(Path(heldout, "images") / mask.name).convert("L"))
            Image.fromarray(np.where(grey > 127, 255, 0).astype(np.uint8)).save(mask)
        dropped = report_of_champion(plan)
    finally:
        shutil.rmtree(heldout)
        shutil.copytree(kept, heldout)
    assert not dropped.holds
    assert "Scores have dropped. The images of" in dropped.verdict
    with pytest.raises(ModelError, match=f"{outcome.challenger}: scores have dropped"):
        dropped.require()
    assert json.loads((dropped.folder / "standing.json").read_text())["verdict"] == dropped.verdict


def test_the_shipped_champion_is_held_to_its_first_evaluation(ended):
    from flows.retrain import evaluate_champion

    config, _, _ = ended
    first = evaluate_champion(config)
    assert (first.champion, first.checks) == (default_model_id(), ())
    again = evaluate_champion(config)
    assert again.holds
    assert len(again.checks) == 3


def test_a_two_class_model_is_never_promoted(promoted, tmp_path):
    plan, _, _ = promoted
    folder = tmp_path / "two-classes"
    architecture = Architecture(encoder="nano", classes=2)
    network = build_network(architecture)
    save_model(folder, network, architecture, PreprocessOptions(), {}, {}, OIL_CLASSES)
    perfect = {"miou": 1.0, "object_f1": 1.0, "false_alarms_per_image": 0.0}
    decision = decide_promotion({"set": {"champion": perfect, "challenger": perfect}}, folder, plan.margins)
    assert not decision.promote
    assert decision.reasons == (
        "two-classes tells apart other, oil alone, and monitoring needs all five classes",
    )  # fmt: skip


def test_time_that_is_up_ends_a_training_at_a_state_to_go_on_from(ended, tmp_path):
    from models.retraining.budget import OutOfTime

    config, _, _ = ended
    plan = settings_plan(config)
    data = collect_data(plan)
    nothing = diffusion.Start(None, None, "from random weights")
    with pytest.raises(OutOfTime, match=r"SAR-JointNet: its 0.00 hours are used up .* run it again"):
        diffusion.train_diffusion(tmp_path, plan.jointnet, data, 0.5, nothing, 0.0)
    assert len(list(tmp_path.glob("jointnet-*/state.pt"))) == 1
    assert not list(tmp_path.glob(f"jointnet-*/{DONE}"))
