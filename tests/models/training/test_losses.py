"""Losses against values worked out by hand."""

import math

import pytest
import torch

from models.classes import IGNORE, NOT_OIL
from models.training.losses import cross_entropy, dice, distillation


def logits_of(*probabilities):
    """One image of one row, pixels with the given class probabilities."""
    return torch.tensor(probabilities).log().T.reshape(1, len(probabilities[0]), 1, len(probabilities))


def test_cross_entropy_is_the_mean_log_probability_of_the_label():
    logits = logits_of([0.7, 0.2, 0.1], [0.1, 0.6, 0.3])
    loss = cross_entropy(logits, torch.tensor([[[0, 1]]]))
    assert float(loss) == pytest.approx(-(math.log(0.7) + math.log(0.6)) / 2, rel=1e-6)


def test_not_oil_stands_for_all_other_classes():
    logits = logits_of([0.7, 0.2, 0.1])
    assert float(cross_entropy(logits, torch.tensor([[[NOT_OIL]]]))) == pytest.approx(-math.log(0.8), rel=1e-6)


def test_ignored_pixels_do_not_count():
    logits = logits_of([0.7, 0.2, 0.1], [0.01, 0.01, 0.98])
    loss = cross_entropy(logits, torch.tensor([[[0, IGNORE]]]))
    assert float(loss) == pytest.approx(-math.log(0.7), rel=1e-6)
    assert float(cross_entropy(logits, torch.full((1, 1, 2), IGNORE))) == 0


def test_dice_weights_classes_by_the_inverse_square_of_their_volume():
    p = [[0.8, 0.2, 0.0], [0.6, 0.4, 0.0], [0.3, 0.7, 0.0]]
    logits = logits_of(*[[x + 1e-12 for x in row] for row in p])
    # class 0 has two pixels, weight 1/4; class 1 has one, weight 1; class 2 none, left out
    overlap = (0.8 + 0.6) / 4 + 0.7
    total = (2 + 0.8 + 0.6 + 0.3) / 4 + (1 + 0.2 + 0.4 + 0.7)
    loss = dice(logits, torch.tensor([[[0, 0, 1]]]))
    assert float(loss) == pytest.approx(1 - 2 * overlap / total, rel=1e-5)


def test_mean_dice_gives_each_class_the_same_weight():
    p = [[0.8, 0.2, 0.0], [0.6, 0.4, 0.0], [0.3, 0.7, 0.0]]
    logits = logits_of(*[[x + 1e-12 for x in row] for row in p])
    first, second = 1 - 2 * 1.4 / (2 + 1.7), 1 - 2 * 0.7 / (1 + 1.3)
    loss = dice(logits, torch.tensor([[[0, 0, 1]]]), "mean")
    assert float(loss) == pytest.approx((first + second) / 2, rel=1e-5)


def test_dice_of_oil_masks_has_two_classes():
    logits = logits_of([0.5, 0.2, 0.3], [0.1, 0.9, 0.0001])
    overlap = 0.8 + 0.9
    total = (1 + 0.8 + 0.1) + (1 + 0.2 + 0.9)
    loss = dice(logits, torch.tensor([[[NOT_OIL, 1]]]))
    assert float(loss) == pytest.approx(1 - 2 * overlap / total, rel=1e-3)


def test_dice_of_a_perfect_prediction_is_zero_and_mixed_batches_average():
    sure = 40 * torch.nn.functional.one_hot(torch.tensor([[[0, 1, 2]]]), 3).permute(0, 3, 1, 2).float()
    assert float(dice(sure, torch.tensor([[[0, 1, 2]]]))) == pytest.approx(0, abs=1e-5)
    both = torch.cat([sure, sure])
    labels = torch.tensor([[[0, 1, 2]], [[NOT_OIL, 1, 1]]])
    alone = dice(sure, labels[1:])
    assert float(dice(both, labels)) == pytest.approx(float(alone) / 2, rel=1e-4)


def test_distillation_is_scaled_cross_entropy_of_softened_distributions():
    teacher, student = torch.tensor([[[[2.0]], [[0.0]]]]), torch.tensor([[[[1.0]], [[0.0]]]])
    q = 1 / (1 + math.exp(-2 / 4))
    p = 1 / (1 + math.exp(-1 / 4))
    expected = 16 * -(q * math.log(p) + (1 - q) * math.log(1 - p))
    assert float(distillation(student, teacher, temperature=4)) == pytest.approx(expected, rel=1e-6)


def test_distillation_is_the_mean_over_pixels_that_have_a_teacher():
    nan = math.nan
    student = torch.tensor([[[[1.0, 5.0, -2.0]], [[0.0, 1.0, 0.5]]]], requires_grad=True)
    teacher = torch.tensor([[[[2.0, nan, 0.0]], [[0.0, nan, 1.0]]]])
    loss = distillation(student, teacher, temperature=2)
    by_hand = 0.0
    for z, t in (((1.0, 0.0), (2.0, 0.0)), ((-2.0, 0.5), (0.0, 1.0))):
        q, p = (1 / (1 + math.exp((x[1] - x[0]) / 2)) for x in (t, z))
        by_hand += 4 * -(q * math.log(p) + (1 - q) * math.log(1 - p)) / 2
    assert float(loss.detach()) == pytest.approx(by_hand, rel=1e-6)
    loss.backward()
    assert torch.equal(student.grad[..., 1], torch.zeros(1, 2, 1))
    assert student.grad[..., 0].abs().sum() > 0


def test_distillation_without_any_teacher_is_zero_and_has_a_gradient():
    student = torch.randn(2, 5, 3, 3, requires_grad=True)
    loss = distillation(student, torch.full((2, 5, 3, 3), math.nan), temperature=2)
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.equal(student.grad, torch.zeros_like(student))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_teacher_of_oil_alone_teaches_the_merged_probabilities(temperature):
    student = logits_of([0.3, 0.4, 0.1, 0.1, 0.1])
    teacher = logits_of([0.8, 0.2])
    merged = logits_of([0.6, 0.4])
    expected = distillation(merged, teacher, temperature)
    assert float(distillation(student, teacher, temperature)) == pytest.approx(float(expected), rel=1e-5)
    # And the other way round.
    five = logits_of([0.2, 0.2, 0.2, 0.2, 0.2])
    expected = distillation(merged, logits_of([0.8, 0.2]), temperature)
    assert float(distillation(merged, five, temperature)) == pytest.approx(float(expected), rel=1e-5)


def test_a_student_that_agrees_has_nothing_to_learn():
    teacher = torch.randn(2, 5, 4, 4, dtype=torch.float64)
    student = (teacher + 3).requires_grad_()  # the same probabilities
    distillation(student, teacher, temperature=3).backward()
    assert student.grad.abs().max() < 1e-6


def test_a_network_of_two_classes_learns_oil_from_labels_of_five():
    logits = logits_of([0.7, 0.3], [0.4, 0.6], [0.9, 0.1])
    five, two = torch.tensor([[[2, 1, 4]]]), torch.tensor([[[NOT_OIL, 1, NOT_OIL]]])
    assert float(dice(logits, five)) == pytest.approx(float(dice(logits, two)))
    assert float(cross_entropy(logits, five)) == pytest.approx(float(cross_entropy(logits, two)))
