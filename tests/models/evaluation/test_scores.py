"""The parts of an evaluation: objects, outlines, calibration, bootstrap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.evaluation.bootstrap import bootstrap, grouped, interval, total
from models.evaluation.calibration import (
    brier,
    expected_calibration_error,
    maximum_calibration_error,
    oil_calibration,
    top_label_calibration,
)
from models.evaluation.metrics import boundary_counts, boundary_scores
from models.evaluation.objects import (
    FOUND,
    HITS,
    MATCHED,
    MATCHED_PREDICTED,
    PREDICTED,
    TRUE,
    ObjectOptions,
    object_counts,
    object_scores,
)

masks = hnp.arrays(bool, (12, 15))
ANY = ObjectOptions(minimum_area=1)


def boxes(*corners, shape=(40, 60)):
    """Draw boxes (top, left, height, width)."""
    mask = np.zeros(shape, bool)
    for top, left, height, width in corners:
        mask[top : top + height, left : left + width] = True
    return mask


def counted(truth, predicted, options=ANY):
    return object_counts(truth, predicted, options).sum(axis=0)


# Objects


def test_one_prediction_over_two_slicks_finds_both_and_matches_the_larger():
    truth = boxes((0, 0, 4, 10), (0, 12, 4, 5))
    predicted = boxes((0, 0, 4, 17))  # IoU 40/68 and 20/68
    counts = counted(truth, predicted)
    assert counts[[TRUE, FOUND, MATCHED]].tolist() == [2, 2, 1]
    assert counts[[PREDICTED, HITS, MATCHED_PREDICTED]].tolist() == [1, 1, 1]
    scores = object_scores(counts)
    assert (scores["object_precision"], scores["object_recall"], scores["object_f1"]) == (1, 1, 1)
    assert (scores["matched_precision"], scores["matched_recall"]) == (1, 0.5)
    assert scores["matched_f1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(("columns", "matched"), [(3, 1), (2, 0)])
def test_an_iou_of_exactly_the_threshold_matches(columns, matched):
    truth, predicted = boxes((0, 0, 1, 10)), boxes((0, 0, 1, columns))  # IoU 3/10 or 2/10
    assert counted(truth, predicted)[[FOUND, MATCHED]].tolist() == [1, matched]


def test_matching_pairs_as_many_as_can_be_before_it_looks_at_how_well():
    truth = boxes((0, 0, 1, 20), (0, 21, 1, 8))
    predicted = boxes((0, 0, 1, 5), (0, 6, 1, 20))
    # The second prediction fits the first slick best, 14/26, and the second one with 5/23;
    # the first prediction fits the first slick alone, with 5/20.
    assert counted(truth, predicted, ObjectOptions(minimum_area=1, matching_iou=0.2))[MATCHED] == 2
    assert counted(truth, predicted, ObjectOptions(minimum_area=1, matching_iou=0.22))[MATCHED] == 1


def test_slicks_that_touch_at_a_corner_are_one():
    truth = boxes((0, 0, 2, 2), (2, 2, 2, 2))
    assert counted(truth, boxes((2, 2, 2, 2)))[[TRUE, FOUND]].tolist() == [1, 1]


def test_patches_under_the_least_area_are_neither_found_nor_false():
    options = ObjectOptions(minimum_area=9)
    truth = boxes((0, 0, 2, 4), (10, 0, 3, 3))  # 8 and 9 pixels
    predicted = boxes((0, 0, 3, 4), (20, 0, 2, 4), (30, 0, 3, 4))  # over the small one; too small; false
    counts = counted(truth, predicted, options)
    assert counts.tolist() == [1, 0, 0, 1, 0, 0]  # one slick, missed; one prediction, false


def test_counts_lie_in_the_bin_of_their_own_area():
    options = ObjectOptions(minimum_area=1, area_edges=(10, 100))
    truth = boxes((0, 0, 1, 9), (10, 0, 1, 10))  # 9 and 10 pixels
    predicted = boxes((0, 0, 1, 9), (10, 0, 10, 10))
    counts = object_counts(truth, predicted, options)
    assert counts[:, TRUE].tolist() == [1, 1, 0]
    assert counts[:, FOUND].tolist() == [1, 1, 0]
    assert counts[:, PREDICTED].tolist() == [1, 0, 1]
    assert counts[:, HITS].tolist() == [1, 0, 1]
    assert counts[:, MATCHED].tolist() == [1, 0, 0]  # IoU 10/100


def test_nothing_true_and_nothing_predicted_is_no_score_and_one_of_them_is_none():
    nothing, something = boxes(), boxes((0, 0, 5, 5))
    assert np.isnan(object_scores(counted(nothing, nothing))["object_f1"])
    assert object_scores(counted(something, nothing))["object_f1"] == 0
    assert object_scores(counted(nothing, something))["object_f1"] == 0


@given(masks)
def test_the_truth_itself_is_a_perfect_prediction(mask):
    counts = counted(mask, mask)
    assert len(set(counts.tolist())) == 1


@given(masks, masks)
def test_objects_keep_their_order(truth, predicted):
    true, found, matched, n, hits, matched_predicted = counted(truth, predicted)
    assert matched == matched_predicted <= min(found, hits)
    assert found <= true
    assert hits <= n
    swapped = counted(predicted, truth)
    assert swapped[[PREDICTED, HITS, MATCHED]].tolist() == [true, found, matched]


# Outlines


def test_a_shifted_square_by_hand():
    truth, predicted = boxes((10, 10, 7, 7)), boxes((10, 13, 7, 7))
    known = np.ones_like(truth)
    true, true_near, found, found_near = boundary_counts(truth, predicted, known, 2)
    # Of the left column all 7 are 3 away; of the right one the middle is, from both rows and columns of the other.
    assert true_near == found_near == 24 - 7 - 1
    assert boundary_scores(np.array([true, true_near, found, found_near]))["boundary_f1"] == pytest.approx(2 / 3)


def test_the_edge_of_the_image_and_of_what_is_known_is_no_outline():
    truth = boxes((0, 0, 5, 5), shape=(8, 8))
    known = np.ones_like(truth)
    assert boundary_counts(truth, truth, known, 0).tolist() == [9, 9, 9, 9]
    known[:, 5] = False
    assert boundary_counts(truth, truth, known, 0).tolist() == [5, 5, 5, 5]


def test_no_outline_is_near_nothing():
    square, nothing = boxes((5, 5, 4, 4)), boxes()
    assert boundary_counts(square, nothing, np.ones_like(square), 100).tolist() == [12, 0, 0, 0]
    assert boundary_scores(np.array([12, 0, 0, 0]))["boundary_f1"] == 0


@given(masks, masks)
def test_more_tolerance_never_costs_score(truth, predicted):
    known = np.ones_like(truth)
    counts = [boundary_counts(truth, predicted, known, tolerance) for tolerance in (0, 1, 2, 4)]
    assert (np.diff(counts, axis=0) >= 0).all()
    assert boundary_counts(truth, truth, known, 0).tolist() == [counts[0][0]] * 4


# Calibration


def test_calibration_by_hand():
    p, oil = np.array([0.1, 0.1, 0.9, 1.0]), np.array([False, True, True, True])
    counts = oil_calibration(p, oil, 2)
    assert counts == pytest.approx(np.array([[2, 0.2, 1, 0.82], [2, 1.9, 2, 0.01]]))
    assert expected_calibration_error(counts) == pytest.approx((0.8 + 0.1) / 4)
    assert maximum_calibration_error(counts) == pytest.approx(0.4)
    assert brier(counts) == pytest.approx(0.83 / 4)


def test_top_label_calibration_by_hand():
    p = np.array([[0.6, 0.2], [0.3, 0.5], [0.1, 0.3]])  # two pixels, three classes
    counts = top_label_calibration(p, np.array([0, 2]), 10)
    assert counts[:, 0].tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 0, 0]
    assert expected_calibration_error(counts) == pytest.approx((0.4 + 0.5) / 2)
    assert brier(counts) == pytest.approx(((0.16 + 0.09 + 0.01) + (0.04 + 0.25 + 0.49)) / 2)


def test_a_calibrated_sample_has_no_error_and_an_overconfident_one_its_gap():
    rng = np.random.default_rng(0)
    p = rng.random(400_000)
    assert expected_calibration_error(oil_calibration(p, rng.random(len(p)) < p, 15)) < 0.005
    sure = np.full(400_000, 0.9)
    right = rng.random(len(sure)) < 0.7
    assert expected_calibration_error(oil_calibration(sure, right, 15)) == pytest.approx(0.9 - right.mean())


def test_without_a_pixel_there_is_no_calibration():
    counts = oil_calibration(np.zeros(0), np.zeros(0, bool), 15)
    assert np.isnan([expected_calibration_error(counts), maximum_calibration_error(counts), brier(counts)]).all()


@given(hnp.arrays(np.float64, 30, elements=st.floats(0, 1)), hnp.arrays(bool, 30))
def test_the_expected_error_is_at_most_the_largest(p, oil):
    counts = oil_calibration(p, oil, 15)
    assert expected_calibration_error(counts) <= maximum_calibration_error(counts) + 1e-12
    assert counts[:, 0].sum() == 30


# Bootstrap


def mean(counts):
    return {"mean": counts["sum"] / counts["images"]}


def sample(n, seed=0):
    values = np.random.default_rng(seed).normal(5, 2, n)
    return {"sum": values, "images": np.ones(n)}


def test_the_interval_holds_the_score_and_is_that_of_theory():
    counts = sample(400)
    drawn = bootstrap(counts, mean, 2000, 1)["mean"]
    low, high = interval(drawn)
    standard_error = counts["sum"].std() / 20
    assert low < mean(total(counts))["mean"] < high
    assert high - low == pytest.approx(2 * 1.96 * standard_error, rel=0.08)


def test_more_images_narrow_the_interval():
    widths = [np.diff(interval(bootstrap(sample(n), mean, 500, 0)["mean"]))[0] for n in (25, 100, 400)]
    assert widths[0] > 1.5 * widths[1] > 2.25 * widths[2]


def test_the_same_seed_draws_the_same_images_so_that_differences_are_paired():
    one = sample(60)
    other = one | {"sum": one["sum"] + 0.25}
    paired = bootstrap(other, mean, 120, 3)["mean"] - bootstrap(one, mean, 120, 3)["mean"]
    assert paired == pytest.approx(0.25)
    assert not np.allclose(bootstrap(one, mean, 120, 4)["mean"], bootstrap(one, mean, 120, 3)["mean"])


def test_copies_that_are_drawn_together_do_not_narrow_the_interval():
    once = sample(50)
    thrice = {name: np.tile(values, 3) for name, values in once.items()}
    groups = list(range(50)) * 3
    assert grouped(thrice, groups)["sum"] == pytest.approx(3 * once["sum"])
    together = interval(bootstrap(grouped(thrice, groups), mean, 300, 0)["mean"])
    assert together == pytest.approx(interval(bootstrap(once, mean, 300, 0)["mean"]))
    assert np.diff(interval(bootstrap(thrice, mean, 300, 0)["mean"])) < 0.75 * np.diff(together)


def test_samples_are_drawn_with_replacement_from_matrices_too():
    counts = {"confusion": np.arange(3 * 4.0).reshape(3, 2, 2), "images": np.ones(3)}
    drawn = bootstrap(counts, lambda c: {"n": c["images"], "first": c["confusion"][..., 0, 0]}, 70, 0)
    assert drawn["n"].tolist() == [3] * 70
    assert set(drawn["first"]) <= {a + b + c for a in (0, 4, 8) for b in (0, 4, 8) for c in (0, 4, 8)}


@settings(max_examples=20)
@given(st.permutations(range(12)))
def test_totals_do_not_depend_on_the_order_of_images(order):
    counts = sample(12)
    shuffled = {name: values[list(order)] for name, values in counts.items()}
    assert mean(total(shuffled))["mean"] == pytest.approx(mean(total(counts))["mean"])


def test_scores_that_are_undefined_in_a_sample_are_left_out_of_the_interval():
    assert interval(np.array([np.nan, 1, 1, np.nan])) == (1, 1)
    assert np.isnan(interval(np.full(3, np.nan))).all()
