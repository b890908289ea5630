"""SAR statistics of images whose statistics are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve1d

from ingest.errors import UsageError
from models.classes import IGNORE, NOT_OIL, OIL
from models.quality.statistics import StatisticsGatherer, log_spectral_distance, statistics_measures
from models.quality.texture import power_spectrum, speckle_covariance, window_looks


def speckle(looks, size=(128, 128), seed=0, amplitude=60.0):
    """8-bit amplitude of a homogeneous sea of so many looks."""
    intensity = np.random.default_rng(seed).gamma(looks, 1 / looks, size)
    return np.clip(np.rint(amplitude * np.sqrt(intensity)), 0, 255).astype(np.uint8)


def gaussian(deviation, size=(128, 128), seed=0):
    return np.random.default_rng(seed).normal(0, deviation, size)


def as_grey(values):
    return np.clip(np.rint(128 + values), 0, 255).astype(np.uint8)


def gathered(*images, labels=None):
    gatherer = StatisticsGatherer()
    for image in images:
        gatherer.add(image, np.full(image.shape, NOT_OIL) if labels is None else labels)
    return gatherer.result()


@pytest.mark.parametrize("looks", [1, 3, 10, 40])
def test_gamma_speckle_gives_its_looks_back(looks):
    found = gathered(*(speckle(looks, seed=s) for s in range(8))).equivalent_looks
    assert found == pytest.approx(looks, rel=0.1)


def test_slicks_and_edges_do_not_pass_for_speckle():
    """A third of each image is four times darker, in bars that most windows cross."""
    images = [speckle(10, seed=s) for s in range(8)]
    for image in images:
        image[:, 20:40] //= 4
        image[:, 75:95] //= 4
    assert gathered(*images).equivalent_looks == pytest.approx(10, rel=0.15)


def test_clipped_and_flat_windows_have_no_looks():
    image = speckle(4, size=(8, 24))
    image[0, 0], image[3, 12] = 0, 255
    assert len(window_looks(image)) == 1
    assert len(window_looks(np.full((32, 32), 77, np.uint8))) == 0
    assert np.isnan(gathered(np.full((32, 32), 77, np.uint8)).equivalent_looks)


@pytest.mark.parametrize("size", [(128, 128), (64, 100)])
def test_white_noise_has_a_flat_spectrum_at_its_variance(size):
    spectrum = np.mean([power_spectrum(as_grey(gaussian(20, size, s))) for s in range(30)], axis=0)
    assert len(spectrum) == min(size) // 2
    np.testing.assert_allclose(10 * np.log10(spectrum[2:] / 400), 0, atol=0.8)  # dB
    assert spectrum.mean() == pytest.approx(400, rel=0.03)


def test_a_wave_is_a_peak_at_its_frequency():
    wave = 40 * np.sin(2 * np.pi * 10 / 64 * np.arange(64))
    assert power_spectrum(as_grey(np.tile(wave, (64, 1)))).argmax() + 1 == 10


def test_twice_the_power_is_three_decibels():
    assert log_spectral_distance(np.full(9, 200.0), np.full(9, 100.0)) == pytest.approx(3.0103, abs=1e-4)


def test_correlated_noise_has_its_autocorrelation():
    """A mean of three neighbours across: 2/3 at lag 1, 1/3 at lag 2, 0 beyond; nothing down."""
    images = [as_grey(convolve1d(gaussian(40, seed=s), np.ones(3) / 3, axis=1)) for s in range(12)]
    down, across = gathered(*images).autocorrelation
    np.testing.assert_allclose(across[:4], [1, 2 / 3, 1 / 3, 0], atol=0.03)
    np.testing.assert_allclose(across[4:], 0, atol=0.05)
    np.testing.assert_allclose(down[1:], 0, atol=0.05)


def test_covariance_is_of_the_smooth_half():
    """A slick's edge in one of four blocks adds nothing to the speckle's covariance."""
    image = as_grey(gaussian(10, (64, 64)))
    edge = image.copy()
    edge[:16, :32] = 5
    covariance = speckle_covariance(edge)
    assert covariance[0, 0] == pytest.approx(100, rel=0.15)
    assert abs(covariance[:, 5:]).max() < 10


def test_identical_sets_are_at_no_distance():
    image, labels = speckle(5), np.full((128, 128), NOT_OIL)
    labels[30:50, 40:90] = OIL
    one, other = gathered(image, labels=labels), gathered(image, labels=labels)
    for name, measure in statistics_measures(one, other).items():
        assert measure.distance == 0, name
        assert measure.real == measure.synthetic
        assert np.isfinite(measure.real)


def test_histograms_are_as_far_apart_as_greys_are_shifted():
    measure = statistics_measures(gathered(speckle(20)), gathered(speckle(20) + np.uint8(15)))["grey_level"]
    assert measure.distance == pytest.approx(15)
    assert measure.synthetic - measure.real == pytest.approx(15)


def test_oil_is_measured_by_share_and_by_patch():
    labels = np.full((40, 50), NOT_OIL)
    labels[:20, :30] = OIL
    labels[20, 30] = OIL  # touches at a corner
    labels[30:32, 5:10] = OIL
    labels[39] = IGNORE
    found = gathered(speckle(5, (40, 50)), labels=labels)
    np.testing.assert_allclose(found.oil_shares, [611 / 1950])
    assert sorted(found.patch_areas) == [10, 601]
    assert found.histogram.sum() == 1950
    none = gathered(speckle(5, (40, 50)))
    measures = statistics_measures(found, none)
    assert measures["oil_share"].distance == pytest.approx(611 / 1950)
    assert np.isnan(measures["oil_patches"].distance)


def test_patches_ten_times_larger_are_a_decade_apart():
    small, large = (np.full((40, 50), NOT_OIL) for _ in range(2))
    small[5:7, 5:10] = OIL
    large[5:15, 5:15] = OIL
    image = speckle(5, (40, 50))
    measure = statistics_measures(gathered(image, labels=small), gathered(image, labels=large))["oil_patches"]
    assert (measure.real, measure.synthetic, measure.distance) == (10, 100, pytest.approx(1))


def test_sizes_are_not_mixed():
    with pytest.raises(UsageError, match="in one set"):
        gathered(speckle(5, (64, 64)), speckle(5, (64, 65)))
    with pytest.raises(UsageError, match="image too small"):
        gathered(speckle(5, (31, 64)))
    with pytest.raises(UsageError, match="one image size"):
        statistics_measures(gathered(speckle(5, (64, 64))), gathered(speckle(5, (32, 32))))
    with pytest.raises(ValueError, match="no image"):
        StatisticsGatherer().result()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(32, 50), st.integers(32, 50))
def test_any_image_has_finite_sums(seed, height, width):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width)).astype(np.uint8) * np.uint8(rng.random() < 0.8)
    found = gathered(image, labels=rng.choice([OIL, NOT_OIL, IGNORE], (height, width)))
    assert np.isfinite(found.spectrum).all()
    assert np.isfinite(found.covariance).all()
    assert found.looks.sum() <= (height // 8) * (width // 8)
    assert found.patch_areas.sum() == round(found.oil_shares[0] * found.histogram.sum())
