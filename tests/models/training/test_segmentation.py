"""Training learns, stops and goes on exactly, and says what it was given wrongly."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ingest.errors import UsageError
from models.checkpoint import load_model
from models.classes import IGNORE, NOT_OIL, OIL
from models.evaluation.metrics import (
    confusion_matrix,
    intersection_over_union,
    precision,
    recall,
)
from models.networks.build import NETWORKS
from models.training.loop import learning_rate, train
from models.training.options import TrainOptions, read_options
from models.training.pairs import TrainingPairs, cropped, mosaic, parts_of_batches
from preprocess.options import PreprocessOptions

TINY = TrainOptions(steps=4, batch_size=2, crop=64, warm_up=1, validate_every=2, validation_chips=2, workers=0)


def quiet(line):
    return None


def weights(folder):
    return load_model(str(folder))[0].state_dict()


def test_an_interrupted_training_goes_on_to_what_an_uninterrupted_one_gives(tmp_path):
    train(TINY, tmp_path / "whole", report=quiet)

    def stop(line):
        if line.startswith("step 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(TINY, tmp_path / "parts", report=stop)
    said = []
    train(TINY, tmp_path / "parts", resume=True, report=said.append)
    assert said[0].startswith("resuming at step 2")
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "parts")[name]), name


def test_a_training_may_start_from_another_models_weights(tmp_path):
    train(TINY, tmp_path / "first", report=quiet)
    still = replace(TINY, steps=1, learning_rate=0.0, weight_decay=0.0, start=str(tmp_path / "first"))
    train(still, tmp_path / "second", report=quiet)
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    learned = [name for name in first if "running" not in name and "num_batches" not in name]
    assert all(torch.equal(first[name], second[name]) for name in learned)


def test_another_schedule_is_not_resumed(tmp_path):
    train(replace(TINY, steps=2), tmp_path, report=quiet)
    with pytest.raises(UsageError, match="another steps"):
        train(TINY, tmp_path, resume=True, report=quiet)


def test_the_checkpoint_tells_what_it_was_trained_on_and_the_log_is_kept(tmp_path):
    checkpoint = train(TINY, tmp_path / "model", report=quiet)
    assert checkpoint.training["options"]["steps"] == 4
    assert set(checkpoint.metrics["simulated_validation"]) >= {"oil_iou", "miou", "oil_precision", "oil_recall"}
    rows = (tmp_path / "model" / "log.csv").read_text().splitlines()
    assert rows[0].startswith("step,loss,")
    assert [row.split(",")[0] for row in rows[1:]] == ["2", "4"]
    assert json.loads((tmp_path / "model" / "checkpoint.json").read_text())["id"] == "model"


def test_a_few_steps_on_one_chip_lower_the_loss(tmp_path):
    options = replace(TINY, steps=30, validate_every=10, learning_rate=3e-3, validation_chips=1)
    train(options, tmp_path, report=quiet)
    losses = [float(row.split(",")[1]) for row in (tmp_path / "log.csv").read_text().splitlines()[1:]]
    assert losses[-1] < losses[0]


def test_the_learning_rate_rises_then_falls():
    options = TrainOptions(steps=100, warm_up=10, learning_rate=1.0)
    rates = [learning_rate(step, options) for step in range(100)]
    assert rates[9] == pytest.approx(1.0)
    assert np.all(np.diff(rates[:10]) > 0)
    assert np.all(np.diff(rates[10:]) < 0)
    assert rates[-1] == pytest.approx(0.01, abs=0.01)


def test_options_come_from_toml_and_unknown_ones_are_refused(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("steps = 7\nseed = 3\n")
    assert read_options(config) == TrainOptions(steps=7, seed=3)
    config.write_text("stepps = 7\n")
    with pytest.raises(UsageError, match="stepps"):
        read_options(config)
    config.write_text("steps = \n")
    with pytest.raises(UsageError, match="TOML"):
        read_options(config)


CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("[!jr]*.toml"))  # not jointnet-*, retrain-*


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.name)
def test_the_configurations_are_valid(config):
    assert read_options(config).network


@pytest.mark.parametrize(
    "wrong",
    [
        "schedule = 'steps'",
        "dice = 'none'",
        "device = 'tpu'",
        "real_share = 2.0",
        "batch_size = 6\naccumulate = 4",
        "epochs = 3",
        "crop = 31",
    ],
)
def test_impossible_options_are_refused_by_name(tmp_path, wrong):
    (tmp_path / "c.toml").write_text(wrong)
    with pytest.raises(UsageError, match=wrong.split(" ")[0]):
        read_options(tmp_path / "c.toml")


@given(devices=st.integers(1, 4), accumulate=st.integers(1, 3), share=st.integers(1, 3), first=st.integers(0, 2))
def test_the_parts_of_all_processes_are_the_batches(devices, accumulate, share, first):
    options = TrainOptions(
        steps=4, batch_size=devices * accumulate * share, devices=devices, accumulate=accumulate, real_share=0.5
    )
    parts = [list(parts_of_batches(options, first, rank)) for rank in range(devices)]
    assert all(len(p) == (4 - first) * accumulate for p in parts)
    for i, step in enumerate(range(first, 4)):
        taken = [item for p in parts for part in p[i * accumulate : (i + 1) * accumulate] for item in part]
        assert sorted(taken) == list(range(step * options.batch_size, (step + 1) * options.batch_size))


def test_a_large_image_is_cropped_and_a_small_one_filled_up():
    rng = np.random.default_rng(0)
    image = np.arange(70 * 90, dtype=np.float32).reshape(1, 70, 90)
    labels = np.arange(70 * 90).reshape(70, 90)
    crop, crop_labels = cropped((image, labels), 64, rng)
    assert crop.shape == (1, 64, 64)
    assert np.array_equal(crop[0].astype(int), crop_labels)
    whole, whole_labels = cropped((image, labels), 96, rng)
    assert np.array_equal(whole[0, :70, :90], image[0])
    assert np.isnan(whole[0, 70:]).all()
    assert (whole_labels[:, 90:] == IGNORE).all()


def test_a_mosaic_is_four_chips():
    pairs = [(np.full((1, 4, 4), i, np.float32), np.full((4, 4), i)) for i in range(4)]
    image, labels = mosaic(pairs)
    assert image.shape == (1, 8, 8)
    assert labels[[0, 0, 7, 7], [0, 7, 0, 7]].tolist() == [0, 1, 2, 3]
    assert np.array_equal(image[0], labels)


def test_a_training_of_mosaics_shows_mosaics():
    """A chip has no jump in its middle, four chips have."""
    chips = {}
    for share in (0.0, 1.0):
        options = TrainOptions(steps=8, batch_size=2, crop=64, mosaic_share=share, stretched_share=0.0)
        images = torch.stack([TrainingPairs(options, None, PreprocessOptions())[i][0][0] for i in range(16)])
        steps = (images[:, :, 1:] - images[:, :, :-1]).abs().mean(dim=(0, 1))
        chips[share] = float(steps[31] / steps.median())
    assert chips[1.0] > 2 * chips[0.0]


def sos_like(folder, count=12, size=64):
    """Dark discs on noise, in the layout of a folder with train/ and test/."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:size, :size]
    for part, first in (("train", 0), ("test", count)):
        (folder / part).mkdir(parents=True)
        for i in range(first, first + count):
            centre = rng.uniform(16, size - 16, 2)
            oil = np.hypot(rows - centre[0], columns - centre[1]) < rng.uniform(8, 14)
            grey = rng.gamma(4, 30, (size, size)) * np.where(oil, 0.3, 1)
            Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(folder / part / f"{i}.jpg")
            Image.fromarray((oil * 255).astype(np.uint8)).save(folder / part / f"{i}.png")
    return folder


def test_a_training_on_real_pairs_alone_learns_oil_and_counts_epochs(tmp_path):
    options = TrainOptions(
        real=str(sos_like(tmp_path / "data")), real_share=1.0, only_oil=True, epochs=30, batch_size=4, crop=64,
        learning_rate=3e-3, warm_up=5, average_decay=0.5, validate_every=1000, validation_chips=2, workers=0,
    )  # fmt: skip
    checkpoint = train(options, tmp_path / "model", report=quiet)
    assert checkpoint.classes == ("other", "oil")
    assert checkpoint.training["options"]["steps"] == pytest.approx(30 * 12 / 4, rel=0.2)
    assert checkpoint.metrics["real_test"]["n_images"] == 12
    assert checkpoint.metrics["real_test"]["oil_iou"] > 0.5
    assert "real_validation" in checkpoint.metrics


def test_the_training_loss_is_that_of_the_paper():
    """Eq. 10 with lambda_kd = 0, computed here from probabilities."""
    from models.training.loop import training_loss

    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    labels = torch.randint(0, 3, (2, 4, 4))
    p = torch.exp(logits) / torch.exp(logits).sum(1, keepdim=True)
    truth = torch.stack([(labels == c).double() for c in range(3)], dim=1)
    cross_entropy = -(truth * p.log()).sum() / labels.numel()
    weight = truth.sum((0, 2, 3)) ** -2
    overlap, total = (truth * p).sum((0, 2, 3)), (truth + p).sum((0, 2, 3))
    dice = 1 - 2 * (weight * overlap).sum() / (weight * total).sum()
    options = TrainOptions(dice="generalised", dice_weight=0.5)
    found = training_loss(torch.nn.Identity(), logits, labels, options)
    assert float(found) == pytest.approx(float(cross_entropy + 0.5 * dice), rel=1e-6)
    assert {OIL, NOT_OIL, IGNORE} == {1, 254, 255}


def test_a_training_in_parts_learns_what_one_in_whole_batches_does(tmp_path, monkeypatch):
    """Where neither loss nor network mixes the images of a batch, the gradients of its parts add up."""
    monkeypatch.setitem(
        NETWORKS, "convolution", lambda architecture: torch.nn.Conv2d(1, architecture.classes, 3, padding=1)
    )
    options = replace(
        TINY, network="convolution", batch_size=4, half_precision=False, dice_weight=0.0, average_decay=0.0
    )
    train(options, tmp_path / "whole", report=quiet)
    train(replace(options, accumulate=2), tmp_path / "parts", report=quiet)
    train(replace(options, learning_rate=0.0), tmp_path / "still", report=quiet)
    whole, parts, still = (weights(tmp_path / name)["weight"] for name in ("whole", "parts", "still"))
    moved = float((whole - still).abs().median())
    # Not exactly: a part with pixels of no data has fewer labelled ones, whose mean counts as much.
    assert float((whole - parts).abs().median()) < 0.1 * moved


def command(folder, config, *more):
    """The command line's training, as a user would start it."""
    toml = folder.with_suffix(".toml")
    toml.write_text(config)
    slickwatch = str(Path(sys.executable).with_name("slickwatch"))
    return [slickwatch, "train", "saross", "--config", str(toml), "--out", str(folder), *more]


CONFIG = "batch_size = 4\ncrop = 64\nwarm_up = 1\nvalidation_chips = 1\nworkers = 0\nhalf_precision = false\n"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def test_a_killed_training_goes_on_to_what_an_unkilled_one_gives(tmp_path):
    config = CONFIG + "steps = 24\nvalidate_every = 8\n"
    killed = subprocess.Popen(command(tmp_path / "killed", config), env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    while not (tmp_path / "killed" / "state.pt").exists():
        assert killed.poll() is None
        time.sleep(0.05)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    again = command(tmp_path / "killed", config, "--resume")
    said = subprocess.run(again, check=True, capture_output=True, env=ENVIRONMENT, text=True).stderr
    assert "resuming at step" in said
    subprocess.run(command(tmp_path / "whole", config), check=True, capture_output=True, env=ENVIRONMENT)
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    log = (tmp_path / "killed" / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in log[1:]] == ["8", "16", "24"]


def test_two_processes_train_one_model(tmp_path):
    """Lightning's DDP on two CPU processes."""
    config = CONFIG + "steps = 2\nvalidate_every = 1\ndevices = 2\n"
    subprocess.run(command(tmp_path / "model", config), check=True, capture_output=True, env=ENVIRONMENT, timeout=300)
    rows = (tmp_path / "model" / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["1", "2"]
    assert load_model(str(tmp_path / "model"))[1].training["options"]["devices"] == 2


def test_scores_by_hand():
    truth = np.array([0, 0, 0, 1, 1, 2, 255])
    predicted = np.array([0, 0, 1, 1, 0, 2, 1])
    confusion = confusion_matrix(truth, predicted, 4)
    assert confusion.sum() == 6
    iou = intersection_over_union(confusion)
    assert iou[:3].tolist() == pytest.approx([2 / 4, 1 / 3, 1])
    assert np.isnan(iou[3])
    assert precision(confusion, 1) == pytest.approx(1 / 2)
    assert recall(confusion, 0) == pytest.approx(2 / 3)
    assert np.isnan(precision(confusion, 3))
