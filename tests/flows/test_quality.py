"""A whole comparison on small folders: real against real, and against synthetic pairs."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from flows.cli import app
from flows.quality import assess_quality
from ingest.errors import UsageError
from models.classes import OIL_CLASSES
from models.quality.assessment import assess, table
from models.quality.extractors import SAR_MODEL
from models.quality.image_sets import real_set, synthetic_set
from models.synthesis import SyntheticPlan, SyntheticWriter
from tests.support.dataset_folders import released_sos

MEASURES = {
    "grey_level", "equivalent_looks", "spectrum", "autocorrelation", "oil_share", "oil_patches",
    "contrast_db", "contrast_grey", "agreement",
}  # fmt: skip


def pair(seed, size=32):
    """Speckle with a dark band of oil somewhere."""
    rng = np.random.default_rng(seed)
    oil = np.broadcast_to(abs(np.arange(size)[:, None] - rng.integers(8, size - 8)) < 5, (size, size))
    grey = 110 * np.sqrt(rng.gamma(10, 1 / 10, (size, size)) * np.where(oil, 0.1, 1.0))
    return np.clip(grey, 0, 255).astype(np.uint8), oil


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("real")
    for name in ("images", "masks"):
        (root / name).mkdir()
    for i in range(8):
        image, oil = pair(i)
        Image.fromarray(image).save(root / "images" / f"{i}.png")
        Image.fromarray(np.uint8(255) * oil).save(root / "masks" / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    """Six pairs in shards of four; the first copies a real image, and no label fits its image."""
    root = tmp_path_factory.mktemp("synthetic")
    plan = SyntheticPlan(OIL_CLASSES, (32, 32), count=6, seed=1, generator={"model": "none"}, shard_size=4)
    writer = SyntheticWriter.open(root, plan)
    pairs = [pair(3), *(pair(seed) for seed in range(20, 25))]
    images = np.stack([image for image, _ in pairs])
    wrong = np.stack([np.rot90(oil) for _, oil in pairs])
    logits = np.where(wrong[:, None], [[[[-4.0]], [[0.0]]]], [[[[0.0]], [[-4.0]]]])
    for shard in range(plan.shards):
        chosen = slice(4 * shard, 4 * shard + 4)
        writer.write(shard, images[chosen], logits[chosen])
    return root


@pytest.fixture(scope="module")
def against_synthetic(folder, synthetic, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "quality"
    return assess_quality(str(folder), str(synthetic), out), out


def test_a_set_is_at_no_distance_from_itself(folder):
    record = assess(str(folder), str(folder)).record
    assert set(record["measures"]) == MEASURES
    assert all(one["distance"] == 0 for one in record["measures"].values())
    assert record["features"][0]["fid"] == pytest.approx(0, abs=1e-3)
    assert record["features"][0]["fid_noise"] > 0
    assert record["nearest"]["share_above"] == 1


def test_the_record_says_what_was_compared_by_what(against_synthetic):
    record, out = against_synthetic
    assert json.loads((out / "quality.json").read_text()) == json.loads(json.dumps(record))
    (features,) = record["features"]
    assert features["extractor"] == f"sar-{SAR_MODEL}"
    assert len(features["weights_sha256"]) == 64
    assert (features["n_real"], features["n_synthetic"], features["size"]) == (8, 6, (32, 32))
    assert record["synthetic"]["made_by"]["generator"] == {"model": "none"}
    assert "6 images for 248 features" in features["warning"]
    assert len(record["curves"]["real"]["spectrum"]) == 16


def test_labels_that_fit_no_image_and_a_copy_are_found(against_synthetic):
    record, _ = against_synthetic
    agreement = record["measures"]["agreement"]
    assert agreement["real"] > 0.95
    assert agreement["synthetic"] < 0.75
    assert record["nearest"]["share_above"] == pytest.approx(1 / 6, abs=1e-6)


def test_the_sheet_and_the_table_are_to_be_looked_at(against_synthetic):
    record, out = against_synthetic
    with Image.open(out / "contact-sheet.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("L")))) > 50
    text = table(record)
    assert f"features of sar-{SAR_MODEL}" in text
    assert all(f"\n{name} " in text for name in MEASURES)


def test_the_command_prints_json_or_a_table(folder, synthetic, tmp_path):
    arguments = [str(folder), str(synthetic), "--count", "4", "--out", str(tmp_path / "q")]
    printed = CliRunner().invoke(app, ["quality", *arguments, "--json"])
    assert printed.exit_code == 0, printed.output
    assert json.loads(printed.stdout)["real"]["n_images"] == 4
    assert "FID needs 2 times as many" in printed.stderr


def test_other_people_s_folders_stay(folder, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match="other than a comparison"):
        assess_quality(str(folder), str(folder), tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_the_training_part_is_held_to_the_test_part(tmp_path, monkeypatch):
    monkeypatch.setenv("SLICKWATCH_DATA", str(tmp_path))
    released_sos(tmp_path / "sos", "sentinel", train=(20001, 20445, 20002, 30001), test=(20003, 20004, 20005, 20006))
    real, other = real_set("sos-official", None), synthetic_set("sos-official", 2)
    assert (real.name, other.name) == ("sos-official train", "sos-official test")
    assert real.groups is not None
    assert real.groups[0] == real.groups[2]  # 20001 and 20445 show one place
    assert len(set(real.groups)) == 3
    assert other.indices == (0, 2)
    with pytest.raises(UsageError, match="has 2 images"):
        assess("sos-official", "sos-official", count=2)
