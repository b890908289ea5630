"""The encoder, CAFT and SAROSS-Net: sizes as published, wiring, any input size, gradients everywhere."""

import sys
import types
from dataclasses import replace

import pytest
import torch

from ingest.errors import UsageError
from models.classes import CLASSES
from models.networks.architecture import Architecture
from models.networks.caft import CAFT
from models.networks.mambavision import SIZES, MambaVision, from_windows, mambavision_size, to_windows
from models.networks.saross import SAROSSNet, build_encoder
from models.networks.selective_scan import loop_scan, scan_with

# arXiv 2407.08083, Table 1, in millions; these count the classifier, which an encoder has not: a batch norm
# and a linear layer on 8 * dim channels, for 1000 classes.
PUBLISHED = {"T": 31.8, "T2": 35.1, "S": 50.1, "B": 97.7, "L": 228.0}


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_have_the_published_number_of_parameters(name):
    size = SIZES[name]
    with torch.device("meta"):
        encoder = MambaVision(size)
    channels = 8 * size.dim
    total = sum(p.numel() for p in encoder.parameters()) + 2 * channels + 1000 * (channels + 1)
    assert total / 1e6 == pytest.approx(PUBLISHED[name], abs=0.06)


def test_parameters_bear_the_official_names():
    with torch.device("meta"):
        names = set(MambaVision(SIZES["B"]).state_dict())
    assert {
        "patch_embed.conv_down.0.weight",
        "patch_embed.conv_down.4.running_var",
        "levels.0.blocks.2.conv1.bias",
        "levels.1.blocks.0.norm2.weight",
        "levels.1.downsample.reduction.0.weight",
        "levels.2.blocks.0.mixer.A_log",
        "levels.2.blocks.0.mixer.D",
        "levels.2.blocks.0.mixer.in_proj.weight",
        "levels.2.blocks.0.mixer.x_proj.weight",
        "levels.2.blocks.0.mixer.dt_proj.bias",
        "levels.2.blocks.0.mixer.out_proj.weight",
        "levels.2.blocks.0.mixer.conv1d_x.weight",
        "levels.2.blocks.0.mixer.conv1d_z.weight",
        "levels.2.blocks.5.mixer.qkv.bias",
        "levels.2.blocks.9.mixer.proj.weight",
        "levels.3.blocks.2.mixer.in_proj.weight",
        "levels.3.blocks.3.mixer.qkv.weight",
        "levels.3.blocks.4.mlp.fc2.bias",
        "levels.3.blocks.4.gamma_1",
    } <= names
    assert not any(
        name.endswith(("in_proj.bias", "conv1d_x.bias", "x_proj.bias", "reduction.0.bias")) for name in names
    )
    assert not any(name.startswith("levels.1") and "gamma" in name for name in names)


@pytest.mark.parametrize("shape", [(16, 16), (13, 21), (1, 9)])
def test_windows_are_undone(shape):
    x = torch.randn(2, 3, *shape)
    tokens, padded = to_windows(x, 8)
    assert tokens.shape[1:] == (64, 3)
    assert torch.equal(from_windows(tokens, 8, padded)[..., : shape[0], : shape[1]], x)


def test_a_window_sees_only_itself():
    x = torch.zeros(1, 1, 16, 16)
    x[..., 8:, 8:] = 1
    tokens, _ = to_windows(x, 8)
    assert tokens.mean(dim=(1, 2)).tolist() == [0, 0, 0, 1]


def test_caft_is_cross_attention_between_channels():
    torch.manual_seed(0)
    block = CAFT(8, 12, heads=2).double()
    torch.nn.init.uniform_(block.temperature, 0.5, 2)
    high, low = torch.randn(2, 8, 9, 7, dtype=torch.float64), torch.randn(2, 12, 5, 4, dtype=torch.float64)
    up = torch.nn.functional.interpolate(low, size=(9, 7), mode="bilinear", align_corners=False)
    q, (k, v) = block.query(up), block.key_value(high).chunk(2, dim=1)
    expected = torch.empty_like(high)
    for b in range(2):
        for head in range(2):
            own = slice(4 * head, 4 * head + 4)
            unit = [torch.nn.functional.normalize(x[b, own].reshape(4, -1), dim=1) for x in (q, k)]
            weights = (unit[0] @ unit[1].T * block.temperature[head]).softmax(dim=-1)
            expected[b, own] = (weights @ v[b, own].reshape(4, -1)).reshape(4, 9, 7)
    torch.testing.assert_close(block(high, low), high + block.out(expected), rtol=1e-6, atol=1e-6)


def test_skips_and_decoder_form_the_unet_plus_plus_triangle():
    network = SAROSSNet(Architecture())
    assert set(network.skips) == {"0_1", "1_1", "2_1", "0_2", "1_2", "0_3"}
    assert len(network.decoder) == 4


def test_the_skips_of_the_paper_size_cost_what_the_decision_record_says():
    with torch.device("meta"):
        skips = SAROSSNet(Architecture(encoder="B")).skips
    assert sum(p.numel() for p in skips.parameters()) / 1e6 == pytest.approx(0.57, abs=0.01)


@pytest.mark.parametrize("shape", [(64, 64), (65, 130), (33, 47), (32, 200), (650, 1250)])
def test_logits_have_the_size_of_the_input(shape):
    network = SAROSSNet(Architecture(in_channels=2)).eval()
    with torch.inference_mode():
        logits = network(torch.randn(1, 2, *shape))
    assert logits.shape == (1, len(CLASSES), *shape)
    assert torch.isfinite(logits).all()


def test_every_parameter_learns():
    torch.manual_seed(0)
    network = SAROSSNet(Architecture())
    network(torch.randn(2, 1, 64, 64)).square().mean().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


@pytest.mark.parametrize("skip", ["none", "conv", "caft"])
@pytest.mark.parametrize("encoder", ["nano", "resnet34"])
def test_every_encoder_goes_with_every_skip_any_classes_channels_and_odd_sizes(encoder, skip):
    network = SAROSSNet(Architecture(encoder=encoder, skip=skip, in_channels=4, classes=2)).eval()
    with torch.inference_mode():
        assert network(torch.randn(2, 4, 45, 71)).shape == (2, 2, 45, 71)


@pytest.mark.parametrize("skip", ["none", "conv"])
def test_every_parameter_learns_with_other_skips(skip):
    torch.manual_seed(0)
    network = SAROSSNet(Architecture(encoder="resnet34", skip=skip))
    network(torch.randn(2, 1, 64, 64)).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_without_a_skip_module_the_decoder_gets_the_encoders_features():
    network = SAROSSNet(Architecture(skip="none")).eval()
    assert not list(network.skips.parameters())
    seen = []
    for block in network.decoder:
        block.register_forward_hook(lambda block, inputs, output: seen.append(inputs[0]))
    image = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        network(image)
        pyramid = network.encoder(image)
    assert all(torch.equal(skip, own) for skip, own in zip(seen, pyramid[-2::-1], strict=True))


def test_the_pyramid_of_resnet34_has_strides_2_to_32():
    encoder = build_encoder(Architecture(encoder="resnet34", in_channels=2)).eval()
    with torch.inference_mode():
        pyramid = encoder(torch.randn(1, 2, 97, 64))
    assert [tuple(x.shape[1:]) for x in pyramid] == [
        (64, 49, 32), (64, 25, 16), (128, 13, 8), (256, 7, 4), (512, 4, 2)
    ]  # fmt: skip


def test_windows_change_no_weight_but_what_is_seen():
    torch.manual_seed(0)
    narrow = SAROSSNet(Architecture(windows=(2, 1))).eval()
    wide = SAROSSNet(Architecture(windows=(4, 2))).eval()
    wide.load_state_dict(narrow.state_dict())
    image = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        one, other = narrow.encoder(image), wide.encoder(image)
    assert torch.equal(one[2], other[2])
    assert not torch.equal(one[3], other[3])


@pytest.mark.parametrize("name", ["T", "T2", "S", "B", "L"])
def test_windows_are_the_papers_unless_others_are_asked_for(name):
    assert mambavision_size(name).windows == (14, 7)
    assert mambavision_size(name, (8, 8)) == replace(SIZES[name], windows=(8, 8))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"encoder": "XXL"}, r"XXL: .*known are nano, T, T2, S, B, L, resnet34"),
        ({"skip": "lstm"}, r"lstm: .*known are none, conv, caft"),
        ({"windows": (8, 0)}, r"windows \(8, 0\)"),
        ({"encoder": "resnet34", "windows": (8, 8)}, r"resnet34: .*omit the windows"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(wrong, message):
    with pytest.raises(UsageError, match=message):
        SAROSSNet(Architecture(**wrong))


def test_the_encoder_gives_the_same_with_the_scan_as_a_plain_loop():
    torch.manual_seed(0)
    encoder = MambaVision(SIZES["nano"], in_channels=1).double().eval()
    image = torch.randn(1, 1, 70, 50, dtype=torch.float64)
    with torch.inference_mode():
        usual = encoder(image)
        with scan_with("loop"):
            loop = encoder(image)
    for one, other in zip(usual, loop, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.filterwarnings("ignore")  # the package's own
@pytest.mark.parametrize("shape", [(224, 224), (225, 331), (97, 130)])
@pytest.mark.parametrize("name", ["T", "B"])
def test_logits_are_those_of_nvidias_package(monkeypatch, name, shape):
    """Their classifier on our features gives their logits; their scan is ours, step by step, where theirs is not."""
    try:
        import mamba_ssm  # noqa: F401
    except ImportError:
        interface = types.ModuleType("mamba_ssm.ops.selective_scan_interface")
        interface.selective_scan_fn = lambda u, delta, A, B, C, D, delta_bias, **_: loop_scan(
            u, delta, A, B, C, D, delta_bias
        )
        for module in ("mamba_ssm", "mamba_ssm.ops"):
            monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
        monkeypatch.setitem(sys.modules, interface.__name__, interface)
    package = pytest.importorskip("mambavision.models.mamba_vision", exc_type=ImportError)
    torch.manual_seed(0)
    theirs = getattr(package, f"mamba_vision_{name}")(pretrained=False).eval()
    with torch.no_grad():
        for own in (*theirs.parameters(), *theirs.buffers()):
            if own.is_floating_point():
                own.add_(torch.randn_like(own) * 0.01)
    ours = MambaVision(SIZES[name]).eval()
    official = theirs.state_dict()
    ours.load_state_dict({key: w for key, w in official.items() if not key.startswith(("head.", "norm."))})
    image = torch.randn(1, 3, *shape)
    with torch.inference_mode():
        expected = theirs(image)
        logits = theirs.head(torch.flatten(theirs.avgpool(theirs.norm(ours(image)[-1])), 1))
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
