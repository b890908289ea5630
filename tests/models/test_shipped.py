"""The models that come with Slickwatch: whole, small, described, and seamless over tiles."""

import json

import numpy as np
import pytest
import torch

from ingest.errors import ModelError
from models.checkpoint import SHIPPED, default_model_id, load_model, shipped_models
from models.classes import CLASSES
from models.predict import predict_classes
from models.simulator import simulate_chip
from preprocess.tiles import Tiling
from tests.support.sea import scene, sea

OIL = CLASSES.index("oil")


def test_shipped_models_load_are_small_and_have_a_card():
    assert default_model_id() in shipped_models()
    for model in shipped_models():
        network, checkpoint = load_model(model)
        assert checkpoint.id == model
        assert checkpoint.metrics
        assert checkpoint.training
        weights = SHIPPED / model / "weights.safetensors"
        assert weights.stat().st_size <= 20e6
        assert (SHIPPED / model / "README.md").stat().st_size > 500
        assert json.loads((SHIPPED / model / "checkpoint.json").read_text())["id"] == model
        assert all(torch.isfinite(p).all() for p in network.parameters())


def test_an_unknown_id_is_refused_with_those_known():
    with pytest.raises(ModelError, match=default_model_id()):
        load_model("no-such-model")


def test_the_shipped_model_gives_a_constant_output_on_a_constant_input(tmp_path):
    network, checkpoint = load_model(default_model_id())
    values = np.full((300, 420), 0.02, np.float32)
    result = predict_classes(
        network, scene(values), checkpoint.preprocess, out=tmp_path / "p.npy", tiling=Tiling(128, 32)
    )
    assert float(np.ptp(result.sel({"class": "oil"}).values)) < 0.02
    assert (result.argmax("class") == CLASSES.index("sea")).all()


def test_the_shipped_model_sees_the_same_in_a_translated_crop(tmp_path):
    network, checkpoint = load_model(default_model_id())
    values, truth = simulate_chip(2_100_000_003, 512)
    assert (truth == OIL).any()
    values = np.nan_to_num(values, nan=float(np.nanmedian(values)))
    down, right, tiling = 37, 53, Tiling(256, 64)
    whole = predict_classes(network, scene(values), checkpoint.preprocess, out=tmp_path / "a.npy", tiling=tiling)
    crop = predict_classes(
        network, scene(values[down:, right:]), checkpoint.preprocess, out=tmp_path / "b.npy", tiling=tiling
    )
    one, other = whole[OIL, down:, right:].values, crop[OIL].values
    inner = (slice(32, -32), slice(32, -32))
    assert np.abs(one[inner] - other[inner]).mean() < 0.01
    both, either = (one[inner] > 0.5) & (other[inner] > 0.5), (one[inner] > 0.5) | (other[inner] > 0.5)
    assert both.sum() / either.sum() > 0.8


def test_no_seam_runs_along_the_edges_of_tiles(tmp_path):
    """Steps between neighbouring rows are no larger on tile borders than elsewhere."""
    network, checkpoint = load_model(default_model_id())
    values = sea((512, 512), seed=5)
    tiling = Tiling(128, 32)
    result = predict_classes(network, scene(values), checkpoint.preprocess, out=tmp_path / "p.npy", tiling=tiling)
    steps = np.abs(np.diff(result.sel({"class": "sea"}).values, axis=0)).mean(axis=1)
    borders = {edge for start in tiling.starts(512) for edge in (start - 1, start + tiling.size - 1) if 0 <= edge < 511}
    elsewhere = np.delete(steps, sorted(borders))
    assert max(steps[b] for b in borders) <= np.percentile(elsewhere, 99) * 1.5 + 1e-4
