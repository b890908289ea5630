"""Contrast with the sea: whatever the gain, the stretch, and the trend, the same slicks are seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.contrast import sea_contrast
from preprocess.options import PreprocessOptions, normalised_db

LIMIT = 8.0


def slick_db(looks=20, seed=0, shape=(192, 208)):
    """A sea at -18 dB with a slick 8 dB darker, and where the slick is."""
    rng = np.random.default_rng(seed)
    slick = np.zeros(shape, bool)
    slick[60:75, 40:170] = True
    power = np.where(slick, -26, -18) + 10 * np.log10(rng.gamma(looks, 1 / looks, shape))
    return power, slick


@given(gain=st.floats(-40, 40), unit=st.floats(0.2, 5), lines=st.floats(-0.05, 0.05), pixels=st.floats(-0.05, 0.05))
@settings(max_examples=20, deadline=None)
def test_gain_unit_and_ramp_change_nothing(gain, unit, lines, pixels):
    image, _ = slick_db()
    ramp = lines * np.arange(image.shape[0])[:, None] + pixels * np.arange(image.shape[1])[None, :]
    np.testing.assert_allclose(sea_contrast(unit * image + gain + ramp, LIMIT), sea_contrast(image, LIMIT), atol=0.05)


@pytest.mark.parametrize("looks", [5, 20, 80])
def test_a_slick_is_below_the_sea_whatever_the_looks(looks):
    image, slick = slick_db(looks)
    contrast = sea_contrast(image, LIMIT)
    assert np.median(contrast[slick]) < -3
    assert abs(np.median(contrast[~slick])) < 0.1


def test_no_data_stays_no_data_and_does_not_count():
    image, slick = slick_db()
    missing = np.zeros_like(slick)
    missing[:, 150:] = True
    contrast = sea_contrast(np.where(missing, np.nan, image), LIMIT)
    assert np.isnan(contrast[missing]).all()
    assert np.isfinite(contrast[~missing]).all()
    assert np.isnan(sea_contrast(np.full((64, 64), np.nan), LIMIT)).all()


def test_nothing_came_back_is_as_dark_as_can_be_and_a_flat_sea_is_flat():
    image, _ = slick_db()
    image[3, 4] = -np.inf
    assert sea_contrast(image, LIMIT)[3, 4] == -LIMIT
    assert np.abs(sea_contrast(np.full((64, 80), -17.0), LIMIT)).max() < 1e-6


def test_a_strip_of_bright_coast_hardly_tilts_the_sea():
    image, slick = slick_db()
    coast = np.zeros_like(slick)
    coast[:, :16] = True
    contrast = sea_contrast(np.where(coast, -5, image), LIMIT)
    sea = ~slick & ~coast
    columns = [np.median(contrast[:, c : c + 8][sea[:, c : c + 8]]) for c in range(16, 200, 8)]
    assert np.ptp(columns) < 1


def test_the_options_choose_the_radiometry_and_old_checkpoints_keep_theirs():
    record = {"polarisations": ["VV"], "pixel_spacing": 40.0}
    assert PreprocessOptions.from_dict(record).radiometry == "level"
    power = 10 ** (slick_db()[0][None] / 10)
    options = PreprocessOptions(radiometry="contrast")
    np.testing.assert_allclose(normalised_db(power, options), normalised_db(4 * power, options), atol=1e-4)
    level = PreprocessOptions()
    assert not np.allclose(normalised_db(power, level), normalised_db(4 * power, level), atol=0.5)
