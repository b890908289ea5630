"""Images as 8-bit grey, and data sets whose images are averaged to fewer pixels."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from ingest.errors import UsageError
from models.classes import IGNORE, NOT_OIL, OIL
from models.datasets.catalogue import open_dataset
from models.datasets.fingerprint import fingerprint
from models.datasets.pairs import STRETCH_PERCENTILES, Selection, chip_input, grey_bytes, grouped_folds
from models.datasets.simulated import GREY_DB, SimulatedChips
from models.datasets.sos import without_leak
from models.datasets.views import Reduced, block_labels, block_means
from models.simulator import simulate_chip
from models.training.options import changed
from models.training.segmentation_options import TrainOptions
from models.training.validation import held_out
from preprocess.options import PreprocessOptions
from tests.support.dataset_folders import image_and_mask, osd_part, plain_pair, released_sos, write

OPTIONS = PreprocessOptions()
DECIBELS = PreprocessOptions(floor_db=-200.0, mean_db=0.0, std_db=1.0)
CHIPS = SimulatedChips(count=2, size=50, margin=0, first_seed=7)  # the first one has no data in places
WHOLE = replace(CHIPS, first_seed=12)


def one_image(folder, suffix, values):
    """A folder with one image of these values, half of it oil; returns its images."""
    write(folder / "images" / f"a{suffix}", values)
    mask = np.zeros(values.shape[:2], np.uint8)
    mask[:, : mask.shape[1] // 2] = 255
    write(folder / "masks" / "a.png", mask)
    return open_dataset(str(folder)).test


def write_tiff(path, values, nodata=None):
    """A GeoTIFF without a place, of one band."""
    shape = {"height": values.shape[0], "width": values.shape[1], "count": 1, "dtype": values.dtype}
    with pytest.warns(NotGeoreferencedWarning), rasterio.open(path, "w", driver="GTiff", nodata=nodata, **shape) as f:
        f.write(values, 1)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_of_an_8_bit_file_is_what_is_in_it(tmp_path, suffix):
    values = np.arange(256, dtype=np.uint8).reshape(8, 32)
    images = one_image(tmp_path, suffix, values)
    grey, labels = images.grey(0)
    assert grey.dtype == np.uint8
    np.testing.assert_array_equal(grey, values)
    np.testing.assert_array_equal(labels, images.pair(0, OPTIONS)[1])


def test_grey_of_three_equal_channels_is_one_of_them(tmp_path):
    images = one_image(tmp_path, ".png", np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3, axis=-1))
    np.testing.assert_array_equal(images.grey(0)[0].ravel(), np.arange(256))


def test_a_dark_16_bit_image_is_stretched_though_its_values_would_fit(tmp_path):
    values = np.linspace(20, 200, 10_000).reshape(100, 100).astype(np.uint16)
    grey, _ = one_image(tmp_path, ".png", values).grey(0)
    black, white = np.percentile(values, STRETCH_PERCENTILES)
    np.testing.assert_allclose(grey, np.clip((values - black) / (white - black) * 255, 0, 255), atol=0.51)


@given(arrays(np.float32, (6, 7), elements=st.floats(-40, 5, width=32)), st.floats(0.1, 50), st.floats(-100, 100))
def test_the_stretch_does_not_care_for_unit_or_offset(values, scale, offset):
    one = grey_bytes(values, eight_bits=False).astype(int)
    other = grey_bytes((values.astype(float) * scale + offset).astype(np.float32), eight_bits=False).astype(int)
    if np.ptp(np.percentile(values, STRETCH_PERCENTILES)) > 1:
        assert np.abs(one - other).max() <= 1


def test_an_image_of_one_value_and_one_without_data_are_black(tmp_path):
    assert not one_image(tmp_path / "flat", ".tif", np.full((4, 4), 300, np.uint16)).grey(0)[0].any()
    write(tmp_path / "none" / "masks" / "a.png", np.zeros((4, 4), np.uint8))
    (tmp_path / "none" / "images").mkdir()
    write_tiff(tmp_path / "none" / "images" / "a.tif", np.full((4, 4), np.nan, np.float32))
    grey, labels = open_dataset(str(tmp_path / "none")).test.grey(0)
    assert not grey.any()
    assert (labels == IGNORE).all()


def test_no_data_of_a_tiff_is_black_and_says_nothing_and_does_not_enter_the_stretch(tmp_path):
    values = np.random.default_rng(1).uniform(3, 5, (20, 20)).astype(np.float32)
    values[:, 15:] = -9999
    images = one_image(tmp_path, ".tif", np.zeros((20, 20), np.uint8))
    write_tiff(tmp_path / "images" / "a.tif", values, nodata=-9999)
    grey, labels = images.grey(0)
    image, of_pair = images.pair(0, OPTIONS)
    np.testing.assert_array_equal(labels, of_pair)
    np.testing.assert_array_equal(np.isnan(image[0]), labels == IGNORE)
    assert (labels[:, 15:] == IGNORE).all()
    assert not grey[:, 15:].any()
    black, white = np.percentile(values[:, :15], STRETCH_PERCENTILES)
    known = np.clip((values[:, :15] - black) / (white - black) * 255, 0, 255)
    np.testing.assert_allclose(grey[:, :15], known, atol=0.51)


def test_osd_gives_grey_and_all_five_classes(tmp_path):
    labels = np.repeat(np.arange(5), 16).reshape(5, 16).repeat(8, axis=0)
    osd_part(tmp_path / "osd" / "test", [labels])
    images = open_dataset("osd", tmp_path).test
    grey, found = images.grey(0)
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_allclose(grey, 200 - 40 * labels, atol=12)  # saved as JPEG
    with Image.open(images.images[0]) as file:
        np.testing.assert_array_equal(grey, np.asarray(file.convert("L")))


def test_simulated_grey_is_the_same_stretch_of_decibels_for_every_chip():
    black, white = GREY_DB
    for index in range(2):
        power, _ = simulate_chip(CHIPS.first_seed + index, CHIPS.size)
        grey, labels = CHIPS.grey(index)
        with np.errstate(divide="ignore"):
            scaled = np.clip((10 * np.log10(power) - black) / (white - black), 0, 1) * 255
        np.testing.assert_allclose(grey, np.nan_to_num(scaled), atol=0.51)
        np.testing.assert_array_equal(labels, CHIPS.pair(index, OPTIONS)[1])
    with pytest.raises(IndexError):
        CHIPS.grey(2)


def test_a_selection_gives_the_grey_of_what_it_selects():
    np.testing.assert_array_equal(Selection(CHIPS, (1,)).grey(0)[0], CHIPS.grey(1)[0])


def counted(labels, factor):
    """What `block_labels` is to give, a block at a time."""
    lines, pixels = (n // factor for n in labels.shape)
    result = np.empty((lines, pixels), np.int64)
    for i in range(lines):
        for j in range(pixels):
            block = labels[i * factor : (i + 1) * factor, j * factor : (j + 1) * factor].ravel().tolist()
            known = [one for one in block if one != IGNORE]
            most = max((known.count(one) for one in known), default=0)
            best = [one for one in known if known.count(one) == most]
            ignored = block.count(IGNORE) > len(block) / 2
            result[i, j] = IGNORE if ignored else OIL if OIL in best else min(best)
    return result


@given(
    st.integers(2, 4).flatmap(
        lambda factor: st.tuples(
            st.just(factor),
            arrays(np.int64, st.tuples(st.integers(4, 9), st.integers(4, 9)),
                   elements=st.sampled_from([0, OIL, 4, NOT_OIL, IGNORE])),
        )
    )
)  # fmt: skip
def test_a_block_has_the_label_of_most_of_it_and_oil_on_a_tie(drawn):
    factor, labels = drawn
    np.testing.assert_array_equal(block_labels(labels, factor), counted(labels, factor))


def test_means_are_of_whole_blocks_and_of_what_is_known():
    image = np.array([[1, 3, 10, 0, 99], [5, 7, 200, 0, 99], [99, 99, 99, 99, 99]], np.uint8)
    labels = np.array([[0, 0, 0, IGNORE, 0], [0, 0, IGNORE, IGNORE, 0], [0] * 5])
    np.testing.assert_array_equal(block_means(image, labels, 2), [[4, 10]])
    np.testing.assert_array_equal(block_means(image, np.full_like(labels, IGNORE), 2), [[0, 0]])


def test_a_reduced_folder_gives_averaged_grey_and_a_pair_of_it(tmp_path):
    values = np.random.default_rng(2).integers(1, 255, (13, 18), np.uint8)
    images = one_image(tmp_path, ".png", values)
    split = open_dataset(f"{tmp_path}@4")
    grey, labels = split.test.grey(0)
    expected = values[:12, :16].reshape(3, 4, 4, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(grey, expected, atol=0.5)
    assert labels.tolist() == [[OIL, OIL, NOT_OIL, NOT_OIL]] * 3  # oil up to pixel 9, a quarter of the third block
    image, of_pair = split.test.pair(0, OPTIONS)
    np.testing.assert_array_equal(image[0], chip_input(grey.astype(np.float32), OPTIONS))
    np.testing.assert_array_equal(of_pair, labels)
    assert (split.name, len(split.test), split.test.name(0)) == (f"{tmp_path.name}@4", len(images), images.name(0))
    assert split.test.classes == images.classes
    assert "4 x 4" in split.note


def test_no_data_stays_no_data_when_it_is_reduced(tmp_path):
    values = np.random.default_rng(3).uniform(1, 2, (8, 8)).astype(np.float32)
    values[:, 3:] = np.nan
    images = one_image(tmp_path, ".tif", np.zeros((8, 8), np.uint8))
    write_tiff(tmp_path / "images" / "a.tif", values)
    image, labels = Reduced(images, 2).pair(0, OPTIONS)
    assert np.isnan(image[0]).tolist() == [[False, False, True, True]] * 4  # half known is known
    np.testing.assert_array_equal(np.isnan(image[0]), labels == IGNORE)


@pytest.mark.parametrize("wrapped", [WHOLE, Selection(WHOLE, (0, 1)), Reduced(WHOLE, 2)])
def test_reduced_simulated_chips_stay_calibrated(wrapped):
    """Mean linear power, as multilooking gives it: not the mean of decibels, which lies below it."""
    images = Reduced(wrapped, 4)
    factor = round(images.pixel_spacing / WHOLE.pixel_spacing)
    power, _ = simulate_chip(WHOLE.first_seed, WHOLE.size)
    n = WHOLE.size // factor
    whole = power[: n * factor, : n * factor].reshape(n, factor, n, factor)
    image, labels = images.pair(0, DECIBELS)
    assert not np.isnan(power).any()  # so that every mean is that of a whole block
    np.testing.assert_allclose(image[0], 10 * np.log10(whole.mean(axis=(1, 3))), atol=0.01)
    np.testing.assert_array_equal(images.grey(0)[1], labels)


def test_reduced_simulated_chips_without_data_at_a_border_say_so():
    image, labels = Reduced(CHIPS, 5).pair(0, OPTIONS)
    assert 0 < np.isnan(image).mean() < 1
    np.testing.assert_array_equal(np.isnan(image[0]), labels == IGNORE)


@pytest.mark.parametrize("suffix", ["@1", "@0", "@-2", "@2.5", "@", "@four", "@99999", "@٤", "@2@x"])
def test_what_is_no_factor_is_one_line_that_says_so(suffix):
    with pytest.raises(UsageError, match=r"not a valid factor; give 2 or more, such as sos-clean@4") as caught:
        open_dataset(f"simulated{suffix}")
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"no-such-set: is neither"):
        open_dataset("no-such-set@2")


def test_an_image_smaller_than_a_block_is_named(tmp_path):
    plain_pair(tmp_path, "3", size=(12, 20))
    with pytest.raises(UsageError, match=r"3: is 12 x 20 pixels, less than a block of 13 x 13; reduce by less"):
        open_dataset(f"{tmp_path}@13").test.grey(0)


def test_a_folder_that_is_called_so_is_opened_as_it_is(tmp_path):
    plain_pair(tmp_path / "a@4", "1", size=(12, 10))
    assert open_dataset(str(tmp_path / "a@4")).test.grey(0)[0].shape == (12, 10)
    assert open_dataset(str(tmp_path / "a@4") + "@2").test.grey(0)[0].shape == (6, 5)


@pytest.fixture
def sos(tmp_path):
    """SOS in small: two blocks of four groups, and the test images of the first three of them."""
    train = [10001 + block * 509 + i for block in (1, 2) for i in range(8)]
    released_sos(tmp_path, "palsar", train, range(10001, 10004))
    return tmp_path


def test_copies_are_left_out_of_reduced_data_as_of_any(sos):
    official, clean = (open_dataset(f"sos-alos-{kind}@2", sos) for kind in ("official", "clean"))
    names = [clean.train.name(i) for i in range(len(clean.train))]
    assert names == [str(10001 + block * 509 + i) for block in (1, 2) for i in range(3, 8)]
    kept = without_leak(official.train, official.test)
    assert [kept.name(i) for i in range(len(kept))] == names
    np.testing.assert_array_equal(kept.grey(4)[0], clean.train.grey(4)[0])
    assert len(set(clean.test.groups)) == 3


def test_folds_and_held_out_pairs_of_reduced_data_are_those_of_the_whole(sos):
    whole, reduced = (open_dataset(name, sos) for name in ("sos-alos-clean", "sos-alos-clean@2"))
    folds = [grouped_folds(split.train, 3, seed=1) for split in (whole, reduced)]
    assert [[part.indices for part in fold] for fold in folds[0]] == [
        [part.indices for part in fold] for fold in folds[1]
    ]
    seen, watched = held_out(reduced, changed(TrainOptions(), real="sos-alos-clean@2", real_share=1.0))
    assert not {int(seen.name(i)) % 509 for i in range(len(seen))} & {
        int(watched.name(i)) % 509 for i in range(len(watched))
    }
    assert watched.grey(0)[0].shape == tuple(n // 2 for n in image_and_mask(0)[0].shape)


def test_reduced_data_is_evaluated(cli, tmp_path):
    plain_pair(tmp_path / "pairs", "1", size=(128, 132))
    code, out, _ = cli("evaluate", f"{tmp_path / 'pairs'}@2", "--out", tmp_path / "report")
    assert code == 0
    assert "1 images" in out
    table = (tmp_path / "report" / "table.json").read_text()
    assert "images averaged by 2 x 2 pixels" in table


def test_a_fingerprint_tells_contents_and_order_and_reduction_apart(tmp_path):
    for name in ("1", "2"):
        plain_pair(tmp_path, name, size=(12, 10))
    images = open_dataset(str(tmp_path)).test
    sets = [
        images,
        Selection(images, (1, 0)),
        Selection(images, (0,)),
        Reduced(images, 2),
        Reduced(images, 3),
        CHIPS,
        replace(CHIPS, first_seed=8),
        replace(CHIPS, margin=1),
    ]
    assert len({fingerprint(one) for one in sets}) == len(sets)
    assert fingerprint(open_dataset(str(tmp_path)).test) == fingerprint(Selection(images, (0, 1)))
