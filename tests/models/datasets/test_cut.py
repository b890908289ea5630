"""Squares cut out of images: the same every time, image and labels at one place."""

import numpy as np

from models.datasets.simulated import SimulatedChips
from models.datasets.views import Cut
from preprocess.options import PreprocessOptions


def test_a_square_of_each_image_with_its_labels():
    whole, options = SimulatedChips(6, 48, margin=0), PreprocessOptions()
    cut = Cut(whole, 20)
    places = set()
    for i in range(len(cut)):
        grey, labels = cut.grey(i)
        image, same = cut.pair(i, options)
        assert grey.shape == labels.shape == image.shape[1:] == (20, 20)
        np.testing.assert_array_equal(labels, same)
        windows = np.lib.stride_tricks.sliding_window_view(whole.grey(i)[0], (20, 20))
        found = np.argwhere((windows == grey).all(axis=(2, 3)))
        assert len(found) == 1
        line, pixel = found[0]
        np.testing.assert_array_equal(labels, whole.grey(i)[1][line : line + 20, pixel : pixel + 20])
        np.testing.assert_array_equal(image, whole.pair(i, options)[0][:, line : line + 20, pixel : pixel + 20])
        places.add((line, pixel))
    assert len(places) > 3
    np.testing.assert_array_equal(cut.grey(2)[0], Cut(whole, 20).grey(2)[0])
    assert cut.classes == whole.classes


def test_no_larger_images_are_left_as_they_are():
    whole = SimulatedChips(2, 32, margin=0)
    np.testing.assert_array_equal(Cut(whole, 32).grey(1)[0], whole.grey(1)[0])
    np.testing.assert_array_equal(Cut(whole, 40).grey(1)[0], whole.grey(1)[0])
