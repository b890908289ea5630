"""Feature distances against the formula itself, and named extractors, which are never mixed."""

import json
import shutil

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torchmetrics.image.fid import FrechetInceptionDistance

from ingest.errors import ModelError, UsageError
from models.checkpoint import SHIPPED
from models.quality import extractors as extractors_module
from models.quality.extractors import SAR_MODEL, inception_extractor, inception_file, sar_extractor
from models.quality.frechet import Features, FeatureSet, feature_quality, frechet_distance, inception_score


def by_formula(one, other):
    """Heusel et al. 2017, Eq. 6, with scipy's matrix square root."""
    covariances = [np.cov(features.T) for features in (one, other)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    shift = one.mean(axis=0) - other.mean(axis=0)
    return shift @ shift + np.trace(covariances[0] + covariances[1] - 2 * root)


def feature_set(features, logits=None, name="sar-x", sha256="a" * 64, size=(64, 64)):
    return FeatureSet(name, sha256, size, features, np.zeros((len(features), 5)) if logits is None else logits)


def noise(n, d=6, seed=0, **kwargs):
    return np.random.default_rng(seed).normal(size=(n, d), **kwargs)


class AsGiven(torch.nn.Module):
    num_features = 6

    def forward(self, features):
        return features


@pytest.mark.parametrize("n", [5, 200])
def test_the_distance_is_that_of_the_formula_and_of_torchmetrics(n):
    """Also with fewer images than features, where covariances are singular."""
    one, other = noise(n), noise(300, seed=1) @ noise(6, seed=2) + 0.3
    metric = FrechetInceptionDistance(feature=AsGiven())
    metric.update(torch.from_numpy(one), real=True)
    metric.update(torch.from_numpy(other), real=False)
    assert frechet_distance(one, other) == pytest.approx(float(metric.compute()), rel=1e-5)
    if n > 6:
        assert frechet_distance(one, other) == pytest.approx(by_formula(one, other), rel=1e-6)


def test_equal_sets_are_at_no_distance_and_a_shift_at_its_square():
    one = noise(500)
    shift = np.array([1.0, -2.0, 0.5, 0, 0, 3.0])
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(one, one + shift) == pytest.approx(shift @ shift, rel=1e-6)
    # Independent draws of two Gaussians of unit covariance: |mu|**2 again, within what 20,000 samples leave open.
    assert frechet_distance(noise(20_000), noise(20_000, seed=1) + shift) == pytest.approx(shift @ shift, rel=0.02)


def test_the_inception_score_is_one_for_doubt_and_the_number_of_classes_for_certain_variety():
    assert inception_score(np.zeros((100, 5)))[0] == pytest.approx(1)
    certain = np.tile(100 * np.eye(5), (400, 1))
    assert inception_score(certain)[0] == pytest.approx(5, rel=0.03)  # splits of 200 are not all balanced
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    expected = np.exp((p * np.log(p / p.mean(axis=0))).sum(axis=1).mean())
    score, deviation = inception_score(np.log(p))
    assert score == pytest.approx(expected)
    assert np.isnan(deviation)  # of one split


def test_scores_leave_the_random_numbers_of_others_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    inception_score(noise(40))
    assert torch.equal(before, torch.random.get_rng_state())


def test_noise_is_the_distance_of_halves_and_spread_that_of_other_draws():
    real = feature_set(noise(400))
    drawn = [feature_quality(real, feature_set(noise(200, seed=s) + 1)) for s in range(1, 21)]
    fids = np.array([one.fid for one in drawn])
    assert np.mean([one.fid_spread for one in drawn]) == pytest.approx(fids.std(ddof=1), rel=0.4)
    halves = [frechet_distance(noise(200, seed=s), noise(200, seed=s + 50)) for s in range(1, 21)]
    assert drawn[0].fid_noise == pytest.approx(np.mean(halves), rel=0.25)
    assert (drawn[0].n_real, drawn[0].n_synthetic, drawn[0].n_noise) == (400, 200, 200)


def test_copies_are_in_one_half():
    """Each image three times: halves that divide the copies would find the halves too much alike."""
    places = noise(60)
    real = feature_set(np.repeat(places, 3, axis=0))
    known = feature_quality(real, real, groups=np.repeat(np.arange(60), 3).tolist())
    unknown = feature_quality(real, real)
    of_places = feature_quality(feature_set(places), feature_set(places))
    assert known.fid_noise == pytest.approx(of_places.fid_noise, rel=0.3)
    assert unknown.fid_noise < 0.8 * known.fid_noise
    with pytest.raises(UsageError, match="too few groups"):
        feature_quality(real, real, groups=[0] * 180)


def test_few_images_for_the_features_are_said():
    few, many = feature_set(noise(11)), feature_set(noise(12))
    assert "11 images for 6 features" in feature_quality(many, few).warning
    assert feature_quality(many, many).warning == ""


def test_two_extractors_never_share_a_comparison():
    real = feature_set(noise(20))
    for other in (
        feature_set(noise(20), name="inception"),
        feature_set(noise(20), sha256="b" * 64),
        feature_set(noise(20), size=(256, 256)),
    ):
        with pytest.raises(UsageError):
            feature_quality(real, other)
    with pytest.raises(UsageError, match="has 3 images"):
        feature_quality(real, feature_set(noise(3)))


@pytest.fixture(scope="module")
def extractor():
    return sar_extractor()


def grey(n, size, seed=0):
    return np.random.default_rng(seed).integers(20, 220, (n, *size)).astype(np.uint8)


def test_our_extractor_is_named_by_its_model_and_takes_any_size(extractor):
    checkpoint = json.loads((SHIPPED / SAR_MODEL / "checkpoint.json").read_text())
    assert (extractor.name, extractor.weights_sha256) == (f"sar-{SAR_MODEL}", checkpoint["weights_sha256"])
    for size in ((32, 32), (45, 70)):
        features, logits = extractor.forward(grey(2, size))
        assert features.shape == (2, extractor.n_features)
        assert np.isfinite(features).all()
        np.testing.assert_allclose(np.exp(logits).sum(axis=1), 1, atol=1e-5)


def test_features_depend_on_the_image_and_not_on_the_batch(extractor):
    images = grey(18, (32, 32))
    one_by_one = np.concatenate([extractor.forward(image[None])[0] for image in images[:2]])
    gathering = Features(extractor)
    for image in images:
        gathering.add(image)
    result = gathering.result()
    assert result.features.shape == (18, extractor.n_features)
    np.testing.assert_allclose(result.features[:2], one_by_one, atol=2e-4)
    assert result.size == (32, 32)
    # A bank of dark in noise is another thing than noise, and brightness alone is none.
    banded = images[:1].copy()
    banded[0, 10:20] //= 5
    apart = np.abs(extractor.forward(banded)[0] - one_by_one[:1]).max()
    brighter = np.abs(extractor.forward(images[:1] // 2 * 2)[0] - extractor.forward(images[:1] // 2)[0]).max()
    assert apart > 20 * brighter
    with pytest.raises(ValueError, match="no image"):
        Features(extractor).result()


def test_another_model_is_another_extractor(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(SHIPPED / SAR_MODEL, folder)
    record = json.loads((folder / "checkpoint.json").read_text())
    (folder / "checkpoint.json").write_text(json.dumps(record | {"id": "mine"}))
    assert sar_extractor(str(folder)).name == "sar-mine"


def test_other_weights_are_not_taken_for_inceptions(tmp_path, monkeypatch):
    file = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    with pytest.raises(UsageError, match="cannot be read"):
        inception_extractor(file)
    torch.save({"a": torch.zeros(3)}, file)
    with pytest.raises(ModelError, match=r"not the published weights .*6726825d"):
        inception_extractor(file)
    monkeypatch.setattr(extractors_module, "INCEPTION_SHA256_BEGINS", "")
    file.write_bytes(b"not a pickle")
    with pytest.raises(ModelError, match="not a file of weights alone"):
        inception_extractor(file)


def test_inception_s_file_is_given_or_named_or_there_is_none(tmp_path, monkeypatch):
    monkeypatch.delenv("SLICKWATCH_INCEPTION", raising=False)
    assert inception_file(None) is None
    monkeypatch.setenv("SLICKWATCH_INCEPTION", "/named")
    assert str(inception_file(None)) == "/named"
    assert inception_file(tmp_path) == tmp_path
