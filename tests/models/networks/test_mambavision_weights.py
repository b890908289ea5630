"""Published weights into our encoders: every name, no other; fetching them, and every way that can fail."""

import argparse
import hashlib
import http.server
import threading
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import save_file

from ingest.errors import ModelError, SourceError, StorageError, UsageError
from models.networks.architecture import Architecture
from models.networks.mambavision import SIZES, MambaVision
from models.networks.mambavision_weights import (
    PUBLISHED,
    fetch,
    fit_first_convolution,
    load_imagenet,
    load_published,
    read_weights,
)
from models.networks.resnet import ResNet34
from models.networks.saross import SAROSSNet

DEPTHS = {"T": (1, 3, 8, 4), "T2": (1, 3, 11, 4), "S": (3, 3, 7, 5), "B": (3, 3, 10, 5), "L": (3, 3, 10, 5)}
DIM = {"T": 80, "T2": 80, "S": 96, "B": 128, "L": 196}
STEM = {"T": 32, "T2": 32, "S": 64, "B": 64, "L": 64}


def norm(name, channels, batch=True):
    shapes = {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}
    if batch:
        running = {f"{name}.running_mean": (channels,), f"{name}.running_var": (channels,)}
        shapes |= running | {f"{name}.num_batches_tracked": ()}
    return shapes


def linear(name, inputs, outputs, bias=True):
    return {f"{name}.weight": (outputs, inputs), **({f"{name}.bias": (outputs,)} if bias else {})}


def mixer(name, dim):
    half, rank = dim // 2, -(-dim // 16)
    return {
        f"{name}.A_log": (half, 8),
        f"{name}.D": (half,),
        f"{name}.conv1d_x.weight": (half, 1, 3),
        f"{name}.conv1d_z.weight": (half, 1, 3),
        **linear(f"{name}.in_proj", dim, dim, bias=False),
        **linear(f"{name}.x_proj", half, rank + 16, bias=False),
        **linear(f"{name}.dt_proj", rank, half),
        **linear(f"{name}.out_proj", dim, dim, bias=False),
    }


def official_shapes(size):
    """Names and shapes of NVIDIA's published file, from the structure of its classifier: 252 names for T, 356 for B."""
    dim, stem = DIM[size], STEM[size]
    shapes = {"patch_embed.conv_down.0.weight": (stem, 3, 3, 3), "patch_embed.conv_down.3.weight": (dim, stem, 3, 3)}
    shapes |= norm("patch_embed.conv_down.1", stem) | norm("patch_embed.conv_down.4", dim)
    for level, depth in enumerate(DEPTHS[size]):
        width = dim * 2**level
        for i in range(depth):
            block = f"levels.{level}.blocks.{i}"
            if level < 2:
                for j in (1, 2):
                    shapes |= {f"{block}.conv{j}.weight": (width, width, 3, 3), f"{block}.conv{j}.bias": (width,)}
                    shapes |= norm(f"{block}.norm{j}", width)
                continue
            shapes |= norm(f"{block}.norm1", width, batch=False) | norm(f"{block}.norm2", width, batch=False)
            shapes |= linear(f"{block}.mlp.fc1", width, 4 * width) | linear(f"{block}.mlp.fc2", 4 * width, width)
            if i < (depth + 1) // 2:
                shapes |= mixer(f"{block}.mixer", width)
            else:
                shapes |= linear(f"{block}.mixer.qkv", width, 3 * width) | linear(f"{block}.mixer.proj", width, width)
            if size in ("B", "L"):
                shapes |= {f"{block}.gamma_1": (width,), f"{block}.gamma_2": (width,)}
        if level < 3:
            shapes[f"levels.{level}.downsample.reduction.0.weight"] = (2 * width, width, 3, 3)
    return shapes | norm("norm", 8 * dim) | linear("head", 8 * dim, 1000)


def official_weights(size):
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.tensor(7) if shape == () else torch.randn(shape, generator=generator).abs() * 0.05
        for name, shape in official_shapes(size).items()
    }


@pytest.fixture(scope="module")
def weights_of_t():
    return official_weights("T")


@pytest.fixture(scope="module")
def encoder():
    return MambaVision(SIZES["T"])


@pytest.mark.parametrize("size", DEPTHS)
def test_our_names_and_shapes_are_the_official_ones_without_the_classifier(size):
    with torch.device("meta"):
        ours = {name: tuple(value.shape) for name, value in MambaVision(SIZES[size]).state_dict().items()}
    official = official_shapes(size)
    assert {name: shape for name, shape in official.items() if name not in PUBLISHED[size].left_out} == ours
    assert set(official) - set(ours) == PUBLISHED[size].left_out


def test_the_number_of_official_names_is_that_of_the_package():
    assert (len(official_shapes("T")), len(official_shapes("B"))) == (252, 356)  # counted in mambavision 1.2.0


def test_a_checkpoint_loads_whole_and_unchanged(tmp_path, weights_of_t):
    path = tmp_path / PUBLISHED["T"].file_name
    torch.save(
        {"epoch": 300, "arch": "mamba_vision_T", "args": argparse.Namespace(lr=1), "state_dict": weights_of_t}, path
    )
    network = SAROSSNet(Architecture(encoder="T", in_channels=3, windows=(8, 8)))
    load_imagenet(network, "T", cache=tmp_path)
    for name, value in network.encoder.state_dict().items():
        assert torch.equal(value, weights_of_t[name]), name


def test_the_safetensors_file_with_its_prefix_is_taken_too(tmp_path, weights_of_t):
    save_file(
        {f"model.{name}": value for name, value in weights_of_t.items()}, tmp_path / "mambavision_tiny_1k.safetensors"
    )
    encoder = MambaVision(SIZES["T"], in_channels=1)
    load_imagenet(encoder, "T", cache=tmp_path)
    name = "levels.2.blocks.1.mixer.dt_proj.bias"
    assert torch.equal(encoder.state_dict()[name], weights_of_t[name])


@pytest.mark.parametrize("change", ["missing", "left over", "misshaped"])
def test_any_difference_is_an_error_of_one_line_that_names_the_file(tmp_path, encoder, weights_of_t, change):
    name, path = "levels.2.blocks.0.mixer.dt_proj.bias", tmp_path / "w.pth.tar"
    weights = dict(weights_of_t)
    if change == "missing":
        del weights[name]
    else:
        weights[name if change == "misshaped" else "levels.0.extra"] = torch.zeros(3)
    torch.save({"state_dict": weights}, path)
    with pytest.raises(ModelError, match=r"w\.pth\.tar: not the weights of this encoder") as caught:
        load_published(encoder, path, PUBLISHED["T"])
    assert "\n" not in str(caught.value)
    assert ("levels.0.extra" if change == "left over" else name) in str(caught.value)


def test_a_missing_counter_of_batches_is_no_difference(tmp_path, encoder, weights_of_t):
    path = tmp_path / "w.pth.tar"
    torch.save({k: v for k, v in weights_of_t.items() if not k.endswith("num_batches_tracked")}, path)
    load_published(encoder, path, PUBLISHED["T"])


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_a_grey_image_gives_the_same_whatever_the_channels(channels):
    kernel = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    grey = torch.randn(2, 1, 9, 9, dtype=torch.float64)
    expected = torch.nn.functional.conv2d(grey.expand(-1, 3, -1, -1), kernel)
    fitted = fit_first_convolution(kernel, channels)
    torch.testing.assert_close(torch.nn.functional.conv2d(grey.expand(-1, channels, -1, -1), fitted), expected)


def test_resnet34_loads_torchvisions_names(tmp_path, monkeypatch):
    weights = {name: torch.full_like(value, 0.5) for name, value in ResNet34().state_dict().items()}
    weights |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    assert {"conv1.weight", "bn1.running_var", "layer1.2.conv2.weight", "layer2.0.downsample.1.bias"} <= set(weights)
    assert "layer1.0.downsample.0.weight" not in weights
    assert sum(v.numel() for k, v in weights.items() if "running" not in k and "tracked" not in k) == 21_797_672
    torch.save(weights, tmp_path / "resnet34-b627a593.pth")
    network = SAROSSNet(Architecture(encoder="resnet34", in_channels=1))
    load_imagenet(network, "resnet34", cache=tmp_path)
    assert network.encoder.conv1.weight.mean().item() == pytest.approx(1.5)


class Code:
    def __reduce__(self):
        return (print, ("code of the file was run",))


@pytest.mark.parametrize("content", ["noise", "nothing", "code", "no weights"])
def test_a_damaged_or_hostile_file_is_refused_and_none_of_its_code_is_run(tmp_path, capsys, content):
    path = tmp_path / "w.pth.tar"
    if content in ("noise", "nothing"):
        path.write_bytes(b"\x80\x02x" * 100 if content == "noise" else b"")
    else:
        torch.save({"state_dict": Code()} if content == "code" else {"epoch": 3}, path)
    with pytest.raises(ModelError, match=r"w\.pth\.tar"):
        read_weights(path)
    assert "code of the file was run" not in capsys.readouterr().out


def test_an_encoder_without_published_weights_is_refused():
    with pytest.raises(UsageError, match=r"nano.*T, T2, S, B, L, resnet34"):
        load_imagenet(SAROSSNet(Architecture()), "nano")


class Server(http.server.BaseHTTPRequestHandler):
    content, claimed = b"x" * 3_000_000, None

    def do_GET(self):
        if self.path != "/weights.bin":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(self.claimed or len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def served(monkeypatch):
    """Weights published by a server of this machine."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        yield replace(PUBLISHED["T"], url=f"http://127.0.0.1:{server.server_port}/weights.bin")
        server.shutdown()
        thread.join()


def test_weights_are_fetched_once(served, tmp_path):
    known = replace(served, sha256=hashlib.sha256(Server.content).hexdigest()[:8])
    path = fetch(known, tmp_path / "new")
    assert path.read_bytes() == Server.content
    assert [p.name for p in path.parent.iterdir()] == ["weights.bin"]
    assert fetch(replace(known, url="http://127.0.0.1:9/weights.bin"), tmp_path / "new") == path


@pytest.mark.parametrize("trouble", ["absent", "cut", "other", "offline"])
def test_what_cannot_be_fetched_says_where_to_put_it_and_leaves_nothing(served, tmp_path, monkeypatch, trouble):
    monkeypatch.setattr(Server, "claimed", 4_000_000 if trouble == "cut" else None)
    if trouble in ("absent", "offline"):
        port = "9" if trouble == "offline" else served.url.split(":")[2].split("/")[0]
        served = replace(served, url=f"http://127.0.0.1:{port}/elsewhere.bin")
    if trouble == "other":
        served = replace(served, sha256="00000000")
    with pytest.raises(SourceError) as caught:
        fetch(served, tmp_path)
    text = str(caught.value)
    assert text.startswith(served.url)
    assert f"put the file at {tmp_path / served.file_name} by hand" in text
    assert "not for commercial use" in text
    assert "\n" not in text
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(served, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="another file is in its place"):
        fetch(served, tmp_path / "file")


def test_the_published_addresses():
    assert (
        PUBLISHED["B"].url == "https://huggingface.co/nvidia/MambaVision-B-1K/resolve/main/mambavision_base_1k.pth.tar"
    )
    assert [PUBLISHED[size].file_name for size in ("T", "T2", "S", "L")] == [
        f"mambavision_{word}_1k.pth.tar" for word in ("tiny", "tiny2", "small", "large")
    ]
