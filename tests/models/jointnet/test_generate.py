"""Drawing pairs into shards: the same for the same seed, gone on with after a stop, never mixed."""

import shutil

import numpy as np
import pytest
import torch

from ingest.errors import ModelError, UsageError
from models.jointnet.checkpoint import load_jointnet, save_jointnet
from models.jointnet.generate import GenerateOptions, synthesize
from models.jointnet.options import JointOptions
from models.jointnet.training import train_jointnet
from models.networks.memory import inference_peak
from models.synthesis import SyntheticPairs
from models.training.options import changed
from tests.support.disc_pairs import SIZE, write_disc_pairs

QUICK = {"solver": "dpm++", "steps": 10, "shard_size": 3, "batch": 2}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three models of little learning: of images alone, and of pairs by two seeds."""
    discs = write_disc_pairs(tmp_path_factory.mktemp("discs"))
    folder = tmp_path_factory.mktemp("models")
    tiny = {"dataset": str(discs), "crop": SIZE, "channels": (8, 16), "layers_per_block": 1, "head_channels": 8,
            "norm_groups": 8, "batch_size": 4, "b": 0.5, "learning_rate": 1e-3}  # fmt: skip
    for name, steps, seed in (("images", (1, 0, 0), 1), ("one", (1, 1, 1), 1), ("two", (1, 1, 1), 2)):
        train_jointnet(changed(JointOptions(), **tiny, steps=steps, seed=seed), folder / name, report=lambda line: None)
    return folder


def drawn(model, folder, count=7, **options):
    pairs = synthesize(model, count, folder, GenerateOptions(**{**QUICK, **options}), report=lambda line: None)
    return np.stack([pairs.grey(i)[0] for i in range(len(pairs))]), np.stack(
        [pairs.logits(i) for i in range(len(pairs))]
    )


def test_the_same_seed_gives_the_same_pairs_and_another_gives_others(models, tmp_path):
    images, logits = drawn(models / "one", tmp_path / "a")
    again = drawn(models / "one", tmp_path / "b")
    other, _ = drawn(models / "one", tmp_path / "c", seed=1)
    assert images.shape == (7, SIZE, SIZE)
    assert logits.shape == (7, 2, SIZE, SIZE)
    np.testing.assert_array_equal(images, again[0])
    np.testing.assert_array_equal(logits, again[1])
    assert (images != other).any(axis=(1, 2)).all()
    assert len({image.tobytes() for image in images}) == 7


def test_a_stopped_run_goes_on_to_the_same_folder(models, tmp_path):
    whole = drawn(models / "one", tmp_path / "whole")

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(
            models / "one", 7, tmp_path / "parts", GenerateOptions(**QUICK), report=lambda line: None, progress=stop
        )
    assert len(SyntheticPairs.open(tmp_path / "parts", allow_partial=True)) == 3
    parts = drawn(models / "one", tmp_path / "parts")
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)
    whole_shards, parts_shards = (sorted((tmp_path / name / "shards").glob("*.npz")) for name in ("whole", "parts"))
    assert [p.read_bytes() for p in whole_shards] == [p.read_bytes() for p in parts_shards]


def test_the_manifest_says_what_made_the_pairs(models, tmp_path):
    drawn(models / "one", tmp_path / "a")
    generator = SyntheticPairs.open(tmp_path / "a").manifest.plan.generator
    assert generator["model"] == "one"
    assert len(generator["weights_sha256"]) == 64
    assert (generator["solver"], generator["steps"], generator["b"]) == ("dpm++", 10, 0.5)


@pytest.mark.parametrize(
    ("model", "changed", "said"),
    [
        ("two", {}, "another weights_sha256"),
        ("one", {"seed": 5}, "another seed"),
        ("one", {"steps": 20}, "another steps"),
        ("one", {"solver": "ddim"}, "another solver"),
        ("one", {"size": 32}, "another size"),
    ],
)
def test_pairs_of_two_makers_are_never_mixed(models, tmp_path, model, changed, said):
    drawn(models / "one", tmp_path / "a")
    before = (tmp_path / "a" / "manifest.json").read_bytes()
    with pytest.raises(UsageError, match=said):
        drawn(models / model, tmp_path / "a", **changed)
    assert (tmp_path / "a" / "manifest.json").read_bytes() == before


def test_larger_images_than_the_training_saw(models, tmp_path):
    images, logits = drawn(models / "one", tmp_path / "a", count=2, size=40)
    assert images.shape == (2, 40, 40)
    assert logits.shape == (2, 2, 40, 40)


@pytest.mark.parametrize(
    ("model", "options", "error", "said"),
    [
        ("images", {}, ModelError, "has learnt images alone"),
        ("nothing", {}, ModelError, "no diffusion model"),
        ("one", {"steps": 7}, UsageError, "do not divide 1000"),
        ("one", {"solver": "euler"}, UsageError, "no such solver"),
        ("one", {"size": 15}, UsageError, "not divisible by 2"),
        ("one", {"size": 0}, UsageError, "0 x 0 pixels"),
        ("one", {"size": -8}, UsageError, "-8 x -8 pixels"),
        ("one", {"memory_gb": 1e-6}, UsageError, "one at a time takes about"),
        ("one", {"device": "cuda"}, UsageError, "is 'cuda', but there is no GPU"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_a_folder_is_there(models, tmp_path, model, options, error, said):
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(error, match=said):
        drawn(models / model, tmp_path / "a", **options)
    assert not (tmp_path / "a").exists()


def test_fewer_pairs_than_a_folder_is_to_hold_make_their_own_shards_alone(models, tmp_path):
    seen, said = [], []

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(models / "one", 12, tmp_path / "a", GenerateOptions(**QUICK), report=said.append, progress=stop)
    some = synthesize(
        models / "one", 5, tmp_path / "a", GenerateOptions(**QUICK), report=said.append,
        progress=lambda *counts: seen.append(counts),
    )  # fmt: skip
    assert len(some) == 6  # whole shards of three
    assert not some.manifest.complete
    assert seen == [(6, 6)]
    assert said[-1].endswith("3 of 6 there")
    images, _ = drawn(models / "one", tmp_path / "a", count=12)
    whole, _ = drawn(models / "one", tmp_path / "whole", count=12)
    np.testing.assert_array_equal(images, whole)


def test_a_larger_count_extends_a_folder_and_keeps_its_pairs(models, tmp_path):
    few, _ = drawn(models / "one", tmp_path / "a", count=4)
    more, _ = drawn(models / "one", tmp_path / "a", count=7)
    again, _ = drawn(models / "one", tmp_path / "a", count=4)
    np.testing.assert_array_equal(more[:4], few)
    assert len(again) == 7


@pytest.mark.parametrize("size", [None, 24])
def test_another_batch_makes_the_same_pairs_up_to_rounding(models, tmp_path, size):
    one, logits = drawn(models / "one", tmp_path / "a", count=3, size=size, batch=1)
    three, other = drawn(models / "one", tmp_path / "b", count=3, size=size, batch=3)
    assert np.abs(one.astype(int) - three).max() <= 1
    assert np.abs(logits - other).max() <= 1 / 16


def peak_bytes(model, items):
    network, _ = load_jointnet(model)
    weights = sum(p.numel() * 4 for p in network.parameters())

    def step(n):
        network(torch.zeros(n, 1, SIZE, SIZE), torch.zeros(n, 2, SIZE, SIZE), torch.zeros(n, dtype=torch.long))

    return weights + inference_peak(step, torch.device("cpu"))(items)


def test_a_memory_budget_counts_the_weights_and_takes_fewer_at_once(models, tmp_path):
    one_gb, two_gb = (peak_bytes(models / "one", n) / 1e9 for n in (1, 2))
    assert two_gb > one_gb
    fitted = []
    options = GenerateOptions(**{**QUICK, "batch": 8, "memory_gb": (one_gb + two_gb) / 2})
    synthesize(models / "one", 1, tmp_path / "fitted", options, report=fitted.append)
    assert fitted[0].endswith("for 1 at once")


def test_a_model_that_predicts_no_numbers_is_one_line(models, tmp_path):
    network, one = load_jointnet(models / "one")
    with torch.no_grad():
        network.label_net.conv_out.bias.fill_(np.nan)
    save_jointnet(tmp_path / "broken", network, one.architecture, one.balanced, one.classes, one.size, 3, {})
    with pytest.raises(ModelError, match="broken: predicts values that are not finite"):
        drawn(tmp_path / "broken", tmp_path / "a")
    assert not list((tmp_path / "a" / "shards").glob("*.npz"))


def test_the_same_weights_under_another_name_go_on_with_a_folder(models, tmp_path):
    drawn(models / "one", tmp_path / "a", count=2)
    shutil.copytree(models / "one", tmp_path / "renamed")
    images, _ = drawn(tmp_path / "renamed", tmp_path / "a", count=5)
    assert len(images) == 5
