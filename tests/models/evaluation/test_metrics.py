"""Pixel scores: by hand, by their laws, and against the figures that the DAKD paper prints."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import brentq

from models.classes import IGNORE, NOT_OIL
from models.evaluation.metrics import (
    class_f1,
    class_precision,
    class_recall,
    confusion_matrix,
    intersection_over_union,
    pixel_scores,
)

# The paper's Table 3, IoU by class in percent, beside mIoU and F1 of its Table 2.
TABLE_3 = {
    "CBD-Net": ((95.17, 42.84, 38.38, 27.58, 91.95), 59.19, 70.41),
    "DeepLabV3+": ((88.43, 44.80, 56.44, 31.06, 92.21), 62.59, 74.25),
    "SegFormer": ((94.42, 39.77, 48.79, 36.18, 96.86), 63.20, 74.23),
    "Ours": ((97.56, 60.01, 67.61, 51.77, 97.35), 74.86, 84.27),
}
matrices = hnp.arrays(np.int64, (4, 4), elements=st.integers(0, 10_000)).filter(lambda c: c.sum() > 0)


def test_a_confusion_matrix_leaves_out_labels_that_are_no_class():
    truth = np.array([0, 0, 1, 1, 1, NOT_OIL, IGNORE, -1])
    predicted = np.array([0, 1, 1, 1, 0, 1, 1, 1])
    assert confusion_matrix(truth, predicted, 2).tolist() == [[1, 1], [1, 2]]


def test_scores_of_two_classes_by_hand():
    confusion = np.array([[6, 2], [1, 3]])
    scores = pixel_scores(confusion)
    assert intersection_over_union(confusion) == pytest.approx([6 / 9, 3 / 6])
    assert class_precision(confusion) == pytest.approx([6 / 7, 3 / 5])
    assert class_recall(confusion) == pytest.approx([6 / 8, 3 / 4])
    assert class_f1(confusion) == pytest.approx([12 / 15, 6 / 9])
    assert scores["miou"] == pytest.approx((6 / 9 + 3 / 6) / 2)
    assert scores["f1"] == pytest.approx((12 / 15 + 6 / 9) / 2)
    assert scores["precision"] == pytest.approx((6 / 7 + 3 / 5) / 2)
    assert scores["recall"] == pytest.approx(0.75)
    assert scores["accuracy"] == scores["accuracy_one_vs_rest"] == pytest.approx(9 / 12)


def test_a_class_that_is_nowhere_is_left_out_and_one_that_is_never_found_counts_as_nothing():
    confusion = np.array([[8, 0, 0], [2, 0, 0], [0, 0, 0]])  # the second class is never predicted, the third nowhere
    assert intersection_over_union(confusion) == pytest.approx([0.8, 0, np.nan], nan_ok=True)
    assert class_precision(confusion) == pytest.approx([0.8, 0, np.nan], nan_ok=True)
    scores = pixel_scores(confusion)
    assert scores["miou"] == pytest.approx(0.4)
    assert scores["precision"] == pytest.approx(0.4)
    assert scores["recall"] == pytest.approx(0.5)
    assert scores["accuracy_one_vs_rest"] == pytest.approx(0.8)


def test_three_classes_tell_the_two_accuracies_apart():
    confusion = np.array([[5, 1, 0], [0, 2, 1], [0, 0, 1]])
    one_vs_rest = [(10 - wrong) / 10 for wrong in (1, 2, 1)]  # pixels wrong about each class
    scores = pixel_scores(confusion)
    assert scores["accuracy"] == pytest.approx(0.8)
    assert scores["accuracy_one_vs_rest"] == pytest.approx(np.mean(one_vs_rest))


def test_no_pixel_gives_no_score():
    assert all(np.isnan(value) for value in pixel_scores(np.zeros((3, 3))).values())


@given(matrices)
def test_iou_is_at_most_f1_and_f1_follows_from_it(confusion):
    iou, f1 = intersection_over_union(confusion), class_f1(confusion)
    present = ~np.isnan(iou)
    assert (iou[present] <= f1[present] + 1e-12).all()
    assert f1[present] == pytest.approx(2 * iou[present] / (1 + iou[present]))
    assert pixel_scores(confusion)["miou"] <= pixel_scores(confusion)["f1"] + 1e-12


@given(matrices)
def test_f1_is_the_harmonic_mean_of_precision_and_recall(confusion):
    p, r, f1 = class_precision(confusion), class_recall(confusion), class_f1(confusion)
    some = np.nan_to_num(p * r) > 0
    assert f1[some] == pytest.approx(2 / (1 / p[some] + 1 / r[some]))


@given(matrices, matrices)
def test_leading_axes_are_scored_one_by_one(one, other):
    together = pixel_scores(np.stack([one, other]))
    for i, confusion in enumerate((one, other)):
        alone = pixel_scores(confusion)
        for name, value in alone.items():
            assert together[name][i] == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize("method", TABLE_3)
def test_the_papers_miou_and_f1_on_osd_are_means_over_classes(method):
    by_class, miou, f1 = TABLE_3[method]
    iou = np.array(by_class) / 100
    assert 100 * iou.mean() == pytest.approx(miou, abs=0.0101)
    assert 100 * (2 * iou / (1 + iou)).mean() == pytest.approx(f1, abs=0.0101)


def test_the_papers_f1_is_not_that_of_its_mean_precision_and_recall():
    p, r = 82.25, 64.60  # CBD-Net on OSD, F1 70.41
    assert 2 * p * r / (p + r) > 72.3


def test_the_papers_accuracy_on_osd_cannot_be_the_share_of_right_pixels():
    # A wrong pixel is in the union of two classes without being a hit, so that wrong = sum((1 - IoU) * union) / 2,
    # and the unions of all classes together are all pixels and the wrong ones once more.
    least_wrong = (1 - np.array(TABLE_3["Ours"][0]) / 100).min() / 2
    most_right = 1 - least_wrong / (1 - least_wrong)
    assert 100 * most_right < 98.8 < 99.03


@pytest.mark.parametrize(
    ("miou", "f1", "accuracy", "agrees"),
    [
        (78.74, 87.49, 93.04, True),  # SOS-ALOS, DeepLabV3+
        (82.25, 89.84, 94.39, True),  # SOS-ALOS, SegFormer
        (76.95, 86.81, 88.20, True),  # SOS-Sentinel, DeepLabV3+
        (82.16, 90.13, 91.01, True),  # SOS-Sentinel, SegFormer
        (86.30, 92.23, 95.65, False),  # SOS-ALOS, SAROSS-Net
        (87.25, 93.05, 93.68, False),  # SOS-Sentinel, SAROSS-Net
    ],
)
def test_of_two_classes_the_papers_miou_and_f1_fix_its_accuracy(miou, f1, accuracy, agrees):
    implied = [_implied_accuracy(miou + a, f1 + b) for a in (-0.005, 0.005) for b in (-0.005, 0.005)]
    assert (min(implied) <= accuracy <= max(implied)) == agrees


def _implied_accuracy(miou: float, f1: float) -> float:
    """Of two classes whose F1 and IoU have these means, in percent: F1 of each fixes its hits per wrong pixel."""
    miou, f1 = miou / 100, f1 / 100

    def mean_iou(apart: float) -> float:
        return sum(f / (2 - f) for f in (f1 - apart, f1 + apart)) / 2

    apart = brentq(lambda d: mean_iou(d) - miou, 0, 1 - f1 - 1e-9)
    hits = sum(f / (2 * (1 - f)) for f in (f1 - apart, f1 + apart))  # per wrong pixel
    return 100 * hits / (hits + 1)
