"""Training on real seas: what its loss asks of pixels and of whole chips."""

import math

import numpy as np
import torch

from models.classes import IGNORE, NOT_OIL, OIL
from models.training.seas import MAYBE, sea_loss, with_doubt


def logits_of_oil(where, sure=6.0):
    """(1, 5, H, W) for oil where True, for sea elsewhere."""
    logits = torch.zeros(1, 5, *where.shape)
    logits[0, OIL] = torch.where(where, sure, -sure)
    return logits


def test_a_false_slick_costs_more_than_a_clean_sea():
    labels = torch.full((1, 48, 48), NOT_OIL)
    none = torch.zeros(48, 48, dtype=torch.bool)
    slick = none.clone()
    slick[10:20, 10:30] = True
    presence_map, presence = torch.full((1, 1, 2, 2), -4.0), torch.tensor([0.0])
    clean = sea_loss(logits_of_oil(none), presence_map, labels, presence)
    false = sea_loss(logits_of_oil(slick), presence_map, labels, presence)
    assert clean < 0.1
    assert false > clean + 1


def test_a_chip_with_oil_somewhere_is_content_with_one_slick():
    labels = torch.full((1, 48, 48), MAYBE)
    none = torch.zeros(48, 48, dtype=torch.bool)
    slick = none.clone()
    slick[10:20, 10:30] = True
    presence_map, presence = torch.full((1, 1, 2, 2), 4.0), torch.tensor([1.0])
    found = sea_loss(logits_of_oil(slick), presence_map, labels, presence)
    missed = sea_loss(logits_of_oil(none), presence_map, labels, presence)
    assert found < 0.1
    assert missed > found + 1


def test_an_unknown_chip_has_a_loss_by_pixel_alone():
    labels = torch.full((1, 48, 48), NOT_OIL)
    logits = logits_of_oil(torch.zeros(48, 48, dtype=torch.bool))
    one, other = (sea_loss(logits, torch.full((1, 1, 2, 2), z), labels, torch.tensor([math.nan])) for z in (-4.0, 4.0))
    assert one == other
    assert torch.isfinite(one)


def test_outlines_that_are_coarse_say_nothing_near_them():
    labels = np.full((40, 40), NOT_OIL)
    labels[10:30, 10:30] = OIL
    doubted = with_doubt(labels)
    assert doubted[20, 20] == OIL
    assert doubted[2, 2] == NOT_OIL
    assert (doubted[20, [8, 9, 10, 11]] == IGNORE).all()
