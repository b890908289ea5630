"""Scores on chips that are labelled as a whole."""

import csv
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import mannwhitneyu
from torch import nn

from models.classes import CLASSES, OIL
from models.datasets.catalogue import open_dataset
from models.datasets.pairs import spread_out
from models.evaluation.chips import chip_counts, chip_record, chip_scores, evaluate_chips, image_scores, worst_images
from models.evaluation.evaluate import EvaluationOptions, evaluation_of
from models.segment import Segmenter, SlickThresholds
from outputs.options import SlickOptions
from preprocess.options import PreprocessOptions
from preprocess.tiles import Tiling

OPTIONS = EvaluationOptions(samples=20)


class DarkIsOil(nn.Module):
    def forward(self, images):
        logits = torch.zeros(len(images), len(CLASSES), *images.shape[-2:])
        logits[:, OIL] = torch.where(images[:, 0] < -1, 6.0, -6.0)
        return logits


SEGMENTER = Segmenter(
    DarkIsOil(), SimpleNamespace(preprocess=PreprocessOptions(), tiling=Tiling(512, 256), classes=CLASSES)
)


@pytest.fixture
def folder(tmp_path):
    """Eight chips: four with a dark patch of 12 x 12 pixels, of which one is labelled as oil-free."""
    rows = []
    for i in range(8):
        grey = np.full((64, 64), 120, np.uint8)
        if i % 2:
            grey[20:32, 20:32] = 10
        Image.fromarray(grey).save(tmp_path / f"{i}.png")
        rows.append({"path": f"{i}.png", "oil": int(i in (3, 5, 7))})
    with (tmp_path / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ("path", "oil"))
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


def test_chips_of_a_folder_with_an_index_are_scored_by_their_labels(folder):
    chips = open_dataset(str(folder)).test
    evaluation = evaluate_chips(SEGMENTER, chips, OPTIONS)
    assert evaluation.scores["oil_images_found"] == 1
    assert evaluation.scores["oil_free_images_with_slick"] == pytest.approx(1 / 5)
    assert evaluation.scores["false_slicks_per_oil_free_image"] == pytest.approx(1 / 5)
    assert evaluation.scores["false_slicks_per_1000_km2"] == pytest.approx(1 / (5 * (64 * 0.04) ** 2 / 1000))
    assert evaluation.scores["auc"] == pytest.approx((4 + 0.5) / 5)
    assert worst_images(chips, image_scores(evaluation), oil=False, n=1) == [1]


def test_scores_of_few_images_have_no_interval(folder):
    def record(oil, free):
        rows = [chip_counts(0.3 + 0.02 * i, 1, 9, True, 10) for i in range(oil)]
        rows += [chip_counts(0.2 + 0.02 * i, i % 2, 9, False, 10) for i in range(free)]
        counts = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return chip_record(evaluation_of(CLASSES, counts, lambda sums: chip_scores(sums, 40.0), None, OPTIONS), OPTIONS)

    few = record(oil=9, free=12)
    of_oil = {"auc", "oil_images_found"}
    assert {name for name, ends in few["intervals"].items() if ends == [None, None]} == of_oil
    assert few["lacking_intervals"] == (
        "no interval for auc, oil_images_found: 9 images with oil, at least 10 are needed"
    )
    enough = record(oil=10, free=12)
    assert [None, None] not in enough["intervals"].values()
    assert enough["lacking_intervals"] is None
    neither = record(oil=4, free=5)
    assert neither["no_intervals"].startswith("too few images")
    assert neither["lacking_intervals"] is None, "it is said once"


def test_the_area_under_the_curve_is_mann_and_whitneys_statistic():
    rng = np.random.default_rng(3)
    oil = rng.random(300) < 0.4
    score = np.round(np.clip(rng.normal(0.4 + 0.2 * oil, 0.2), 0, 0.999), 2)  # with ties
    rows = [chip_counts(s, 0, 1, o, 10) for s, o in zip(score, oil, strict=True)]
    totals = {name: sum(row[name] for row in rows) for name in rows[0]}
    assert chip_scores(totals, 40.0)["auc"] == pytest.approx(
        mannwhitneyu(score[oil], score[~oil]).statistic / (oil.sum() * (~oil).sum())
    )


def test_a_slick_smaller_than_is_published_is_none(folder):
    probability = np.zeros((len(CLASSES), 40, 40), np.float32)
    probability[OIL, 10:17, 10:18] = 0.9  # 56 pixels of 40 m: less than 0.1 km2
    assert not (SEGMENTER.published(probability) == OIL).any()
    probability[OIL, 10:18, 10:18] = 0.9
    assert (SEGMENTER.published(probability) == OIL).sum() == 64


def test_a_limit_is_spread_over_the_data_set(folder):
    chips = open_dataset(str(folder)).test
    assert [spread_out(chips, 4).name(i) for i in range(4)] == ["1", "3", "5", "7"]
    assert len(spread_out(chips, 100)) == 8


def test_thresholds_are_those_of_published_slicks():
    options = SlickOptions()
    assert asdict(SlickThresholds()) == {name: getattr(options, name) for name in asdict(SlickThresholds())}
