"""Chips labelled as a whole: what is left out, what is white, and how regions are kept apart."""

import csv

import numpy as np
import pytest
from PIL import Image

from ingest.errors import UnreadableInput
from models.classes import IGNORE, NOT_OIL
from models.datasets.csiro import labelled_chips
from models.datasets.pairs import masked_white
from preprocess.options import PreprocessOptions

COLUMNS = ["path", "oil", "region", "hash", "x", "y", "white_frac", "mean", "std", "dup_of"]


@pytest.fixture
def folder(tmp_path):
    rows = [
        ("nonoil/a.jpg", 0, "JAV", "a", 0, ""),
        ("oil/b.jpg", 1, "SIN", "b", 0, ""),
        ("oil/copy.jpg", 1, "SIN", "c", 0, "b.jpg"),
        ("oil/d.jpg", 1, "GBR", "d", 200, ""),
        ("nonoil/d.jpg", 0, "GBR", "d", 200, ""),
    ]
    with (tmp_path / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="0")
        writer.writeheader()
        for path, oil, region, of, x, copy in rows:
            writer.writerow({"path": path, "oil": oil, "region": region, "hash": of, "x": x, "dup_of": copy})
    image = np.random.default_rng(0).integers(60, 120, (64, 64)).astype(np.uint8)
    image[:20] = 255
    for name in ("oil", "nonoil"):
        (tmp_path / name).mkdir()
    for path, *_ in rows:
        Image.fromarray(image).save(tmp_path / path, quality=95)
    return tmp_path


def test_copies_and_contradictions_are_left_out(folder):
    chips = labelled_chips(folder)
    assert [chips.name(i) for i in range(len(chips))] == ["a", "b"]
    assert [chip.region for chip in chips.within({"SIN"}).chips] == ["SIN"]
    assert [chip.region for chip in chips.outside({"SIN"}).chips] == ["JAV"]
    assert [chip.oil for chip in chips.with_oil(True).chips] == [True]


def test_oil_free_chips_are_known_by_pixel_but_where_white_and_others_are_not(folder):
    chips = labelled_chips(folder)
    image, labels = chips.pair(0, PreprocessOptions())
    assert image.shape == (1, 64, 64)
    assert set(np.unique(labels)) == {NOT_OIL, IGNORE}
    assert (labels[:16] == IGNORE).all()
    assert (labels[32:] == NOT_OIL).all()
    assert (chips.pair(1, PreprocessOptions())[1] == IGNORE).all()


def test_single_bright_pixels_and_deep_images_have_no_white():
    image = np.full((40, 40), 90, np.float32)
    image[10:12, 10:12] = 255
    assert not masked_white(image).any()
    image[5:30, 5:30] = 1000
    assert not masked_white(image).any()


def test_a_missing_index_is_named(tmp_path):
    with pytest.raises(UnreadableInput, match="index"):
        labelled_chips(tmp_path)
