"""Pairs for training: images of any kind, labels, augmentation, and bad folders."""

import numpy as np
import pytest
from PIL import Image

from ingest.errors import UnreadableInput
from models.classes import IGNORE, NOT_OIL, OIL
from models.datasets.folder import image_mask_folder
from models.datasets.pairs import augmented, chip_input, grey_image
from models.datasets.simulated import simulated_pair
from preprocess.options import PreprocessOptions
from tests.support.dataset_folders import write

OPTIONS = PreprocessOptions()


def pair_folder(folder, number=10001, size=(8, 6)):
    image = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size) + 10
    write(folder / f"{number}.jpg", image)
    write(folder / f"{number}.png", np.where(image > 40, 255, 0).astype(np.uint8))
    return folder


def test_a_mask_of_oil_says_oil_or_not_oil(tmp_path):
    pairs = image_mask_folder(pair_folder(tmp_path))
    image, labels = pairs.pair(0, OPTIONS)
    assert image.shape == (1, 8, 6)
    assert set(np.unique(labels)) == {OIL, NOT_OIL}


def test_two_folders_work_as_one_does(tmp_path):
    write(tmp_path / "images" / "a.png", np.full((4, 4), 9, np.uint8))
    write(tmp_path / "masks" / "a.png", np.zeros((4, 4), np.uint8))
    assert len(image_mask_folder(tmp_path)) == 1


def test_failures_name_the_file(tmp_path):
    with pytest.raises(UnreadableInput, match="no images"):
        image_mask_folder(tmp_path / "nowhere")
    write(tmp_path / "images" / "a.jpg", np.zeros((4, 4), np.uint8))
    with pytest.raises(UnreadableInput, match=r"a\.jpg: has no mask"):
        image_mask_folder(tmp_path)
    write(tmp_path / "masks" / "a.png", np.zeros((5, 4), np.uint8))
    with pytest.raises(UnreadableInput, match=r"masks/a\.png"):
        image_mask_folder(tmp_path).pair(0, OPTIONS)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(UnreadableInput, match=r"broken\.png"):
        grey_image(tmp_path / "broken.png")


def test_an_image_too_large_for_a_chip_is_refused(tmp_path, monkeypatch):
    write(tmp_path / "large.png", np.zeros((9, 9), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    with pytest.raises(UnreadableInput, match=r"large\.png: is too large"):
        grey_image(tmp_path / "large.png")


def test_an_image_without_data_stays_without():
    assert np.isnan(chip_input(np.full((4, 4), np.nan, np.float32), OPTIONS)).all()


def test_any_bit_depth_and_unit_of_a_chip_gives_the_same_input(tmp_path):
    rng = np.random.default_rng(0)
    amplitude = rng.uniform(40, 200, (16, 16))
    eight = grey_image(write(tmp_path / "8.png", np.round(amplitude).astype(np.uint8)))
    sixteen = grey_image(write(tmp_path / "16.png", np.round(amplitude * 256).astype(np.uint16)))
    real = grey_image(write(tmp_path / "f.tif", amplitude.astype(np.float32)))
    decibels = 20 * np.log10(amplitude / 255).astype(np.float32)
    reference = chip_input(real, OPTIONS)
    for one in (eight, sixteen, decibels):
        np.testing.assert_allclose(chip_input(one, OPTIONS), reference, atol=0.04)
    assert np.median(reference) == pytest.approx(0, abs=1e-4)


def test_black_is_dark_but_finite():
    image = np.full((8, 8), 100, np.float32)
    image[0, 0] = 0
    assert np.isfinite(chip_input(image, OPTIONS)).all()


def test_simulated_pairs_are_reproducible_and_ignore_no_data():
    one, again = simulated_pair(11, 64, OPTIONS), simulated_pair(11, 64, OPTIONS)
    for a, b in zip(one, again, strict=True):
        np.testing.assert_array_equal(a, b)
    pairs = [simulated_pair(seed, 64, OPTIONS) for seed in range(60)]
    assert any(np.isnan(image).any() for image, _ in pairs)
    for image, labels in pairs:
        np.testing.assert_array_equal(np.isnan(image[0]), labels == IGNORE)


def test_a_stretched_chip_keeps_what_is_dark_dark():
    linear, labels = simulated_pair(5, 128, OPTIONS)
    grey, _ = simulated_pair(5, 128, OPTIONS, np.random.default_rng(1))
    seen = np.isfinite(linear[0]) & (labels != IGNORE)
    assert np.corrcoef(linear[0][seen], grey[0][seen])[0, 1] > 0.9


def test_augmentation_moves_image_and_labels_together():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 5, (12, 12))
    for seed in range(8):
        image, moved = augmented((labels[None].astype(np.float32), labels), np.random.default_rng(seed))
        order = np.argsort(image[0].ravel(), kind="stable")
        assert (np.diff(moved.ravel()[order]) >= 0).all()


def test_a_weak_stretch_is_made_up_for_and_a_strong_one_left():
    rng = np.random.default_rng(0)
    sea_db = rng.normal(0, 1, (96, 96)).astype(np.float32)
    sea_db[40:50, 20:70] -= 6
    options = PreprocessOptions(least_chip_spread_db=1.0)
    weak, weaker, strong = (100 * 10 ** (gain * sea_db / 20) for gain in (0.3, 0.1, 3))
    np.testing.assert_allclose(chip_input(weak, options), chip_input(weaker, options), atol=1e-3)
    slick = (slice(42, 48), slice(30, 60))
    assert np.median(chip_input(weak, options)[slick]) * options.std_db == pytest.approx(-6, abs=0.8)
    assert np.median(chip_input(weak, OPTIONS)[slick]) * options.std_db > -2.2
    np.testing.assert_array_equal(chip_input(strong, options), chip_input(strong, OPTIONS))
