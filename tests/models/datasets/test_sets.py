"""The data sets by name: OSD and SOS in the layouts they come in, and what is said of bad ones."""

from pathlib import Path

import numpy as np
import pytest

from ingest.errors import UnreadableInput, UsageError
from models.classes import CLASSES, NOT_OIL, OIL, OIL_CLASSES
from models.datasets.catalogue import DATASETS, open_dataset
from models.datasets.simulated import VALIDATION_SEED, simulated_pair
from preprocess.options import PreprocessOptions
from tests.support.dataset_folders import OSD_COLOURS, image_and_mask, osd_part, plain_pair, released_sos, write

OPTIONS = PreprocessOptions()
SHARED = Path(__file__).parents[4] / "shared" / "data"
has_sos = pytest.mark.skipif(not (SHARED / "sos").is_dir(), reason="the SOS data set is not at ../shared/data/sos")


def labels(seed=0, size=(14, 11)):
    return np.random.default_rng(seed).integers(0, 5, size)


def test_both_kinds_of_osd_labels_say_the_same(tmp_path):
    truth = [labels(0), labels(1)]
    for kind in ("labels", "labels_1D"):
        osd_part(tmp_path / kind / "osd" / "train", truth, (kind,))
        osd_part(tmp_path / kind / "osd" / "test", truth[:1], (kind,))
    coloured, indexed = (open_dataset("osd", tmp_path / kind) for kind in ("labels", "labels_1D"))
    for i, expected in enumerate(truth):
        np.testing.assert_array_equal(coloured.train.pair(i, OPTIONS)[1], expected)
        np.testing.assert_array_equal(indexed.train.pair(i, OPTIONS)[1], expected)
    assert coloured.train.classes == CLASSES
    assert coloured.test.name(0) == "img_0001"


def test_an_osd_image_of_real_size(tmp_path):
    truth = np.zeros((650, 1250), np.int64)
    truth[100:140, 200:900] = 1
    truth[:, 1200:] = 4
    osd_part(tmp_path / "osd" / "test", [truth])
    split = open_dataset("osd", tmp_path)
    image, found = split.test.pair(0, OPTIONS)
    assert image.shape == (1, 650, 1250)
    np.testing.assert_array_equal(found, truth)
    assert image[0][truth == 1].mean() < image[0][truth == 0].mean()
    assert split.train is None
    assert split.note == "not as released: 0 of 1002 train images, 1 of 110 test images"


def test_osd_names_the_unknown_colour_and_where(tmp_path):
    osd_part(tmp_path / "osd" / "test", [labels()], ("labels",))
    colours = OSD_COLOURS[labels()]
    colours[3, 7] = (2, 0, 0)
    write(tmp_path / "osd" / "test" / "labels" / "img_0001.png", colours)
    with pytest.raises(UnreadableInput, match=r"img_0001\.png: has the colour \(2, 0, 0\) at line 3, pixel 7"):
        open_dataset("osd", tmp_path).test.pair(0, OPTIONS)


def test_osd_names_what_else_is_wrong(tmp_path):
    folder = tmp_path / "osd" / "test"
    with pytest.raises(UnreadableInput, match="osd: no OSD"):
        open_dataset("osd", tmp_path)
    folder.mkdir(parents=True)
    with pytest.raises(UnreadableInput, match=r"test/images: no \.jpg"):
        open_dataset("osd", tmp_path)
    osd_part(folder, [labels()], ())
    with pytest.raises(UnreadableInput, match=r"img_0001\.jpg: has no labels"):
        open_dataset("osd", tmp_path)
    path = write(folder / "labels_1D" / "img_0001.png", np.full((14, 11), 5, np.uint8))
    with pytest.raises(UnreadableInput, match=r"img_0001\.png: has the value 5 at line 0, pixel 0"):
        open_dataset("osd", tmp_path).test.pair(0, OPTIONS)
    write(path, np.zeros((14, 12), np.uint8))
    with pytest.raises(UnreadableInput, match=r"img_0001\.png: is \(14, 12\), its image \(14, 11\)"):
        open_dataset("osd", tmp_path).test.pair(0, OPTIONS)
    write(path, np.zeros((14, 11, 3), np.uint8))
    with pytest.raises(UnreadableInput, match=r"img_0001\.png: has more than one channel"):
        open_dataset("osd", tmp_path).test.pair(0, OPTIONS)
    path.write_bytes(b"\x89PNG\r\n")
    with pytest.raises(UnreadableInput, match=r"img_0001\.png: not a readable image"):
        open_dataset("osd", tmp_path).test.pair(0, OPTIONS)


@pytest.mark.parametrize(("name", "sensor"), [("sos-official", "sentinel"), ("sos-alos-official", "palsar")])
def test_both_layouts_of_sos_give_the_same_pairs(tmp_path, name, sensor):
    train, test = (20005, 30100), (20001,)
    released_sos(tmp_path / "released", sensor, train, test)
    for part, numbers in (("train", train), ("test", test)):
        for number in numbers:
            plain_pair(tmp_path / "plain" / "sos" / sensor / part, str(number))
    splits = [open_dataset(name, tmp_path / kind) for kind in ("released", "plain")]
    for released, plain in ((splits[0].train, splits[1].train), (splits[0].test, splits[1].test)):
        assert [released.name(i) for i in range(len(released))] == [plain.name(i) for i in range(len(plain))]
        for i in range(len(plain)):
            _, expected = image_and_mask(int(plain.name(i)))
            for one in (released, plain):
                np.testing.assert_array_equal(one.pair(i, OPTIONS)[1], np.where(expected > 0, OIL, NOT_OIL))
    assert splits[0].train.classes == OIL_CLASSES
    assert "2 of 3" in splits[0].note


@pytest.mark.parametrize(
    ("images", "masks"), [("image", "label"), ("images", "masks"), ("sat", "gt"), ("Images", "Labels")]
)
def test_folders_below_may_have_any_of_their_names(tmp_path, images, masks):
    image, mask = image_and_mask()
    for part in ("train", "test"):
        write(tmp_path / "dataset" / part / "Sentinel" / images / "20001.jpg", image)
        write(tmp_path / "dataset" / part / "Sentinel" / masks / "20001.png", mask)
    split = open_dataset("sos-official", tmp_path)
    np.testing.assert_array_equal(split.test.pair(0, OPTIONS)[1] == OIL, mask == 255)


def test_greys_of_a_compressed_mask_are_divided_in_the_middle(tmp_path):
    oil = np.zeros((64, 64), bool)
    oil[16:40, 24:56] = True
    write(tmp_path / "images" / "a.jpg", np.full((64, 64), 90, np.uint8))
    path = write(tmp_path / "masks" / "a.jpg", np.where(oil, 255, 0).astype(np.uint8), quality=60)
    assert path.suffix == ".jpg"
    np.testing.assert_array_equal(open_dataset(str(tmp_path)).test.pair(0, OPTIONS)[1] == OIL, oil)


def test_a_mask_of_zeros_and_ones_is_refused(tmp_path):
    write(tmp_path / "images" / "a.jpg", np.full((4, 4), 90, np.uint8))
    write(tmp_path / "masks" / "a.png", np.eye(4, dtype=np.uint8))
    with pytest.raises(UnreadableInput, match=r"a\.png: holds 0 and 1"):
        open_dataset(str(tmp_path)).test.pair(0, OPTIONS)


def test_a_folder_may_have_parts(tmp_path):
    for part, numbers in (("train", (1, 2)), ("test", (3,))):
        for number in numbers:
            plain_pair(tmp_path / part, str(number))
    split = open_dataset(str(tmp_path))
    assert (len(split.train), len(split.test)) == (2, 1)
    assert open_dataset(str(tmp_path / "test")).train is None


def test_a_folder_with_train_alone_has_nothing_to_test_on(tmp_path):
    plain_pair(tmp_path / "train", "1")
    with pytest.raises(UnreadableInput, match="test: no images found"):
        open_dataset(str(tmp_path))


def test_what_a_mac_leaves_beside_files_is_no_image(tmp_path):
    plain_pair(tmp_path, "1")
    (tmp_path / "._1.jpg").write_bytes(b"\0")
    assert len(open_dataset(str(tmp_path)).test) == 1


def test_an_unknown_name_is_answered_with_those_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        open_dataset("sos-offical")
    assert str(tmp_path / "sos-offical") in str(caught.value)
    assert all(name in str(caught.value) for name in DATASETS)


def test_data_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UnreadableInput, match="sos/palsar/train: no such folder"):
        open_dataset("sos-alos-clean", tmp_path)


def test_where_data_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLICKWATCH_DATA", raising=False)
    for number, root in enumerate(("elsewhere", "data"), start=1):
        for part in ("train", "test"):
            for name in range(number):
                plain_pair(tmp_path / root / "sos" / "sentinel" / part, str(30001 + name))
    assert len(open_dataset("sos-official").test) == 2
    monkeypatch.setenv("SLICKWATCH_DATA", str(tmp_path / "elsewhere"))
    assert len(open_dataset("sos-official").test) == 1
    assert len(open_dataset("sos-official", tmp_path / "data").test) == 2


def test_simulated_chips_are_those_of_their_seeds_with_sea_around():
    split = open_dataset("simulated")
    assert split.train is None
    assert (len(split.test), split.test.pixel_spacing) == (200, 40.0)
    image, found = split.test.pair(3, OPTIONS)
    expected = simulated_pair(VALIDATION_SEED + 3, 256, OPTIONS, margin=128)
    np.testing.assert_array_equal(image, expected[0])
    np.testing.assert_array_equal(found, expected[1])
    with pytest.raises(IndexError):
        split.test.pair(200, OPTIONS)


@has_sos
def test_sos_is_as_released():
    split = open_dataset("sos-official", SHARED)
    assert (len(split.train), len(split.test)) == (3354, 839)
    assert "not as released" not in split.note
