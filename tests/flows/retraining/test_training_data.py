"""What a retraining trains on, that it is not what decides, and how the work is planned."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from flows.retraining.pipeline import collect_data
from flows.retraining.plan import make_plan
from flows.settings import Settings
from ingest.errors import UsageError
from models.classes import OIL
from models.datasets.catalogue import open_dataset
from models.datasets.simulated import VALIDATION_SEED
from models.retraining.budget import Clock, OutOfTime, time_limit
from models.retraining.heldout import require_disjoint
from models.retraining.training_data import SIMULATED, training_sources
from tests.support.dataset_folders import osd_part, released_sos
from tests.support.retraining_folders import write_pairs, write_small_retraining
from tests.support.retraining_scenes import CALM, OILY, catalogued, patched_product


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    return patched_product(tmp_path_factory.mktemp("inbox"))


def plan_of(tmp_path, **changed):
    write_small_retraining(tmp_path)
    return replace(make_plan(Settings.read(tmp_path / "retrain-small.toml", {})), **changed)


def same_pixels(images, i, path):
    return np.array_equal(images.grey(i)[0], np.asarray(Image.open(path)))


def test_sets_and_reviewed_slicks_become_one_folder(tmp_path, product):
    words = {"oily": "confirmed", "calm": "rejected"}
    catalogue = catalogued(tmp_path / "catalogue.gpkg", product, {"oily": OILY, "calm": CALM}, words)
    plan = plan_of(tmp_path, catalogue=catalogue)
    data = collect_data(plan)
    split = open_dataset(data.real)
    names = [split.train.name(i) for i in range(len(split.train))]
    assert data.chips == sum(name.startswith("S1A_IW_GRDH") for name in names) == 1  # both are in one chip of 10 km
    assert len(split.train) == data.n_train == 8
    assert len(split.test) == 1  # of eight groups one is watched
    oily = names.index(next(name for name in names if name.startswith("S1A")))
    assert (split.train.grey(oily)[1] == OIL).sum() == pytest.approx(20 * 30, abs=60)
    watched = split.test.name(0).rsplit("-", 1)[1]
    assert same_pixels(split.test, 0, tmp_path / "pairs" / "images" / f"{watched}.png")
    assert data.notes[0] == "1 chips around reviewed slicks"
    assert collect_data(plan) == data


def test_a_word_more_or_another_pixel_is_another_set(tmp_path, product):
    plan = plan_of(tmp_path, catalogue=tmp_path / "catalogue.gpkg")
    before = collect_data(plan)
    catalogued(tmp_path / "catalogue.gpkg", product, {"oily": OILY}, {"oily": "confirmed"})
    reviewed = collect_data(plan)
    assert reviewed.sha256 != before.sha256
    path = tmp_path / "pairs" / "images" / "3.png"
    image = np.asarray(Image.open(path)).copy()
    image[0, 0] ^= 1
    Image.fromarray(image).save(path)
    assert collect_data(plan).sha256 not in {before.sha256, reviewed.sha256}


def test_a_single_set_keeps_its_classes(tmp_path, monkeypatch):
    monkeypatch.setenv("SLICKWATCH_DATA", str(tmp_path))
    for part in ("train", "test"):
        osd_part(tmp_path / "osd" / part, [np.arange(25).reshape(5, 5) % 5] * 2)
    data = collect_data(plan_of(tmp_path, datasets=("osd",)))
    assert (data.real, len(data.classes), data.n_train) == ("osd", 5, 2)


def test_simulated_chips_to_train_on_are_never_those_to_test_on():
    (source,) = training_sources(["simulated"])
    assert len(source.images) == SIMULATED
    assert int(source.images.name(SIMULATED - 1)) < VALIDATION_SEED
    (reduced,) = training_sources(["simulated@4"])
    assert int(reduced.images.name(SIMULATED - 1)) < VALIDATION_SEED


def test_held_out_images_that_are_trained_on_are_refused(tmp_path):
    plan = plan_of(tmp_path)
    data = collect_data(plan)
    require_disjoint(plan.datasets, data, plan.heldout)
    with pytest.raises(UsageError, match="8 of 8 held-out images are also trained on"):
        require_disjoint(plan.datasets, data, plan.datasets)
    for kind in ("images", "masks"):  # one copy, under another name
        shutil.copy(tmp_path / "pairs" / kind / "5.png", tmp_path / "heldout" / kind / "innocent.png")
    with pytest.raises(UsageError, match=r"1 of 5 .* such as innocent"):
        require_disjoint(plan.datasets, data, plan.heldout)


def test_copies_within_sos_are_refused_though_their_pixels_differ(tmp_path, monkeypatch):
    monkeypatch.setenv("SLICKWATCH_DATA", str(tmp_path))
    # 20001 and 20445 show one place.
    released_sos(tmp_path / "sos", "sentinel", train=(20445, 20002, 30001), test=(20001, 20003))
    plan = plan_of(tmp_path, datasets=("sos-official",))
    with pytest.raises(UsageError, match=r"1 of 2 .* such as 20001"):
        require_disjoint(plan.datasets, collect_data(plan), ["sos-official"])
    clean = replace(plan, datasets=("sos-clean",))
    require_disjoint(clean.datasets, collect_data(clean), ["sos-official"])


def test_too_little_to_train_on_is_refused(tmp_path):
    write_pairs(tmp_path / "one", [1])
    with pytest.raises(UsageError, match="too few pairs"):
        collect_data(plan_of(tmp_path, datasets=(str(tmp_path / "one"),)))


def test_the_budget_reaches_every_training(tmp_path):
    settings = Settings.read(write_small_retraining(tmp_path), {"SLICKWATCH_RETRAINING__BUDGET__STEPS": "16"})
    plan = make_plan(settings, memory_gb=2.0)
    assert plan.jointnet.schedule.steps == (6, 6, 4)
    assert (plan.student.schedule.steps, plan.student.schedule.epochs) == (16, None)
    assert plan.jointnet.memory.memory_gb == plan.student.memory.memory_gb == plan.generate.memory_gb == 2.0
    assert plan.hours == 0.5
    given = make_plan(settings, hours=3.0, max_steps=8)
    assert (given.hours, given.jointnet.schedule.steps, given.student.schedule.steps) == (3.0, (3, 3, 2), 8)
    assert plan.folder == tmp_path / "retraining"


def test_time_is_shared_out_and_runs_out():
    clock = Clock(10.0)
    assert clock.share(0.6) == pytest.approx(6.0, abs=0.01)
    assert Clock(0.0).share(0.6) == 0.0
    seen = []
    progress = time_limit(0.0, "synthesis", lambda done, total: seen.append(done))
    with pytest.raises(OutOfTime, match=r"retraining, synthesis: its 0.00 hours are used up at 3 of 4; run it again"):
        progress(3, 4)
    progress(4, 4)  # what is done is done
    assert seen == [3, 4]
