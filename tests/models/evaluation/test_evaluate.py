"""From images and networks to scores."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ingest.errors import UsageError
from models.classes import CLASSES, IGNORE, NOT_OIL, OIL, OIL_CLASSES
from models.datasets.pairs import Split
from models.evaluation import comparison
from models.evaluation.evaluate import (
    EvaluationOptions,
    common_classes,
    difference,
    evaluate,
    evaluation_record,
    image_counts,
    scores,
)
from models.evaluation.objects import ObjectOptions
from models.segment import Segmenter
from preprocess.options import PreprocessOptions
from preprocess.tiles import Tiling

LARGE = Tiling(512, 256)
OPTIONS = EvaluationOptions(objects=ObjectOptions(minimum_area=1), samples=100)


class Codes(nn.Module):
    """Takes the image for class indices and is as sure of them as `logit` says."""

    def __init__(self, classes: int, logit: float = 3.0) -> None:
        super().__init__()
        self.classes, self.logit = classes, logit
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images):
        self.seen.append(tuple(images.shape))
        one_hot = nn.functional.one_hot(images[:, 0].round().long(), self.classes)
        return self.logit * one_hot.permute(0, 3, 1, 2).float()


@dataclass
class Given:
    """Images that are class indices, with labels."""

    images: list
    labels: list
    classes: tuple[str, ...] = CLASSES
    pixel_spacing: float | None = None
    groups: list | None = None

    def __len__(self):
        return len(self.images)

    def name(self, index):
        return str(index)

    def pair(self, index, options):
        return np.asarray(self.images[index], np.float32)[None], np.asarray(self.labels[index], np.int64)


def drawn(n, seed, wrong=0.2, size=24):
    """Draw n images of blocks of classes, predicted with a share of wrong pixels."""
    rng = np.random.default_rng(seed)
    labels = [np.kron(rng.integers(0, 5, (4, 4)), np.ones((size // 4, size // 4), int)) for _ in range(n)]
    return [np.where(rng.random(one.shape) < wrong, rng.integers(0, 5, one.shape), one) for one in labels], labels


def scored(images, labels, classes=CLASSES, known=CLASSES, network=None, spacing=None, options=OPTIONS, groups=None):
    return evaluate(segmenter(network or Codes(5)), Given(images, labels, known, spacing, groups), classes, options)


def segmenter(network, tiling=LARGE):
    classes = CLASSES if network.classes == 5 else OIL_CLASSES
    return Segmenter(network, SimpleNamespace(preprocess=PreprocessOptions(), tiling=tiling, classes=classes))


def test_a_perfect_prediction_scores_one():
    labels = drawn(3, 0)[1]
    result = scored(labels, labels).scores
    ones = ["miou", "f1", "accuracy", "oil_iou", "object_f1", "matched_f1", "boundary_f1"]
    assert [result[name] for name in ones] == [1] * len(ones)
    assert result["false_alarms_per_image"] == 0
    sure = np.exp(3) / (np.exp(3) + 4)
    assert result["ece"] == pytest.approx(1 - sure, abs=1e-6)
    assert result["brier"] == pytest.approx((1 - sure) ** 2 + 4 * ((1 - sure) / 4) ** 2, abs=1e-6)


def test_scores_come_from_all_pixels_together_not_from_the_mean_over_images():
    truth = [[[1, 1, 1, 0]], [[1, 0, 0, 0]]]
    predicted = [[[1, 1, 1, 0]], [[0, 0, 0, 0]]]
    assert scored(predicted, truth).scores["oil_iou"] == pytest.approx(3 / 4)


def test_images_may_come_in_any_order():
    images, labels = drawn(6, 1)
    forth, back = scored(images, labels, spacing=40.0), scored(images[::-1], labels[::-1], spacing=40.0)
    assert forth.scores == pytest.approx(back.scores)


def test_intervals_hold_the_scores():
    result = scored(*drawn(30, 2))
    for name in ("miou", "oil_iou", "f1", "object_f1", "ece", "boundary_f1"):
        low, high = result.interval(name, 0.95)
        assert low < result.scores[name] < high


def test_oil_against_the_rest_takes_oil_where_it_is_the_likeliest_of_five():
    probability = np.array([0.3, 0.4, 0.1, 0.1, 0.1], np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    labels = np.array([[OIL, OIL], [NOT_OIL, IGNORE]])
    counts = image_counts(probability, labels, OIL_CLASSES, OPTIONS)
    assert counts["confusion"].tolist() == [[0, 1], [0, 2]]
    assert counts["sea"] == 3
    result = scores(counts, OIL_CLASSES, None)
    assert result["ece"] == result["oil_ece"] == pytest.approx(2 / 3 - 0.4)
    assert result["brier"] == pytest.approx((2 * 0.36 + 0.16) / 3)


def test_a_network_of_two_classes_is_compared_on_oil_with_labels_of_five():
    truth = [[[0, 1, 2, 3, 4, IGNORE]]]
    result = scored([[[0, 1, 1, 0, 0, 1]]], truth, OIL_CLASSES, network=Codes(2))
    assert result.totals["confusion"].tolist() == [[3, 1], [0, 1]]
    assert "sea_iou" not in result.scores


def test_pixels_without_data_do_not_count():
    image = np.array([[1.0, np.nan, 0.0]])
    assert scored([image], [[[1, 1, 0]]]).totals["confusion"].sum() == 2


def test_labels_that_only_deny_oil_count_for_oil_but_not_for_five_classes():
    result = scored([[[1, 0, 0]]], [[[NOT_OIL, 0, NOT_OIL]]])
    assert result.totals["confusion"].sum() == 1
    assert result.scores["false_alarms_per_image"] == 1


def test_false_alarms_by_area_leave_out_land():
    truth = np.zeros((10, 10), int)
    truth[:5] = CLASSES.index("land")
    predicted = truth.copy()
    predicted[8, 2:4] = OIL
    result = scored([predicted], [truth], spacing=40.0)
    assert result.scores["false_alarms_per_1000_km2"] == pytest.approx(1000 / (50 * 0.04**2))


def test_differences_are_paired():
    images, labels = drawn(20, 3)
    one, same = scored(images, labels), scored(images, labels)
    assert difference(one, same, "miou", 0.95) == (0, (0, 0))
    better = scored(drawn(20, 3, wrong=0.1)[0], labels)
    value, (low, high) = difference(better, one, "miou", 0.95)
    assert low < value < high
    wide = np.diff(one.interval("miou", 0.95))[0] + np.diff(better.interval("miou", 0.95))[0]
    assert high - low < wide


@pytest.mark.parametrize(("count", "has"), [(9, False), (10, True)])
def test_an_interval_needs_ten_images_or_groups_of_copies(count, has):
    images, labels = drawn(count, 4)
    for one in (scored(images, labels), scored(images * 2, labels * 2, groups=[*range(count)] * 2)):
        record = evaluation_record(one, one, OPTIONS, None)
        assert (record["no_intervals"] is None) == has
        assert (record["intervals"]["miou"][0] is not None) == has
        assert np.isnan(difference(one, one, "miou", 0.95)[1][0]) != has


def test_the_record_is_json_without_nan():
    import json

    one = scored([np.zeros((4, 4))], [np.zeros((4, 4), int)])
    record = evaluation_record(one, one, OPTIONS, 40.0)
    json.dumps(record, allow_nan=False)
    assert record["oil_iou"] is None
    assert record["intervals"]["oil_iou"] == [None, None]
    assert record["objects_by_area"][0]["km2"] == pytest.approx([1 * 0.0016, 100 * 0.0016])


def test_large_images_are_seen_in_the_tiles_of_the_checkpoint_that_blend_into_one():
    image = np.random.default_rng(0).integers(0, 5, (1, 260, 270)).astype(np.float32)
    whole, _ = segmenter(Codes(5)).segment(image)
    network = Codes(5)
    assert segmenter(network, tiling=Tiling(128, 32)).segment(image)[0] == pytest.approx(whole, abs=1e-6)
    assert {shape[-2:] for shape in network.seen} == {(128, 128)}


def test_what_is_kept_of_an_image_does_not_grow_with_it():
    small, large = (
        image_counts(torch.rand(5, n, n).softmax(0).numpy(), np.zeros((n, n), np.int64), CLASSES, OPTIONS)
        for n in (16, 128)
    )
    assert {name: one.shape for name, one in small.items()} == {name: one.shape for name, one in large.items()}


def test_common_classes():
    assert common_classes([CLASSES, CLASSES]) == CLASSES
    assert common_classes([CLASSES, OIL_CLASSES]) == OIL_CLASSES
    with pytest.raises(UsageError, match="water, oil"):
        common_classes([CLASSES, ("water", "oil")])


def test_a_data_set_without_images_is_said_to_be_empty(monkeypatch):
    monkeypatch.setattr(comparison, "open_dataset", lambda name: Split(name, None, Given([], []), ""))
    with pytest.raises(UsageError, match="no test images"):
        comparison.compare_models("empty", [])
