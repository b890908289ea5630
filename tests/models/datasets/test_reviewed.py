"""Chips around reviewed slicks: the right labels at the right place, and what is left out."""

from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from flows.retraining.pipeline import catalogue_scenes
from models.classes import NOT_OIL, OIL
from models.datasets.reviewed import reviewed_chips
from outputs.catalogue import Catalogue
from tests.support.retraining_scenes import CALM, ELSEWHERE, LINES, OILY, SAMPLES, catalogued, patched_product

SIZE = 48  # cells of a chip


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    return patched_product(tmp_path_factory.mktemp("inbox"))


def chips(catalogue, size=SIZE):
    left_out = Counter()
    return list(reviewed_chips(catalogue_scenes(catalogue), left_out, size)), left_out


def place(chip):
    """First row and column of a chip, by its name."""
    row, column = chip.name.rsplit("-", 2)[1:]
    return int(row), int(column)


def test_confirmed_and_rejected_slicks_become_chips_with_the_analysts_labels(product, tmp_path):
    words = {"oily": "confirmed", "calm": "rejected"}
    cut, left_out = chips(catalogued(tmp_path / "c.gpkg", product, {"oily": OILY, "calm": CALM}, words))
    assert not left_out
    assert [chip.grey.shape for chip in cut] == [(SIZE, SIZE)] * 2
    oily, calm = cut
    row, column = place(oily)
    truth = np.zeros((LINES // 4, SAMPLES // 4), bool)
    truth[OILY[0] // 4 : OILY[1] // 4, OILY[2] // 4 : OILY[3] // 4] = True
    truth = truth[row : row + SIZE, column : column + SIZE]
    said = oily.labels == OIL
    # Within a cell: nothing beyond the patch grown by one, all of the patch shrunk by one.
    assert not (said & ~ndimage.binary_dilation(truth)).any()
    assert said[ndimage.binary_erosion(truth)].all()
    assert set(np.unique(oily.labels)) == {OIL, NOT_OIL}
    assert (calm.labels == NOT_OIL).all()


def test_the_grey_is_that_of_simulated_chips_and_dark_where_the_label_is(product, tmp_path):
    (oily,), _ = chips(catalogued(tmp_path / "c.gpkg", product, {"oily": OILY}, {"oily": "confirmed"}))
    decibels = -35 + 35 * oily.grey.astype(float) / 255
    inside = ndimage.binary_erosion(oily.labels == OIL)
    outside = ~ndimage.binary_dilation(oily.labels == OIL)
    assert np.median(decibels[outside]) == pytest.approx(
        -14, abs=1
    )  # the level of the sea in tests/support/safe_products.py
    assert np.median(decibels[outside]) - np.median(decibels[inside]) > 8
    # Each cell at its own place: one at the border of the patch belongs to one side alone.
    edge = inside ^ ndimage.binary_erosion(inside)
    assert (decibels[edge] < np.median(decibels[outside]) - 4).mean() > 0.95


def test_the_later_word_holds_where_slicks_overlap(product, tmp_path):
    within = (OILY[0], OILY[1], OILY[2], (OILY[2] + OILY[3]) // 2)
    path = catalogued(tmp_path / "c.gpkg", product, {"all": OILY, "half": within}, {"all": "confirmed"})
    Catalogue.open(path).review("half", "rejected", "another analyst")
    (chip,), _ = chips(path)
    row, column = place(chip)
    oil = chip.labels == OIL
    middle = (within[3] // 4) - column
    assert not oil[:, : middle - 1].any()
    lines = slice(OILY[0] // 4 - row + 1, OILY[1] // 4 - row - 1)
    assert oil[lines, middle + 1 : OILY[3] // 4 - column - 1].all()


def test_a_slick_larger_than_a_chip_is_covered_by_several(product, tmp_path):
    long = (200, 240, 100, 700)
    cut, _ = chips(catalogued(tmp_path / "c.gpkg", product, {"long": long}, {"long": "confirmed"}))
    assert len(cut) == 4  # 150 cells in chips of 48
    covered = np.zeros((LINES // 4, SAMPLES // 4), bool)
    for chip in cut:
        row, column = place(chip)
        covered[row : row + SIZE, column : column + SIZE] |= chip.labels == OIL
    assert covered.sum() == pytest.approx(10 * 150, abs=10)


def test_a_chip_that_shows_what_nobody_has_looked_at_is_left_out(product, tmp_path):
    patches = {"oily": OILY, "elsewhere": ELSEWHERE, "beside": (OILY[0], OILY[1], 290, 310)}
    path = catalogued(tmp_path / "c.gpkg", product, patches, {"oily": "confirmed", "elsewhere": "rejected"})
    cut, left_out = chips(path)
    assert len(cut) == 1
    assert (cut[0].labels == NOT_OIL).all()
    assert left_out == {"chips with unreviewed slicks": 1}


def test_products_that_are_gone_or_damaged_are_counted(product, tmp_path):
    said = {"oily": "confirmed", "calm": "rejected"}
    patches = {"oily": OILY, "calm": CALM}
    gone = catalogued(tmp_path / "gone.gpkg", product, patches, said, tmp_path / "gone.SAFE")
    assert chips(gone) == ([], {"reviewed slicks without their product": 2})
    (tmp_path / "empty.SAFE").mkdir()
    damaged = catalogued(tmp_path / "damaged.gpkg", product, patches, said, tmp_path / "empty.SAFE")
    cut, left_out = chips(damaged)
    assert not cut
    assert [reason.startswith("unreadable scenes") for reason in left_out] == [True]


def test_without_a_catalogue_or_reviews_there_is_nothing(product, tmp_path):
    assert catalogue_scenes(tmp_path / "none.gpkg") == []
    assert catalogue_scenes(catalogued(tmp_path / "c.gpkg", product, {"oily": OILY}, {})) == []
    assert not (tmp_path / "none.gpkg").exists()
