"""The encoder, CAFT and SAROSS-Net: sizes as published, wiring, any input size, gradients everywhere."""

import pytest
import torch

from models.architecture import CLASSES, Architecture
from models.caft import CAFT
from models.mambavision import SIZES, MambaVision, from_windows, to_windows
from models.saross import SAROSSNet

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


@pytest.mark.parametrize("shape", [(64, 64), (65, 130), (33, 47), (32, 200)])
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
