"""Copies in SOS: the arithmetic of its groups, divisions that keep them whole, and the screening that shows them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from ingest.errors import UsageError
from models.classes import NOT_OIL
from models.datasets.catalogue import open_dataset
from models.datasets.folder import ImageMaskFolder
from models.datasets.pairs import Selection, grouped_folds, held_out_fold
from models.datasets.screening import screen
from models.datasets.sos import SOSImages, copy_group, without_leak
from models.datasets.views import Cut, Reduced

SHARED = Path(__file__).parents[4] / "shared" / "data"
has_sos = pytest.mark.skipif(not (SHARED / "sos").is_dir(), reason="the SOS data set is not at ../shared/data/sos")
BLOCK_STARTS = {
    10001: [10001, 10510, 11019, 11528, 12037],
    20001: [20001, 20445, 20889, 21333, 21777],
    30001: [30001, 30662, 31323],
}


def sos(*numbers, ending=""):
    images = tuple(Path(f"{n}{ending}.jpg") for n in numbers)
    return SOSImages(images, tuple(Path(f"{n}.png") for n in numbers))


def names(images):
    return [images.name(i) for i in range(len(images))]


@given(st.sampled_from([(10001, 509), (20001, 444), (30001, 651)]), st.data())
def test_images_at_one_place_of_their_blocks_are_one_group(block, data):
    first, length = block
    place, other = (data.draw(st.integers(0, length - 1)) for _ in range(2))
    groups = {copy_group(str(start + place)) for start in BLOCK_STARTS[first]}
    assert len(groups) == 1
    assert (copy_group(str(BLOCK_STARTS[first][-1] + other)) in groups) == (other == place)


@pytest.mark.parametrize("name", ["10000", "12546", "20000", "22221", "30000", "31974", "img_0001", "", "²"])
def test_other_names_are_of_no_group(name):
    assert copy_group(name) is None


def test_copies_of_test_pairs_leave_the_training():
    # 10001 + 509 and 10001 + 4 * 509 repeat 10001; 20001 + 444 repeats 20001; 15001 has no known group
    kept = without_leak(sos(10510, 10511, 12037, 20445, 20446, 15001, ending="_sat"), sos(10001, 20001))
    assert names(kept) == ["10511", "20446", "15001"]


def test_the_same_sea_leaves_the_training_only_where_it_is_tested():
    # 30658 is the sea of test image 20270, 31319 and 31980 its copies; 30100 is of another sea
    assert names(without_leak(sos(30658, 31319, 30100), sos(20270))) == ["30100"]
    assert names(without_leak(sos(30658, 31319, 30100), sos(10001))) == ["30658", "31319", "30100"]


def test_names_without_numbers_leave_where_they_are_tested():
    assert names(without_leak(sos("a", "b"), sos("b"))) == ["a"]


def test_numbers_of_other_sets_mean_nothing():
    files = tuple(Path(f"{number}.png") for number in (10001, 10510, 11019, 20001))
    other = ImageMaskFolder(files, files)
    assert other.groups is None
    assert names(without_leak(other, ImageMaskFolder(files[:1], files[:1]))) == ["10510", "11019", "20001"]
    assert len(grouped_folds(other, 4, seed=0)) == 4
    assert [len(part) for part in held_out_fold(other, 20, seed=0)] == [3, 1]
    with pytest.raises(UsageError, match="there are 2 groups"):
        grouped_folds(sos(10001, 10510, 11019, 20001), 4, seed=0)


def test_a_view_of_a_set_has_its_groups():
    images = sos(10001, 10002, 10510)
    first, second, copy = images.groups
    assert first == copy != second
    assert Selection(images, (2, 1)).groups == (copy, second)
    assert Reduced(images, 2).groups == Cut(images, 8).groups == images.groups


numbers = st.lists(
    st.one_of(st.integers(10001, 12545), st.integers(20001, 22220), st.integers(30001, 31973), st.integers(1, 99)),
    min_size=40,
    max_size=120,
    unique=True,
)


@given(numbers, st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_folds_divide_everything_but_no_group(numbers, k, seed):
    images = sos(*numbers)
    copies = [grouped_folds(images, k, seed) for _ in range(2)]
    assert copies[0] == copies[1]
    validated = []
    for train, validation in copies[0]:
        assert sorted(names(train) + names(validation)) == sorted(names(images))
        groups = [{copy_group(name) or name for name in names(part)} for part in (train, validation)]
        assert not groups[0] & groups[1]
        assert len(validation) > 0
        validated += names(validation)
    assert sorted(validated) == sorted(names(images))


def test_folds_are_of_about_one_size():
    sizes = [len(validation) for _, validation in grouped_folds(sos(*range(30101, 30301)), 5, seed=3)]
    assert sizes == [40] * 5
    first = [names(grouped_folds(sos(*range(30101, 30301)), 5, seed)[0][1]) for seed in range(4)]
    assert any(fold != first[0] for fold in first)


@pytest.mark.parametrize("k", [1, 4])
def test_folds_need_as_many_groups(k):
    with pytest.raises(UsageError, match="there are 3 groups"):
        grouped_folds(sos(1, 2, 10001, 10510), k, seed=0)


@dataclass(frozen=True)
class Images:
    """Images in memory, by name."""

    arrays: dict
    classes: tuple = ("other", "oil")
    pixel_spacing: None = None
    groups: None = None

    def __len__(self):
        return len(self.arrays)

    def name(self, index):
        return list(self.arrays)[index]

    def pair(self, index, _options):
        image = list(self.arrays.values())[index]
        return image[None].astype(np.float32), np.full(image.shape, NOT_OIL)


def sea(seed, size=400):
    return gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), 4) * 8


@pytest.fixture(scope="module")
def planted():
    """Two test images, the first with a turned, mirrored, shifted and noisy copy among 12 independent images."""
    whole, rng = sea(0), np.random.default_rng(99)
    copy = np.rot90(whole[60:316, 80:336], 3)[:, ::-1] * 1.3 + rng.normal(0, 0.2, (256, 256))
    train = {str(20445 + i): sea(1 + i, 256) for i in range(12)} | {"20889": copy}
    test = {"20001": whole[:256, :256], "20300": sea(50, 256)}
    return Images(train), Images(test)


@pytest.mark.parametrize("mode", ["full", "stride"])
def test_screening_finds_the_planted_copy_and_no_other(planted, mode):
    lines = []
    copied, alone = screen(*planted, (mode,), lines.append)[mode]
    assert (copied.test, copied.train) == ("20001", "20889")
    assert copied.correlation > 0.9
    # The test image turned so far, then mirrored, is the copy.
    assert (copied.turn, copied.mirrored) == (3, True)
    assert alone.correlation < 0.5
    assert lines[-1].startswith(f"{mode}: 2 test images, 50.0% above 0.5, 50.0% above 0.6, 50.0% above 0.8")


def test_the_control_misses_the_planted_copy(planted):
    (copied, _) = screen(*planted, ("control",), lambda line: None)["control"]
    assert copied.correlation < 0.5


def test_a_shade_across_two_images_is_no_copy(planted):
    shade = np.linspace(0, 20, 256)[None]
    train, test = (Images({n: sea(s, 256) + shade}) for n, s in (("20445", 3), ("20001", 4)))
    assert screen(train, test, ("full",), lambda line: None)["full"][0].correlation < 0.5


def test_screening_ways_are_named(planted):
    with pytest.raises(UsageError, match="known are stride, control, full"):
        screen(*planted, ("ful",))


@has_sos
def test_nothing_of_the_test_images_is_left_in_a_clean_sos_training():
    split = open_dataset("sos-clean", SHARED)
    tested = {copy_group(name) for name in names(split.test)}
    kept = {copy_group(name) for name in names(split.train)}
    assert len(split.test) == 839
    assert None not in kept
    assert not tested & kept
    # Test image 20270 shows the sea of 30658.
    assert not {"30658", "31319"} & set(names(split.train))
    assert f"{len(split.train)} of 3354" in split.note
