"""A whole evaluation: the shipped model on a folder of images and masks."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.evaluate import evaluate_models
from ingest.errors import UsageError
from models.checkpoint import SHIPPED, default_model_id
from models.datasets.folder import ImageMaskFolder
from models.datasets.sos import SOSImages
from models.evaluation.comparison import representative_images
from models.evaluation.evaluate import EvaluationOptions
from outputs.report import CLASS_COLOURS, coloured, summary, write_picture

OPTIONS = EvaluationOptions(samples=50, object_stage=False)
CONTRACT = {
    "n_images", "miou", "oil_iou", "f1", "precision", "recall", "object_precision", "object_recall", "object_f1",
    "false_alarms_per_image", "ece",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten images of 64 x 80 pixels: speckle with a dark band, the last one without oil."""
    root = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(5)
    rows = np.arange(64)[:, None]
    for name in ("images", "masks"):
        (root / name).mkdir()
    for i in range(10):
        oil = np.broadcast_to(abs(rows - 10 - 5 * i) < 6, (64, 80)) if i < 9 else np.zeros((64, 80), bool)
        grey = 110 * np.sqrt(rng.gamma(20, 1 / 20, (64, 80)) * np.where(oil, 0.1, 1.0))
        Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(root / "images" / f"{i:05}.png")
        Image.fromarray(np.uint8(255) * oil).save(root / "masks" / f"{i:05}.png")
    return root


@pytest.fixture(scope="module")
def evaluated(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "out"
    other = tmp_path_factory.mktemp("models") / "copy"
    shutil.copytree(SHIPPED / default_model_id(), other)
    record = json.loads((other / "checkpoint.json").read_text())
    (other / "checkpoint.json").write_text(json.dumps(record | {"id": "copy"}))
    file = out.parent / "scores.json"
    models = [default_model_id(), str(other)]
    return evaluate_models(str(folder), models, json_file=file, out=out, options=OPTIONS), out, file


def test_the_json_file_has_the_scores_of_every_model_by_id(evaluated):
    by_model = json.loads(evaluated[2].read_text())
    assert list(by_model) == [default_model_id(), "copy"]
    assert all(set(scores) >= CONTRACT for scores in by_model.values())
    assert by_model["copy"]["n_images"] == 10
    assert 0 < by_model["copy"]["oil_iou"] <= by_model["copy"]["oil_f1"] <= 1


def test_the_table_says_what_was_scored_and_with_what(evaluated):
    record, out, _ = evaluated
    assert json.loads((out / "table.json").read_text()) == json.loads(json.dumps(record))
    checkpoint = json.loads((SHIPPED / default_model_id() / "checkpoint.json").read_text())
    assert record["models"][default_model_id()]["weights_sha256"] == checkpoint["weights_sha256"]
    assert record["dataset"]["compared_on"] == ("other", "oil")
    assert record["options"]["samples"] == 50
    assert set(record["versions"]) >= {"slickwatch", "torch"}


def test_a_copy_of_a_model_differs_in_nothing(evaluated):
    difference = evaluated[0]["models"]["copy"]["difference_to_first"]
    assert difference["oil_iou"] == {"value": 0, "interval": [0, 0]}


def test_the_table_reads_well_and_its_pictures_are_there(evaluated):
    record, out, _ = evaluated
    text = (out / "table.md").read_text()
    model = record["models"][default_model_id()]
    assert f"{model['oil_iou']:.3f} [{model['intervals']['oil_iou'][0]:.3f}, " in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 7  # pixels, by class, objects and outlines, calibration, by area twice, differences
    assert all(len({line.count("|") for line in one}) == 1 for one in tables)
    pictures = sorted(p.name for p in out.glob("*.png"))
    assert all(f"({name})" in text for name in pictures)
    assert sum(name.startswith("reliability-") for name in pictures) == 2
    assert sum(name.startswith(("best-", "median-", "worst-")) for name in pictures) >= 3
    for name in pictures:
        with Image.open(out / name) as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20


def test_too_few_images_have_scores_without_intervals_and_say_so(folder, tmp_path):
    options = replace(OPTIONS, limit=9)
    record = evaluate_models(str(folder), [default_model_id()], out=tmp_path / "out", options=options)
    model, why = record["models"][default_model_id()], "too few images for an interval: 9 independent, at least 10 are"
    assert set(map(tuple, model["intervals"].values())) == {(None, None)}
    assert model["no_intervals"].startswith(why)
    assert model["oil_iou"] is not None
    text = (tmp_path / "out" / "table.md").read_text()
    assert why in text
    assert "[" not in text.split("## Models")[0]
    line, reason = summary(record).splitlines()
    assert f"oil_iou {model['oil_iou']:.3f}," in line
    assert reason.startswith(why)


def test_the_summary_has_a_line_a_model(evaluated):
    lines = summary(evaluated[0]).splitlines()
    assert [line.split(":")[0] for line in lines] == [default_model_id(), "copy"]
    assert f"oil_iou {evaluated[0]['models']['copy']['oil_iou']:.3f} [" in lines[1]


def test_a_second_run_replaces_the_first_and_other_folders_stay(evaluated, folder, tmp_path):
    out = evaluated[1]
    (out / "stale.png").write_bytes(b"x")
    evaluate_models(str(folder), [default_model_id()], out=out, options=OPTIONS)
    assert not (out / "stale.png").exists()
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match="other than an evaluation"):
        evaluate_models(str(folder), [default_model_id()], out=tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_one_model_named_twice_is_wrong_usage(folder):
    with pytest.raises(UsageError, match="duplicate model id"):
        evaluate_models(str(folder), [default_model_id()] * 2)


def test_copies_within_sos_are_one_group_and_numbers_of_other_sets_mean_nothing():
    files = tuple(Path(f"{name}.jpg") for name in ("20001", "20445", "20002", "5"))
    first, copy, second, alone = SOSImages(files, files).groups
    assert first == copy
    assert len({first, second, alone}) == 3
    assert ImageMaskFolder(files, files).groups is None


def test_best_middle_and_worst_images_are_chosen_once_each():
    iou = np.array([0.5, np.nan, 0.9, 0.1, 0.7, 0.3])
    assert representative_images(iou, 1) == [("best", 2), ("median", 0), ("worst", 3)]
    assert representative_images(np.array([0.2, np.nan]), 2) == [("best", 0)]
    assert representative_images(np.full(3, np.nan), 2) == [("first", 0), ("first", 1)]


def test_maps_are_painted_in_the_colours_of_the_classes(tmp_path):
    painted = coloured(np.array([[0, 1]]), {0: "sea", 1: "oil"})
    assert ["#" + bytes(cell).hex() for cell in painted[0]] == [CLASS_COLOURS["sea"], CLASS_COLOURS["oil"]]
    image = np.full((20, 60), np.nan, np.float32)
    write_picture(tmp_path / "wide.png", image, {"truth": np.zeros((20, 60), int)}, {0: "sea"}, "no data at all")
    with Image.open(tmp_path / "wide.png") as picture:
        assert picture.height > 0.4 * picture.width  # panels below each other
