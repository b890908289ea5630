"""Tiling and stitching around a network: exact for a network that looks at single pixels, seamless for the real one."""

import numpy as np
import pytest
import torch

from models.classes import CLASSES
from models.predict import predict_classes
from preprocess.options import PreprocessOptions, normalised_db
from preprocess.tiles import Tiling
from tests.support.sea import scene, sea

OPTIONS = PreprocessOptions()


class PixelByPixel(torch.nn.Module):
    """A network without any neighbourhood, and a count of the tiles it saw."""

    def __init__(self):
        super().__init__()
        self.tiles = []

    def forward(self, images):
        self.tiles.append(images.shape[-2:])
        return torch.cat([images[:, :1] * k for k in range(len(CLASSES))], dim=1)


@pytest.mark.parametrize("shape", [(100, 130), (64, 64), (65, 63), (20, 200)])
def test_a_pixelwise_network_is_stitched_exactly(tmp_path, shape):
    values = sea(shape)
    result = predict_classes(PixelByPixel(), scene(values), OPTIONS, out=tmp_path / "p.npy", tiling=Tiling(64, 16))
    normalised = normalised_db(values, OPTIONS)
    expected = torch.softmax(torch.from_numpy(np.stack([normalised * k for k in range(5)])), dim=0).numpy()
    np.testing.assert_allclose(result, expected, atol=1e-6)
    assert result.dims == ("class", "line", "pixel")
    assert list(result["class"].values) == list(CLASSES)


def test_no_data_stays_no_data_and_probabilities_sum_to_one(tmp_path):
    values = sea((90, 120))
    values[:, 100:] = np.nan
    values[3, 4] = np.nan
    result = predict_classes(PixelByPixel(), scene(values), OPTIONS, out=tmp_path / "p.npy", tiling=Tiling(64, 16))
    assert np.array_equal(np.isnan(result[0]), np.isnan(values))
    np.testing.assert_allclose(np.nansum(result, axis=0)[~np.isnan(values)], 1, atol=1e-5)


def test_tiles_of_land_or_without_data_are_skipped(tmp_path):
    values = sea((64, 256))
    values[:, :64] = np.nan
    land = np.zeros(values.shape, bool)
    land[:, 192:] = True
    network = PixelByPixel()
    counted = []
    result = predict_classes(
        network, scene(values), OPTIONS, out=tmp_path / "p.npy", land=land, tiling=Tiling(64, 0),
        progress=lambda done, total: counted.append((done, total)),
    )  # fmt: skip
    assert len(network.tiles) == 2
    assert counted[-1] == (4, 4)
    assert np.isnan(result[:, :, :64]).all()
    assert (result.sel({"class": "land"})[:, 192:] == 1).all()
    assert (result.sel({"class": "oil"})[:, 192:] == 0).all()


def test_a_scene_wholly_without_data_is_no_failure(tmp_path):
    values = np.full((70, 70), np.nan, np.float32)
    result = predict_classes(PixelByPixel(), scene(values), OPTIONS, out=tmp_path / "p.npy", tiling=Tiling(32, 8))
    assert np.isnan(result).all()
