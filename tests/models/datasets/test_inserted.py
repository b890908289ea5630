"""Slicks and look-alikes laid upon seas: darker where they are marked, and nothing else is touched."""

import numpy as np

from models.classes import IGNORE, LOOK_ALIKE, NOT_OIL, OIL
from models.datasets.inserted import setting, with_lookalikes, with_slicks


def sea(seed, shape=(200, 208)):
    rng = np.random.default_rng(seed)
    image = rng.normal(40, 1, shape).astype(np.float32)
    labels = np.full(shape, NOT_OIL, np.int64)
    labels[:20] = IGNORE
    return image, labels, rng


def test_oil_is_marked_where_the_sea_is_darker_by_multiples_of_its_spread():
    depths = []
    for seed in range(8):
        image, labels, rng = sea(seed)
        slicked, marked = with_slicks(image, labels.copy(), 1.0, setting(image.shape, rng), rng)
        change = slicked - image
        assert (change <= 1e-5).all()
        assert set(np.unique(marked)) <= {NOT_OIL, OIL, IGNORE}
        assert (marked[:20] == IGNORE).all()
        depths += list(-change[marked == OIL])
    assert len(depths) > 1000
    assert min(depths) > 0.6
    assert max(depths) < 8


def test_look_alikes_are_marked_and_leave_oil_alone():
    found = 0
    for seed in range(8):
        image, labels, rng = sea(seed)
        labels[100:110] = OIL
        darker, marked = with_lookalikes(image, labels, 2.0, setting(image.shape, rng), rng)
        assert np.isfinite(darker).all()
        assert (marked[100:110] == OIL).all()
        found += np.count_nonzero(marked == LOOK_ALIKE)
    assert found > 1000


def test_one_seed_gives_one_sea():
    image, labels, _ = sea(3)
    one, other = (
        with_slicks(image, labels.copy(), 1.0, setting(image.shape, np.random.default_rng(5)), np.random.default_rng(6))
        for _ in range(2)
    )
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])
