"""Folders of synthetic pairs: what is written is read again, and nothing is ever mixed, half-written or lost."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ingest.errors import StorageError, UnreadableInput, UsageError
from models.classes import CLASSES, NOT_OIL, OIL, OIL_CLASSES
from models.datasets.pairs import chip_input
from models.synthesis.manifest import SyntheticPlan
from models.synthesis.shards import SyntheticPairs, SyntheticWriter, grey_levels, logit_codes, logits_of_codes
from preprocess.options import PreprocessOptions

MAKER = {"model": "jointnet", "weights_sha256": "ab" * 32, "sampler": "ddim", "steps": 200, "b": 0.466, "options": {}}
PLAN = SyntheticPlan(OIL_CLASSES, (8, 12), count=7, seed=5, generator=MAKER, shard_size=3)


def made(plan, shard):
    """The pairs of a shard, drawn from its seed alone."""
    rng, count = np.random.default_rng(plan.seed_of(shard)), plan.pairs_of(shard)
    logits = rng.normal(0, 4, (count, len(plan.classes), *plan.size)).astype(np.float32)
    return rng.integers(0, 256, (count, *plan.size), np.uint8), logits


def filled(folder, plan=PLAN):
    writer = SyntheticWriter.open(folder, plan)
    for shard in writer.missing():
        writer.write(shard, *made(plan, shard))
    return writer


def softmax(logits):
    return torch.from_numpy(np.asarray(logits, np.float64)).softmax(dim=-3).numpy()


LOGITS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(2, 5), st.just(4), st.just(4)),
    # Many of them equal, or apart by less than a step.
    elements=st.one_of(st.floats(-40, 40, width=32), st.integers(-2, 2).map(lambda i: i / 40)),
)


@given(LOGITS)
def test_logits_keep_their_probabilities_and_their_argmax(logits):
    codes = logit_codes(logits)
    again = logits_of_codes(codes)
    assert codes.dtype == np.uint8
    assert np.array_equal(again.argmax(axis=0), logits.argmax(axis=0))
    # Each logit is off by half a step, 1/32, at most; the slope of the softmax is 2 p (1 - p) <= 1/2.
    assert np.abs(softmax(again) - softmax(logits)).max() <= 1 / 64 + 1e-6


def test_logits_far_below_the_largest_are_clipped_at_sixteen():
    logits = np.array([100.0, 84.5, -1000.0], np.float32).reshape(3, 1, 1)
    assert logit_codes(logits).ravel().tolist() == [0, 248, 255]
    assert logits_of_codes(logit_codes(logits)).ravel().tolist() == [0, -15.46875, -15.90625]


def test_images_become_bytes():
    x0 = np.array([-1.2, -1, -0.998, 0, 0.0039, 1, 7])
    assert grey_levels(x0).tolist() == [0, 0, 0, 128, 128, 255, 255]
    assert grey_levels(x0).dtype == np.uint8


def test_what_was_written_is_read_again(tmp_path):
    filled(tmp_path)
    pairs = SyntheticPairs.open(tmp_path)
    images, logits = (np.concatenate(part) for part in zip(*(made(PLAN, i) for i in range(3)), strict=True))
    assert len(pairs) == 7
    assert pairs.name(4) == "00001-0001"
    for i in (6, 0, 3, 5):
        grey, labels = pairs.grey(i)
        assert np.array_equal(grey, images[i])
        assert np.array_equal(labels == OIL, logits[i, 1] > logits[i, 0])
        assert set(np.unique(labels)) == {OIL, NOT_OIL}
        assert np.abs(softmax(pairs.logits(i)) - softmax(logits[i])).max() <= 1 / 64
        image, again = pairs.pair(i, PreprocessOptions())
        assert np.array_equal(image[0], chip_input(images[i].astype(np.float32), PreprocessOptions()))
        assert np.array_equal(again, labels)


def test_five_classes_have_labels_of_their_own(tmp_path):
    plan = replace(PLAN, classes=CLASSES)
    filled(tmp_path, plan)
    labels = SyntheticPairs.open(tmp_path).grey(0)[1]
    assert np.array_equal(labels, made(plan, 0)[1][0].argmax(axis=0))


def test_the_manifest_says_what_made_them_and_what_is_there(tmp_path):
    filled(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert {name: manifest[name] for name in ("format", "classes", "size", "count", "seed", "shard_size")} == {
        "format": 1, "classes": ["other", "oil"], "size": [8, 12], "count": 7, "seed": 5, "shard_size": 3,
    }  # fmt: skip
    assert manifest["generator"] == MAKER
    assert [(shard["name"], shard["count"]) for shard in manifest["shards"]] == [
        ("shards/00000.npz", 3), ("shards/00001.npz", 3), ("shards/00002.npz", 1),
    ]  # fmt: skip
    assert len({shard["seed"] for shard in manifest["shards"]}) == 3
    for shard in manifest["shards"]:
        assert (tmp_path / shard["name"]).stat().st_size == shard["bytes"]
    assert {path.name for path in tmp_path.iterdir()} == {"manifest.json", "shards"}


def test_the_same_plan_gives_the_same_bytes(tmp_path):
    filled(tmp_path / "one")
    filled(tmp_path / "two")
    assert (tmp_path / "one/manifest.json").read_bytes() == (tmp_path / "two/manifest.json").read_bytes()


def test_a_folder_is_gone_on_with_where_it_stopped(tmp_path):
    writer = SyntheticWriter.open(tmp_path, PLAN)
    writer.write(1, *made(PLAN, 1))
    again = SyntheticWriter.open(tmp_path, PLAN)
    assert again.missing() == [0, 2]
    with pytest.raises(UsageError, match=r"has 1 of 3 shards; resume with"):
        SyntheticPairs.open(tmp_path)
    assert [SyntheticPairs.open(tmp_path, allow_partial=True).name(i) for i in range(3)] == [
        "00001-0000", "00001-0001", "00001-0002",
    ]  # fmt: skip
    filled(tmp_path)
    assert again.missing() == []
    (tmp_path / "shards/00001.npz").unlink()
    assert again.missing() == [1]


def test_nothing_at_all_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match="holds no synthetic pairs"):
        SyntheticPairs.open(tmp_path)
    SyntheticWriter.open(tmp_path, PLAN)
    with pytest.raises(UsageError, match="0 of 3"):
        SyntheticPairs.open(tmp_path, allow_partial=True)


def test_more_pairs_of_the_same_model_extend_a_folder(tmp_path):
    filled(tmp_path)
    before = SyntheticPairs.open(tmp_path)
    larger = SyntheticWriter.open(tmp_path, replace(PLAN, count=11))
    assert larger.missing() == [2, 3]  # the third was short for the larger folder
    filled(tmp_path, replace(PLAN, count=11))
    after = SyntheticPairs.open(tmp_path)
    assert len(after) == 11
    assert after.first(6).fingerprint() == before.first(6).fingerprint() != before.fingerprint()
    # Asked for fewer, it has them already.
    assert SyntheticWriter.open(tmp_path, PLAN).missing() == []
    assert len(SyntheticPairs.open(tmp_path)) == 11


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"generator": {**MAKER, "weights_sha256": "cd" * 32}}, "weights_sha256"),
        ({"generator": {**MAKER, "sampler": "dpm-solver"}}, "sampler"),
        ({"generator": {**MAKER, "steps": 20}}, "steps"),
        ({"generator": {**MAKER, "guidance": 2}}, "guidance"),
        ({"seed": 6}, "seed"),
        ({"size": (8, 8)}, "size"),
        ({"classes": CLASSES}, "classes"),
        ({"shard_size": 4}, "shard_size"),
    ],
)
def test_two_makers_are_never_mixed(tmp_path, changed, named):
    filled(tmp_path)
    with pytest.raises(UsageError, match=f"holds pairs of another {named} .*never mixed"):
        SyntheticWriter.open(tmp_path, replace(PLAN, **changed))


def test_a_model_that_was_moved_is_the_same_model(tmp_path):
    filled(tmp_path)
    moved = replace(PLAN, generator={**MAKER, "model": "jointnet-copy"})
    assert SyntheticWriter.open(tmp_path, moved).missing() == []


@pytest.mark.parametrize("where", ["first", "middle", "last", "short"])
def test_damage_is_found_and_named(tmp_path, where):
    filled(tmp_path)
    path = tmp_path / "shards/00001.npz"
    content = bytearray(path.read_bytes())
    if where == "short":
        del content[-1]
    else:
        content[{"first": 0, "middle": len(content) // 2, "last": -1}[where]] ^= 1
    path.write_bytes(content)
    pairs = SyntheticPairs.open(tmp_path)
    assert pairs.grey(0)[0].shape == (8, 12)
    with pytest.raises(UnreadableInput, match=r"00001\.npz: is damaged .*delete it and resume"):
        pairs.logits(3)


def test_damage_after_the_first_look_is_found_too(tmp_path):
    filled(tmp_path)
    pairs = SyntheticPairs.open(tmp_path)
    pairs.logits(0)
    path = tmp_path / "shards/00000.npz"
    content = path.read_bytes()
    first = content.index(b"NUMPY") if b"NUMPY" in content else 200
    path.write_bytes(content[:first] + b"\0\0\0\0" + content[first + 4 :])
    with pytest.raises(UnreadableInput, match="is damaged"):
        [pairs.logits(i) for i in range(3)] + [pairs.grey(i) for i in range(3)]


def test_a_damaged_manifest_is_named(tmp_path):
    filled(tmp_path)
    manifest = tmp_path / "manifest.json"
    whole = manifest.read_text()
    for damaged in (
        whole[:-9],
        "[]",
        "{}",
        whole.replace('"format": 1', '"format": 9'),
        whole.replace('"seed"', '"x"'),
    ):
        manifest.write_text(damaged)
        with pytest.raises(UnreadableInput, match=r"manifest\.json"):
            SyntheticPairs.open(tmp_path)
        with pytest.raises(UnreadableInput, match=r"manifest\.json"):
            SyntheticWriter.open(tmp_path, PLAN)


def test_arrays_that_are_no_shard_are_refused(tmp_path):
    writer = SyntheticWriter.open(tmp_path, PLAN)
    images, logits = made(PLAN, 0)
    for wrong in ((images[:2], logits[:2]), (images.astype(float), logits), (images, logits[:, :1])):
        with pytest.raises(ValueError, match=r"planned|fit"):
            writer.write(0, *wrong)
    with pytest.raises(ValueError, match="not finite"):
        writer.write(0, images, np.where(logits > 0, np.nan, logits))
    with pytest.raises(UsageError, match="no pairs"):
        SyntheticWriter.open(tmp_path / "none", replace(PLAN, count=0))


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="another file is in its place"):
        SyntheticWriter.open(tmp_path / "file", PLAN)


def test_a_shard_that_another_makes_is_left_to_it(tmp_path):
    one, other = SyntheticWriter.open(tmp_path, PLAN), SyntheticWriter.open(tmp_path, PLAN)
    with one.claimed(0) as mine, other.claimed(0) as theirs, other.claimed(1) as next_one:
        assert (mine, theirs, next_one) == (True, False, True)
        one.write(0, *made(PLAN, 0))
    with other.claimed(0) as again:
        assert not again


# The pairs of a shard from its seed, without the libraries that a test needs.
WORKER = """
import sys
import numpy as np
from pathlib import Path
from models.synthesis.manifest import SyntheticPlan
from models.synthesis.shards import SyntheticWriter

plan = SyntheticPlan(("other", "oil"), (8, 12), 40, 5, {"sampler": "ddim"}, 1)
writer = SyntheticWriter.open(Path(sys.argv[1]), plan)
while True:
    missing = writer.missing()
    if not missing:
        break
    for shard in missing[:: int(sys.argv[2])]:
        with writer.claimed(shard) as free:
            if free:
                rng = np.random.default_rng(plan.seed_of(shard))
                writer.write(shard, rng.integers(0, 256, (1, 8, 12), np.uint8), rng.normal(0, 4, (1, 2, 8, 12)))
"""


def worker(folder, stride):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", WORKER, str(folder), str(stride)], env=environment)


def test_processes_fill_one_folder_even_where_one_is_killed(tmp_path):
    """Two write at a time, one is killed amid its work and another takes over: the bytes are those of one alone."""
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert worker(alone, 1).wait() == 0
    killed, other = worker(together, 1), worker(together, 2)
    while not (together / "shards/00003.npz").exists():
        assert killed.poll() in {None, 0}
        time.sleep(0.005)
    killed.kill()
    assert killed.wait() in {-signal.SIGKILL, 0}
    assert other.wait() == 0
    assert (together / "manifest.json").read_bytes() == (alone / "manifest.json").read_bytes()
    pairs, same = SyntheticPairs.open(together), SyntheticPairs.open(alone)
    assert len(pairs) == 40
    assert all(np.array_equal(pairs.logits(i), same.logits(i)) for i in range(40))
