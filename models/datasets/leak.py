"""The groups of copies in SOS, and divisions that never cut through one.

SOS was made of 21 scenes by cropping, turning, enlarging and adding noise, and then divided at random. Its numbers tell
what belongs together: each range of `BLOCKS` is of blocks of one length, and block k repeats block 0 image by image.
Found by correlation, see docs/researcher/datasets.md and `models.datasets.screening`.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ingest.errors import UsageError
from models.datasets.folder import ImageMaskFolder
from models.datasets.pairs import LabelledImages, Selection
from models.datasets.reduced import Reduced

BLOCKS = ((10001, 12545, 509), (20001, 22220, 444), (30001, 31973, 661))  # first and last number, images in a block
# Groups of the blocks from 30001 on that show the same piece of sea as test images numbered from 20001 on. Found one by
# one where the correlation is above 0.6; what lies between them is left out too, for neighbours overlap.
SAME_SEA = (range(19), range(32, 40), range(74, 99), range(409, 417), range(652, 661))

_Pairs = TypeVar("_Pairs", ImageMaskFolder, Reduced)


def copy_group(name: str, wrong_by: int = 0) -> tuple[int, int] | None:
    """Return the group of copies that an SOS image is of, as (first number of the range, position in a block).

    None where no group is known. `wrong_by` is added to the length of the blocks: a control that finds no copies.
    """
    number = int(name) if name.isascii() and name.isdigit() else 0
    for first, last, length in BLOCKS:
        if first <= number <= last:
            return first, (number - first) % (length + wrong_by)
    return None


def without_leak(pairs: _Pairs, test: LabelledImages) -> _Pairs:
    """Leave out the training pairs that repeat a test pair: of its group, its piece of sea, or its very name."""
    tested = {_group_or_name(test, i) for i in range(len(test))}
    if any(group[0] == 20001 for group in tested):
        tested |= {(30001, position) for run in SAME_SEA for position in run}
    return pairs.selected(i for i in range(len(pairs)) if _group_or_name(pairs, i) not in tested)


def grouped_folds(images: LabelledImages, k: int, seed: int) -> tuple[tuple[Selection, Selection], ...]:
    """Divide images `k` times into (training, validation), each image in one validation part, no group ever divided.

    A part is of groups that follow one another, since neighbours overlap in places; `seed` says where the first one
    begins. Raises `UsageError` for fewer than two parts or fewer groups than parts.
    """
    groups = [_group_or_name(images, i) for i in range(len(images))]
    in_order = sorted(set(groups))
    if not 2 <= k <= len(in_order):
        raise UsageError(
            f"{k} folds", f"there are {len(in_order)} groups of images", "give from 2 to as many as groups"
        )
    first = int(np.random.default_rng(seed).integers(len(in_order)))
    part_of = {group: (place - first) % len(in_order) * k // len(in_order) for place, group in enumerate(in_order)}
    parts = np.array([part_of[group] for group in groups])
    return tuple((Selection(images, _indices(parts != n)), Selection(images, _indices(parts == n))) for n in range(k))


def _indices(chosen: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.flatnonzero(chosen))


def _group_or_name(images: LabelledImages, index: int) -> tuple[int, int] | tuple[int, str]:
    name = images.name(index)
    return copy_group(name) or (0, name)
