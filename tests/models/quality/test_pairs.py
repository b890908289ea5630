"""Whether labels fit images, soft labels say how often they are right, and copies are found."""

import numpy as np
import pytest

from models.classes import IGNORE, NOT_OIL, OIL
from models.quality.agreement import Agreement, contrast, surroundings
from models.quality.nearest import COPY, Nearest, copies, structure
from models.quality.soft_labels import calibration_scores, soft_class_counts


def slick(seed, shift=0):
    """Speckle of 16 looks, a dark band whose power is a tenth, and its label."""
    labels = np.full((64, 64), NOT_OIL)
    labels[20:36] = OIL
    power = np.random.default_rng(seed).gamma(16, 1 / 16, (64, 64)) * np.where(np.roll(labels, shift, 0) == OIL, 0.1, 1)
    return np.clip(np.rint(100 * np.sqrt(power)), 0, 255).astype(np.uint8), labels


def agreement(shift=0):
    pairs = Agreement()
    for seed in range(6):
        pairs.add(*slick(seed, shift))
    return pairs


def test_a_tenth_of_the_power_is_ten_decibels():
    fitting = agreement()
    decibels, greys, in_order = fitting.contrasts.mean(axis=0)
    assert decibels == pytest.approx(10, abs=0.3)
    assert greys == pytest.approx(100 * (1 - 0.1**0.5), rel=0.05)
    assert in_order > 0.99


def test_labels_of_another_place_do_not_agree():
    measures = agreement().measures(agreement(shift=32))
    assert measures["agreement"].real > 0.99
    assert measures["agreement"].synthetic < 0.6
    assert measures["agreement"].distance == pytest.approx(measures["agreement"].real - measures["agreement"].synthetic)
    assert measures["contrast_db"].distance > 9
    assert all(one.distance == 0 for one in agreement().measures(agreement()).values())


def test_the_order_of_pixels_is_that_of_all_pairs():
    rng = np.random.default_rng(1)
    oil, around = (rng.integers(0, 20, n).astype(np.uint8) for n in (40, 70))
    pairs = np.sign(around[None].astype(int) - oil[:, None].astype(int))
    assert contrast(oil, around)[2] == pytest.approx((pairs + 1).mean() / 2)


def test_surroundings_are_near_known_and_not_oil():
    labels = np.full((64, 64), NOT_OIL)
    labels[30:34, 30:34] = OIL
    labels[26:30, 30] = IGNORE
    around = surroundings(labels)
    assert around[33, 37]  # 4 pixels off, a sixteenth of 64
    assert not around[33, 38]
    assert not around[31, 31]
    assert not around[28, 30]
    assert not surroundings(np.full((64, 64), NOT_OIL)).any()


def test_pairs_without_oil_or_without_sea_do_not_count():
    pairs = Agreement()
    for label in (OIL, NOT_OIL, IGNORE):
        pairs.add(slick(0)[0], np.full((64, 64), label))
    assert pairs.contrasts.shape == (0, 3)
    assert np.isnan(pairs.measures(agreement())["agreement"].distance)


def test_soft_labels_that_are_right_as_often_as_they_say_are_calibrated():
    rng = np.random.default_rng(2)
    p = rng.random((200, 200))
    labels = np.where(rng.random(p.shape) < p, OIL, NOT_OIL)
    labels[:3] = IGNORE
    logits = np.stack([np.zeros_like(p), np.log(p / (1 - p))])
    scores = calibration_scores(soft_class_counts(logits, labels) + soft_class_counts(logits[:, ::-1], labels[::-1]))
    assert scores["pixels"] == 2 * 197 * 200
    assert scores["ece"] < 0.02
    assert scores["brier"] == pytest.approx(2 / 6, rel=0.03)  # the mean of p (1 - p), of both classes
    sharper = calibration_scores(soft_class_counts(4 * logits, labels))
    assert sharper["ece"] > 0.1
    assert sharper["brier"] > scores["brier"]


def test_classes_are_held_to_labels_that_know_them():
    labels = np.array([[0, 1], [4, IGNORE]])
    logits = np.log(np.where(np.arange(5)[:, None, None] == np.minimum(labels, 4), 0.6, 0.1))
    scores = calibration_scores(soft_class_counts(logits, labels))
    assert scores == pytest.approx(
        {"pixels": 3, "ece": 0.4, "maximum_calibration_error": 0.4, "brier": 0.16 + 4 * 0.01}
    )
    with pytest.raises(ValueError, match="oil only"):
        soft_class_counts(logits, np.full((2, 2), NOT_OIL))
    two = soft_class_counts(logits[:2], np.where(labels == 4, NOT_OIL, labels))
    assert calibration_scores(two)["pixels"] == 3


def sea(seed, size=64):
    return np.random.default_rng(seed).integers(40, 200, (size, size)).astype(np.uint8)


def test_turned_and_noisy_copies_are_found_and_other_seas_are_not():
    known = Nearest()
    for seed in range(20):
        known.add(sea(seed))
    noise = np.random.default_rng(99).normal(0, 10, (64, 64))
    copy = np.clip(np.rot90(sea(7)).T * 0.8 + noise, 0, 255).astype(np.uint8)
    found = [known.correlation(copy), known.correlation(sea(100))]
    assert found[0] > 0.9
    assert found[1] < 0.3
    assert copies(np.array(found)) == 0.5
    assert known.correlation(np.full((64, 64), 9, np.uint8)) == 0
    assert found[1] < COPY < found[0]


def test_small_images_are_averages_of_any_size():
    image = np.repeat(np.repeat(sea(3, 32), 3, axis=0), 2, axis=1)
    np.testing.assert_allclose(structure(image), structure(sea(3, 32)), atol=1e-6)
    assert np.linalg.norm(structure(sea(4, 45))) == pytest.approx(1, abs=1e-5)
