"""Training on real seas: what its loss asks of pixels and of whole chips."""

import csv
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ingest.errors import ModelError, UsageError
from models.checkpoint import load_model
from models.classes import IGNORE, NOT_OIL, OIL
from models.training import seas
from models.training.seas import MAYBE, PREPROCESS, SeaItems, SeaOptions, sea_loss, train_on_seas, with_doubt
from tests.support.dataset_folders import write

TOP = Path(__file__).parents[3]


def logits_of_oil(where, sure=6.0):
    """(1, 5, H, W) for oil where True, for sea elsewhere."""
    logits = torch.zeros(1, 5, *where.shape)
    logits[0, OIL] = torch.where(where, sure, -sure)
    return logits


def test_a_false_slick_costs_more_than_a_clean_sea():
    labels = torch.full((1, 48, 48), NOT_OIL)
    none = torch.zeros(48, 48, dtype=torch.bool)
    slick = none.clone()
    slick[10:20, 10:30] = True
    presence_map, presence = torch.full((1, 1, 2, 2), -4.0), torch.tensor([0.0])
    clean = sea_loss(logits_of_oil(none), presence_map, labels, presence)
    false = sea_loss(logits_of_oil(slick), presence_map, labels, presence)
    assert clean < 0.1
    assert false > clean + 1


def test_a_chip_with_oil_somewhere_is_content_with_one_slick():
    labels = torch.full((1, 48, 48), MAYBE)
    none = torch.zeros(48, 48, dtype=torch.bool)
    slick = none.clone()
    slick[10:20, 10:30] = True
    presence_map, presence = torch.full((1, 1, 2, 2), 4.0), torch.tensor([1.0])
    found = sea_loss(logits_of_oil(slick), presence_map, labels, presence)
    missed = sea_loss(logits_of_oil(none), presence_map, labels, presence)
    assert found < 0.1
    assert missed > found + 1


def test_an_unknown_chip_has_a_loss_by_pixel_alone():
    labels = torch.full((1, 48, 48), NOT_OIL)
    logits = logits_of_oil(torch.zeros(48, 48, dtype=torch.bool))
    one, other = (sea_loss(logits, torch.full((1, 1, 2, 2), z), labels, torch.tensor([math.nan])) for z in (-4.0, 4.0))
    assert one == other
    assert torch.isfinite(one)


def test_outlines_that_are_coarse_say_nothing_near_them():
    labels = np.full((40, 40), NOT_OIL)
    labels[10:30, 10:30] = OIL
    doubted = with_doubt(labels)
    assert doubted[20, 20] == OIL
    assert doubted[2, 2] == NOT_OIL
    assert (doubted[20, [8, 9, 10, 11]] == IGNORE).all()


@pytest.fixture
def root(tmp_path):
    """A data folder with two chips of CSIRO's kind and two pairs of SOS's."""
    rng = np.random.default_rng(0)
    (tmp_path / "csiro").mkdir()
    with (tmp_path / "csiro" / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "oil", "region"))
        for i in range(4):
            Image.fromarray(rng.integers(60, 120, (80, 80)).astype(np.uint8)).save(tmp_path / "csiro" / f"{i}.png")
            writer.writerow((f"{i}.png", i % 2, "GBR"))
    for number, part in enumerate(("train", "train", "test")):
        mask = np.zeros((80, 80), np.uint8)
        mask[20:40, 20:60] = 255 * (number == 1)  # the other one has no oil, so whether it shows any is unknown
        grey = np.where(mask, 40, 110) + rng.integers(0, 9, (80, 80))
        write(tmp_path / "sos" / "sentinel" / part / f"{number}.jpg", grey.astype(np.uint8))
        write(tmp_path / "sos" / "sentinel" / part / f"{number}.png", mask)
    return tmp_path


def interrupted(*given):
    raise KeyboardInterrupt


def test_a_resumed_training_ends_with_the_very_same_weights(root, tmp_path, monkeypatch):
    options = SeaOptions(size=64, calm=1, inserted=1, weak=1, simulated=1, coarse=1.0, pool=1, steps=4, save_every=2)
    quiet = [].append
    train_on_seas(options, tmp_path / "whole", root, None, quiet)
    monkeypatch.setattr(seas, "_saved", interrupted)  # after the state of step 2 is saved
    with pytest.raises(KeyboardInterrupt):
        train_on_seas(options, tmp_path / "half", root, None, quiet)
    monkeypatch.undo()
    told: list[str] = []
    train_on_seas(options, tmp_path / "half", root, None, told.append)
    assert told[0] == "resuming at step 2 of 4"
    one, other = (load_file(folder / "weights.safetensors") for folder in (tmp_path / "whole", tmp_path / "half"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert all(torch.isfinite(tensor).all() for tensor in one.values())


TINY = SeaOptions(size=64, calm=1, inserted=0, weak=0, simulated=0, coarse=0.0, pool=1, steps=2, save_every=1)


def test_a_damaged_state_and_another_schedule_are_one_line(root, tmp_path):
    folder, quiet = tmp_path / "m", [].append
    train_on_seas(TINY, folder, root, None, quiet)
    train_on_seas(TINY, folder, root, None, quiet)  # nothing is left to do
    with pytest.raises(UsageError, match=r"state\.pt: was written with another steps"):
        train_on_seas(replace(TINY, steps=3), folder, root, None, quiet)
    state = folder / "state.pt"
    whole = state.read_bytes()
    parts = torch.load(state, weights_only=True)
    torch.save({name: parts[name] for name in ("network", "step")}, state)
    for content in (whole[: len(whole) // 2], b"", b"no", state.read_bytes()):
        state.write_bytes(content)
        with pytest.raises(ModelError, match=r"state\.pt: damaged or not the state of a training"):
            train_on_seas(TINY, folder, root, None, quiet)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.train_seas", "--out", str(folder)],
        capture_output=True, text=True, env={**os.environ, "SLICKWATCH_DATA": str(root)}, cwd=TOP,
    )  # fmt: skip
    assert done.returncode == ModelError.exit_code, done.stderr
    assert done.stderr.startswith(f"train_seas: {state}: damaged")
    assert len(done.stderr.splitlines()) == 1


def test_a_loss_that_is_not_finite_ends_the_training_and_leaves_the_last_good_state(root, tmp_path):
    wild = replace(TINY, steps=20, learning_rate=1e30, warm_up=0)
    with pytest.raises(ModelError, match=r"the (loss|gradient) of step \d+ is not finite; train again with a lower"):
        train_on_seas(wild, tmp_path / "m", root, None, [].append)
    kept = torch.load(tmp_path / "m" / "state.pt", weights_only=True)["network"]
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())


def test_a_chip_with_a_mask_is_learned_from_as_the_mask_says(root, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    mask = np.zeros((80, 80), np.uint8)
    mask[20:40, 20:60], mask[50:60, 20:60] = OIL, IGNORE
    Image.fromarray(mask).save(masks / "1.png")  # of the chips with oil, 1 and 3, only this one has a mask
    options = SeaOptions(size=80, calm=0, inserted=0, weak=1, simulated=0, coarse=0)
    items = SeaItems(options, root, PREPROCESS, masks)
    assert [items.oil.name(i) for i in range(len(items.oil))] == ["1"]
    images, labels, presence = items.batch(0)
    assert images.shape == (1, 1, 80, 80)
    assert [int((labels == value).sum()) for value in (OIL, IGNORE, NOT_OIL)] == [800, 400, 5200]
    assert presence.tolist() == [1.0]


def test_without_masks_only_that_there_is_oil_is_known(root):
    items = SeaItems(SeaOptions(size=64, calm=0, inserted=0, weak=1, simulated=0, coarse=0), root, PREPROCESS, None)
    _, labels, presence = items.batch(0)
    assert not (labels == OIL).any()
    assert (labels == MAYBE).any()
    assert presence.tolist() == [1.0]


def test_a_training_can_begin_with_a_model(root, tmp_path):
    options = SeaOptions(size=64, calm=1, inserted=0, weak=0, simulated=0, coarse=0, steps=1, save_every=1)
    begun, _ = load_model("saross-nano-5")
    checkpoint = train_on_seas(
        SeaOptions(**{**options.__dict__, "start": "saross-nano-5", "learning_rate": 1e-5, "encoder_rate": 1e-5}),
        tmp_path / "run", root, None, [].append,
    )  # fmt: skip
    assert checkpoint.architecture.encoder == "nano"
    assert checkpoint.preprocess.radiometry == "level"
    was, now = begun.state_dict(), load_model(str(tmp_path / "run"))[0].state_dict()
    assert 0 < max(float((now[name] - was[name]).abs().max()) for name in was if was[name].is_floating_point()) < 1e-3
    assert all(torch.equal(now[name], was[name]) for name in was if "running" in name), "statistics of a mixed batch"
