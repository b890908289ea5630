"""Drawing pairs into shards: the same for the same seed, gone on with after a stop, never mixed."""

import numpy as np
import pytest

from ingest.errors import ModelError, UsageError
from models.jointnet.options import JointOptions
from models.jointnet.training import train_jointnet
from models.synthesis import SyntheticPairs
from models.synthesis.generate import GenerateOptions, synthesize
from tests.disc_pairs import SIZE, write_disc_pairs

QUICK = {"solver": "dpm++", "steps": 10, "shard_size": 3, "batch": 2}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three models of little learning: of images alone, and of pairs by two seeds."""
    discs = write_disc_pairs(tmp_path_factory.mktemp("discs"))
    folder = tmp_path_factory.mktemp("models")
    tiny = {"dataset": str(discs), "crop": SIZE, "channels": (8, 16), "layers_per_block": 1, "head_channels": 8,
            "norm_groups": 8, "batch_size": 4, "b": 0.5, "learning_rate": 1e-3}  # fmt: skip
    for name, steps, seed in (("images", (1, 0, 0), 1), ("one", (1, 1, 1), 1), ("two", (1, 1, 1), 2)):
        train_jointnet(JointOptions(**tiny, steps=steps, seed=seed), folder / name, report=lambda line: None)
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
    ],
)
def test_what_cannot_be_drawn_is_refused_before_a_folder_is_there(models, tmp_path, model, options, error, said):
    with pytest.raises(error, match=said):
        drawn(models / model, tmp_path / "a", **options)
    assert not (tmp_path / "a").exists()
