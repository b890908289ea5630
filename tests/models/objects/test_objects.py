"""Candidates judged as objects: what is measured on them, what is rejected, and how a judge is kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ingest.errors import ModelError
from models.classes import CLASSES, LOOK_ALIKE, OIL
from models.datasets.pairs import chip_power
from models.objects import (
    FEATURES,
    SIDE,
    CandidateOptions,
    Judge,
    Sea,
    Surroundings,
    find_candidates,
    judge_image,
    load_judge,
    save_judge,
    window_around,
)
from models.objects.fit import fit_logistic, fitted_judge, fitted_surroundings, out_of_region
from models.objects.stage import measured_candidates
from models.objects.surroundings import surroundings_input

SHA = "a" * 64


def judge(threshold=0.5, **weights):
    chosen = tuple(float(weights.get(name, 0)) for name in FEATURES)
    n = len(FEATURES)
    return Judge(SHA, (0.0,) * n, (1.0,) * n, chosen, 0.0, threshold)


@pytest.fixture
def surroundings():
    torch.manual_seed(0)
    return Surroundings().eval()


@pytest.fixture
def image():
    """A sea with a dark candidate, another no darker than the sea, and a speck."""
    rng = np.random.default_rng(0)
    power = 0.02 * rng.gamma(20, 1 / 20, (120, 150))
    probability = np.full((len(CLASSES), 120, 150), 0.02, np.float32)
    power[20:30, 30:90] *= 0.2
    probability[OIL, 20:30, 30:90] = 0.9
    probability[OIL, 70:80, 30:90] = 0.8
    probability[OIL, 100:102, 100:102] = 0.9
    return probability, Sea(power)


def test_candidates_are_grown_kept_and_not_too_small(image):
    probability, _ = image
    found = list(find_candidates(probability[OIL], CandidateOptions()))
    assert [(c.rows.start, c.columns.start, c.size) for c in found] == [(20, 30, 600), (70, 30, 600)]
    assert not list(find_candidates(np.full((50, 50), np.nan), CandidateOptions()))
    faint = np.where(np.arange(50) > 20, 0.4, 0.1) * np.ones((50, 1))
    assert not list(find_candidates(faint, CandidateOptions()))


def test_what_is_measured_tells_a_dark_candidate_from_none(image, surroundings):
    probability, sea = image
    (_, dark), (_, plain) = measured_candidates(probability, sea, judge(), surroundings)
    contrast, edge = FEATURES.index("contrast"), FEATURES.index("edge")
    assert dark[contrast] < -4
    assert abs(plain[contrast]) < 1
    assert dark[edge] > plain[edge]
    assert dark[FEATURES.index("log_cells")] == pytest.approx(np.log(600))
    assert np.isfinite(dark).all()


def test_oil_that_is_rejected_becomes_look_alike(image, surroundings):
    probability, sea = image
    before = probability.copy()
    rejected = np.zeros(before.shape[1:], np.float32)
    verdicts = judge_image(probability, sea, judge(contrast=-1.0, threshold=0.9), surroundings, rejected)
    assert [verdict.accepted for verdict in verdicts] == [True, False]
    np.testing.assert_array_equal(rejected[70:80, 30:90], before[OIL, 70:80, 30:90])
    assert not rejected[:60].any()
    np.testing.assert_array_equal(probability[:, :60], before[:, :60])
    assert (probability[OIL, 70:80, 30:90] == 0).all()
    assert probability[LOOK_ALIKE, 75, 50] == pytest.approx(0.82)
    np.testing.assert_allclose(probability.sum(axis=0), before.sum(axis=0), rtol=1e-6)


def test_gain_does_not_change_a_verdict(image, surroundings):
    probability, sea = image
    weighing = judge(surroundings=1.0, contrast=-0.5, edge=0.3, texture=0.2)
    one = judge_image(probability.copy(), sea, weighing, surroundings)
    other = judge_image(probability.copy(), Sea(sea.power * 7), weighing, surroundings)
    assert [v.oil_probability for v in one] == pytest.approx([v.oil_probability for v in other], abs=1e-3)


def test_land_and_no_data_are_not_measured(image, surroundings):
    probability, sea = image
    land = np.zeros(sea.power.shape, bool)
    land[:, 95:] = True
    power = np.where(np.arange(120)[:, None] < 5, np.nan, sea.power)
    features = [f for _, f in measured_candidates(probability, Sea(power, land), judge(), surroundings)]
    assert np.isfinite(features).all()
    everything = Sea(np.full(sea.power.shape, np.nan))
    assert np.isfinite([f for _, f in measured_candidates(probability, everything, judge(), surroundings)]).all()


def test_surroundings_stay_within_the_image():
    assert window_around((10, 990), (1000, 1000)) == (slice(0, SIDE), slice(1000 - SIDE, 1000))
    assert window_around((10, 20), (100, 90)) == (slice(0, 100), slice(0, 90))
    assert surroundings_input(np.full((51, 40), np.nan)).shape == (1, 51, 40)  # small images are not reduced
    assert surroundings_input(np.full((501, 400), np.nan)).shape == (1, 250, 200)


def test_grey_is_amplitude_and_white_areas_are_no_data():
    grey = np.full((60, 60), 100, np.float32)
    grey[:20] = 255
    sea = Sea(chip_power(grey))
    assert np.isnan(sea.power[:20]).all()
    assert sea.power[40, 40] == 10_000
    assert chip_power(np.full((60, 60), -20, np.float32))[0, 0] == pytest.approx(0.01)


def test_a_judge_comes_back_as_it_was_saved(tmp_path, surroundings):
    saved = judge(contrast=-1.0)
    save_judge(tmp_path, saved, surroundings)
    loaded = load_judge(tmp_path, SHA)
    assert loaded is not None
    assert replace(loaded[0], surroundings_sha256="") == saved
    contrast = torch.randn(1, 1, 64, 64)
    torch.testing.assert_close(loaded[1](contrast), surroundings(contrast), atol=0.02, rtol=0.02)


def test_a_model_without_a_judge_has_none_and_damage_is_named(tmp_path, surroundings):
    assert load_judge(tmp_path, SHA) is None
    save_judge(tmp_path, judge(), surroundings)
    with pytest.raises(ModelError, match="another model"):
        load_judge(tmp_path, "b" * 64)
    whole = (tmp_path / "surroundings.safetensors").read_bytes()
    (tmp_path / "surroundings.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ModelError, match="does not match"):
        load_judge(tmp_path, SHA)
    (tmp_path / "objects.json").write_text('{"format": 99}')
    with pytest.raises(ModelError, match="unreadable"):
        load_judge(tmp_path, SHA)


def test_a_regression_finds_what_separates_and_judges_other_regions_unseen():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, len(FEATURES)))
    y = x[:, 5] + 0.5 * rng.normal(size=400) > 0
    regions = [("a", "b", "c")[i % 3] for i in range(400)]
    logits = out_of_region(x, y, regions, 1.0)
    assert ((logits > 0) == y).mean() > 0.8
    fitted = fitted_judge(x, y, SHA, 0.5)
    assert np.argmax(np.abs(fitted.weights)) == 5
    assert fitted.probability(x).mean() == pytest.approx(y.mean(), abs=0.01)
    assert fit_logistic(x, y, 1.0).logit(x).shape == (400,)


def test_what_only_tells_one_group_from_another_does_not_tell_the_class():
    rng = np.random.default_rng(2)
    group = np.repeat(["sea", "chip"], 1000)
    y = rng.random(2000) < np.where(group == "chip", 0.95, 0.2)
    x = np.stack([np.where(group == "chip", 1.0, 0.0), y + rng.normal(size=2000)], axis=1)
    plain, within = (fit_logistic(x, y, 1.0, groups=groups).weights for groups in (None, group))
    assert plain[0] > 5 * abs(within[0])
    assert within[1] > 0.5


def test_surroundings_give_the_logit_of_the_regression_on_their_features(surroundings):
    contrast = torch.randn(6, 1, 64, 64)
    with torch.inference_mode():
        x = surroundings.features(contrast).numpy().astype(np.float64)
    fitted = fit_logistic(x, np.arange(6) % 2 == 0, 10.0)
    whole = fitted_surroundings(surroundings.encoder.state_dict(), fitted)
    with torch.inference_mode():
        np.testing.assert_allclose(whole(contrast).numpy(), fitted.logit(x), atol=1e-3)
