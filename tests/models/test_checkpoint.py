"""Models are stored whole, loaded as stored, and refused when damaged."""

import json

import pytest
import torch

from ingest.errors import ModelError
from models import checkpoint
from models.checkpoint import halved, load_model, save_model
from models.classes import OIL_CLASSES
from models.networks.architecture import Architecture
from models.networks.saross import SAROSSNet
from preprocess.options import PreprocessOptions
from preprocess.tiles import Tiling


@pytest.fixture
def stored(tmp_path):
    torch.manual_seed(3)
    architecture = Architecture(encoder="nano")
    network = SAROSSNet(architecture).eval()
    options = PreprocessOptions(pixel_spacing=80.0, polarisations=("VV",))
    checkpoint = save_model(tmp_path / "one", network, architecture, options, {"oil_iou": 0.5}, {"seed": 3})
    return tmp_path / "one", network, checkpoint


def test_a_model_comes_back_as_it_was_stored(stored):
    folder, network, checkpoint = stored
    loaded, read = load_model(str(folder))
    assert read == checkpoint
    assert read.preprocess.pixel_spacing == 80.0
    image = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded(image), network(image))
    assert not loaded.training


def test_half_precision_takes_half_the_space_and_says_nearly_the_same(stored, tmp_path):
    folder, network, checkpoint = stored
    save_model(tmp_path / "half", network, checkpoint.architecture, checkpoint.preprocess, {}, {}, half_precision=True)
    sizes = [(one / "weights.safetensors").stat().st_size for one in (folder, tmp_path / "half")]
    assert sizes[1] < 0.53 * sizes[0]
    loaded, _ = load_model(str(tmp_path / "half"))
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    image = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(image), network(image), atol=0.005, rtol=0.001)


def test_the_variances_of_norms_are_not_rounded(tmp_path):
    tiny = torch.full((4000,), 1e-8)
    assert torch.equal(halved(tiny), tiny)
    assert halved(torch.ones(100, 100)).dtype == torch.float16


def test_the_folder_holds_no_pickle(stored):
    assert sorted(p.name for p in stored[0].iterdir()) == ["checkpoint.json", "weights.safetensors"]


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("weights.safetensors", lambda b: b[: len(b) // 2]),
        ("weights.safetensors", lambda b: b[:-1] + bytes([b[-1] ^ 1])),
        ("checkpoint.json", lambda b: b[: len(b) // 2]),
        ("checkpoint.json", lambda b: b.replace(b'"format": 1', b'"format": 99')),
        ("checkpoint.json", lambda b: b.replace(b'"nano"', b'"T"')),
        ("checkpoint.json", lambda b: b"5"),
    ],
)
def test_a_damaged_model_is_refused_in_one_line(stored, file, damage):
    path = stored[0] / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError) as failure:
        load_model(str(stored[0]))
    assert str(stored[0]) in str(failure.value)
    assert "\n" not in str(failure.value)


def test_a_missing_default_is_a_model_error(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SHIPPED", tmp_path)
    with pytest.raises(ModelError, match="default"):
        checkpoint.default_model_id()


def test_a_model_comes_with_the_tiles_it_was_trained_on(tmp_path):
    architecture = Architecture(encoder="nano", windows=(16, 16))
    saved = save_model(
        tmp_path / "m", SAROSSNet(architecture), architecture, PreprocessOptions(), {}, {}, tiling=Tiling(512, 256)
    )  # fmt: skip
    assert checkpoint.read_checkpoint(str(tmp_path / "m")) == saved
    record = json.loads((tmp_path / "m" / "checkpoint.json").read_text())
    del record["tiling"]  # as models had it before
    (tmp_path / "m" / "checkpoint.json").write_text(json.dumps(record))
    assert checkpoint.read_checkpoint(str(tmp_path / "m")).tiling == Tiling(256, 128)


def test_a_model_of_oil_alone_makes_no_layers(tmp_path):
    architecture = Architecture(encoder="nano", classes=2)
    saved = save_model(tmp_path / "m", SAROSSNet(architecture), architecture, PreprocessOptions(), {}, {}, OIL_CLASSES)
    with pytest.raises(ModelError, match="other, oil alone"):
        checkpoint.require_five_classes(saved)


def test_missing_weights_are_refused(stored):
    (stored[0] / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match="weights"):
        load_model(str(stored[0]))
