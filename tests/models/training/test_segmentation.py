"""Training learns, stops and goes on exactly, and says what it was given wrongly."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ingest.errors import ModelError, StorageError, UsageError
from models.bfloat16 import has_bfloat16
from models.checkpoint import load_model
from models.classes import IGNORE, NOT_OIL, OIL
from models.evaluation.metrics import class_precision, class_recall, confusion_matrix, intersection_over_union
from models.networks.build import NETWORKS
from models.training.engine import parts_of_batches
from models.training.options import Schedule, changed
from models.training.pairs import TrainingPairs, cropped, mosaic
from models.training.segmentation import train, training_loss
from models.training.segmentation_options import TrainOptions, read_options
from preprocess.options import PreprocessOptions

TINY = changed(
    TrainOptions(), steps=4, batch_size=2, crop=32, warm_up=1, validate_every=2, validation_chips=2, workers=0,
    half_precision=False,  # slow on processors without bfloat16
)  # fmt: skip


def quiet(line):
    return None


def weights(folder):
    return load_model(str(folder))[0].state_dict()


def assert_equal(some, others):
    for name, tensor in some.items():
        assert torch.equal(tensor, others[name]), name


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
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_a_training_may_start_from_another_models_weights(tmp_path):
    train(TINY, tmp_path / "first", report=quiet)
    still = changed(TINY, steps=1, learning_rate=0.0, weight_decay=0.0, start=str(tmp_path / "first"))
    train(still, tmp_path / "second", report=quiet)
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    learned = [name for name in first if "running" not in name and "num_batches" not in name]
    assert all(torch.equal(first[name], second[name]) for name in learned)


def test_another_schedule_is_not_resumed(tmp_path):
    train(changed(TINY, steps=2), tmp_path, report=quiet)
    with pytest.raises(UsageError, match="another steps"):
        train(TINY, tmp_path, resume=True, report=quiet)


def test_the_checkpoint_tells_what_it_was_trained_on_and_the_log_is_kept(tmp_path):
    checkpoint = train(changed(TINY, half_precision=True), tmp_path / "model", report=quiet)
    assert checkpoint.training["options"]["steps"] == 4
    assert set(checkpoint.metrics["simulated_validation"]) >= {"oil_iou", "miou", "oil_precision", "oil_recall"}
    rows = (tmp_path / "model" / "log.csv").read_text().splitlines()
    assert rows[0].startswith("step,loss,")
    assert [row.split(",")[0] for row in rows[1:]] == ["2", "4"]
    assert json.loads((tmp_path / "model" / "checkpoint.json").read_text())["id"] == "model"


def test_a_few_steps_on_one_chip_lower_the_loss(tmp_path):
    options = changed(TINY, steps=20, validate_every=10, learning_rate=3e-3, validation_chips=1)
    train(options, tmp_path, report=quiet)
    losses = [float(row.split(",")[1]) for row in (tmp_path / "log.csv").read_text().splitlines()[1:]]
    assert losses[-1] < losses[0]


def test_the_learning_rate_rises_then_falls():
    options = changed(TrainOptions(), steps=100, warm_up=10, learning_rate=1.0)
    rates = [options.schedule.rate(step, 100) for step in range(100)]
    assert rates[9] == pytest.approx(1.0)
    assert np.all(np.diff(rates[:10]) > 0)
    assert np.all(np.diff(rates[10:]) < 0)
    assert rates[-1] == pytest.approx(0.01, abs=0.01)


def test_options_come_from_toml_and_unknown_ones_are_refused(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("seed = 3\n[schedule]\nsteps = 7\n")
    assert read_options(config) == changed(TrainOptions(), steps=7, seed=3)
    config.write_text("steps = 7\n")
    with pytest.raises(UsageError, match=r"option 'steps' is outside its section; move it below \[schedule\]"):
        read_options(config)
    config.write_text("[schedule]\nstepps = 7\n")
    with pytest.raises(UsageError, match="stepps"):
        read_options(config)
    config.write_text("steps = \n")
    with pytest.raises(UsageError, match="TOML"):
        read_options(config)


FOLDER = Path(__file__).parents[3] / "configs"
CONFIGS = sorted([*FOLDER.glob("saross/*.toml"), FOLDER / "retraining" / "student-small.toml"])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.name)
def test_the_configurations_are_valid(config):
    assert read_options(config).model.network


@pytest.mark.parametrize(
    "wrong",
    [
        "[schedule]\ndecay = 'steps'",
        "[schedule]\ndecay_from = 'end'",
        "[schedule]\nwarm_up = 1.5",
        "[loss]\ndice = 'none'",
        "[run]\ndevice = 'tpu'",
        "[data]\nreal_share = 2.0",
        "[schedule]\nbatch_size = 6\n[memory]\naccumulate = 4",
        "[schedule]\nepochs = 3",
        "[data]\ncrop = 31",
    ],
)
def test_impossible_options_are_refused_by_name(tmp_path, wrong):
    (tmp_path / "c.toml").write_text(wrong)
    with pytest.raises(UsageError, match=wrong.splitlines()[1].split(" ")[0]):
        read_options(tmp_path / "c.toml")


@given(devices=st.integers(1, 4), accumulate=st.integers(1, 3), share=st.integers(1, 3), first=st.integers(0, 2))
def test_the_parts_of_all_processes_are_the_batches(devices, accumulate, share, first):
    options = changed(
        TrainOptions(),
        steps=4,
        batch_size=devices * accumulate * share,
        devices=devices,
        accumulate=accumulate,
        real_share=0.5,
    )
    parts = [list(parts_of_batches(options, 4, first, rank)) for rank in range(devices)]
    assert all(len(p) == (4 - first) * accumulate for p in parts)
    size = options.schedule.batch_size
    for i, step in enumerate(range(first, 4)):
        taken = [item for p in parts for part in p[i * accumulate : (i + 1) * accumulate] for item in part]
        assert sorted(taken) == list(range(step * size, (step + 1) * size))


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
        options = changed(TrainOptions(), steps=8, batch_size=2, crop=64, mosaic_share=share, stretched_share=0.0)
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
    options = changed(
        TrainOptions(),
        real=str(sos_like(tmp_path / "data")), real_share=1.0, only_oil=True, epochs=10, batch_size=4, crop=32,
        learning_rate=3e-3, warm_up=3, average_decay=0.5, validate_every=1000, validation_chips=2, workers=0,
        half_precision=False,
    )  # fmt: skip
    checkpoint = train(options, tmp_path / "model", report=quiet)
    assert checkpoint.classes == ("other", "oil")
    assert checkpoint.training["options"]["steps"] == pytest.approx(10 * 12 / 4, rel=0.2)
    assert checkpoint.metrics["real_test"]["n_images"] == 12
    assert checkpoint.metrics["real_test"]["oil_iou"] > 0.5
    assert "real_validation" in checkpoint.metrics


def test_the_training_loss_is_that_of_the_paper():
    """Eq. 10 with lambda_kd = 0, computed here from probabilities."""
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    labels = torch.randint(0, 3, (2, 4, 4))
    p = torch.exp(logits) / torch.exp(logits).sum(1, keepdim=True)
    truth = torch.stack([(labels == c).double() for c in range(3)], dim=1)
    cross_entropy = -(truth * p.log()).sum() / labels.numel()
    weight = truth.sum((0, 2, 3)) ** -2
    overlap, total = (truth * p).sum((0, 2, 3)), (truth + p).sum((0, 2, 3))
    dice = 1 - 2 * (weight * overlap).sum() / (weight * total).sum()
    options = changed(TrainOptions(), dice="generalised", dice_weight=0.5)
    found = training_loss(torch.nn.Identity(), logits, labels, options)
    assert float(found) == pytest.approx(float(cross_entropy + 0.5 * dice), rel=1e-6)
    assert {OIL, NOT_OIL, IGNORE} == {1, 254, 255}


def test_a_training_in_parts_learns_what_one_in_whole_batches_does(tmp_path, monkeypatch):
    """Where neither loss nor network mixes the images of a batch, the gradients of its parts add up."""
    monkeypatch.setitem(
        NETWORKS, "convolution", lambda architecture: torch.nn.Conv2d(1, architecture.classes, 3, padding=1)
    )
    options = changed(
        TINY, network="convolution", batch_size=4, half_precision=False, dice_weight=0.0, average_decay=0.0
    )
    train(options, tmp_path / "whole", report=quiet)
    train(changed(options, accumulate=2), tmp_path / "parts", report=quiet)
    train(changed(options, learning_rate=0.0), tmp_path / "still", report=quiet)
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


CONFIG = """
[data]
crop = 32
[run]
validation_chips = 1
workers = 0
half_precision = false
{run}
[schedule]
batch_size = 4
warm_up = 1
steps = {steps}
"""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def test_a_killed_training_goes_on_to_what_an_unkilled_one_gives(tmp_path, cli):
    config = CONFIG.format(steps=24, run="validate_every = 8")
    killed = subprocess.Popen(command(tmp_path / "killed", config), env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    while not (tmp_path / "killed" / "state.pt").exists():
        assert killed.poll() is None
        time.sleep(0.05)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    code, _, said = cli(*command(tmp_path / "killed", config, "--resume")[1:])
    assert code == 0, said
    assert "resuming at step" in said
    assert cli(*command(tmp_path / "whole", config)[1:])[0] == 0
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    log = (tmp_path / "killed" / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in log[1:]] == ["8", "16", "24"]


def test_two_processes_train_one_model(tmp_path):
    """Lightning's DDP on two CPU processes."""
    config = CONFIG.format(steps=2, run="validate_every = 1\ndevices = 2")
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
    assert class_precision(confusion)[1] == pytest.approx(1 / 2)
    assert class_recall(confusion)[0] == pytest.approx(2 / 3)
    assert np.isnan(class_precision(confusion)[3])


def test_one_schedule_with_two_beginnings_of_the_cosine():
    """After the warm-up by default; from the first step on, the warm-up hides the cosine's beginning."""
    after, hidden = (Schedule(learning_rate=1.0, warm_up=10, decay_from=begin) for begin in ("warm-up", "start"))
    assert after.rate(10, 110) == pytest.approx(1.0)
    assert after.rate(60, 110) == pytest.approx(0.01 + 0.99 / 2)
    assert hidden.rate(55, 110) == pytest.approx(0.01 + 0.99 / 2)
    assert [after.rate(step, 110) for step in range(10)] == [hidden.rate(step, 110) for step in range(10)]
    without = [Schedule(learning_rate=1.0, decay_from=begin).rate(30, 100) for begin in ("warm-up", "start")]
    assert without[0] == without[1]
    assert Schedule(learning_rate=1.0, decay="constant").rate(99, 100) == 1.0


def test_a_state_of_release_0_1_is_resumed(tmp_path):
    train(changed(TINY, steps=2), tmp_path / "m", report=quiet)
    path = tmp_path / "m" / "state.pt"
    state = torch.load(path, weights_only=True)
    options = {name: value for name, value in state["options"].items() if name not in {"decay_from", "average_warm_up"}}
    options["schedule"] = options.pop("decay")
    former = {key: value for key, value in state.items() if key not in {"pairs", "stage"}}
    torch.save({**former, "options": options, "synthetic": None}, path)
    said = []
    train(changed(TINY, steps=2), tmp_path / "m", resume=True, report=said.append)
    assert said[0] == "resuming at step 2 of 2"


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"", lambda _: b"no"])
def test_a_damaged_state_is_one_line(tmp_path, damage):
    train(changed(TINY, steps=2), tmp_path / "m", report=quiet)
    state = tmp_path / "m" / "state.pt"
    state.write_bytes(damage(state.read_bytes()))
    with pytest.raises(ModelError, match=r"state\.pt: damaged or not the state of a training"):
        train(changed(TINY, steps=2), tmp_path / "m", resume=True, report=quiet)


def test_other_real_pairs_do_not_resume(tmp_path):
    data = sos_like(tmp_path / "data", count=2)
    options = changed(TINY, real=str(data), steps=2)
    train(options, tmp_path / "m", report=quiet)
    (data / "train" / "0.jpg").write_bytes((data / "train" / "1.jpg").read_bytes())
    with pytest.raises(UsageError, match="was written with other real pairs"):
        train(options, tmp_path / "m", resume=True, report=quiet)


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "convolution", lambda architecture: torch.nn.Conv2d(1, architecture.classes, 1))
    options = changed(TINY, network="convolution", steps=20, learning_rate=1e37, half_precision=False)
    with pytest.raises(ModelError, match=r"the (loss|gradient) of step \d+ is not finite; train again with a lower"):
        train(options, tmp_path / "m", report=quiet)
    assert not (tmp_path / "m" / "checkpoint.json").exists()


class Steep(torch.nn.Module):
    """A network whose loss is finite but whose gradient is not."""

    def __init__(self, classes):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(classes))

    def forward(self, images):
        level = self.weight.abs().sqrt()[None, :, None, None]  # its slope at 0 is infinite
        return level + 0 * images


def test_a_gradient_that_is_not_finite_does_not_reach_the_weights(tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "steep", lambda architecture: Steep(architecture.classes))
    with pytest.raises(ModelError, match=r"the gradient of step 1 is not finite; train again with a lower"):
        train(changed(TINY, network="steep"), tmp_path / "m", report=quiet)
    assert not (tmp_path / "m" / "state.pt").exists()
    assert not (tmp_path / "m" / "checkpoint.json").exists()


@pytest.mark.skipif(has_bfloat16(torch.device("cpu")), reason="this processor has bfloat16")
def test_without_bfloat16_a_training_says_that_it_computes_in_float32(tmp_path):
    said = []
    train(changed(TINY, half_precision=True, steps=2), tmp_path / "half", report=said.append)
    assert said[0] == "this processor has no bfloat16: computing in float32"
    train(changed(TINY, steps=2), tmp_path / "whole", report=quiet)
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "half"))


def test_where_nothing_can_be_written_is_one_line(tmp_path):
    (tmp_path / "m").write_text("a file")
    with pytest.raises(StorageError, match="m: another file is in its place"):
        train(TINY, tmp_path / "m", report=quiet)
