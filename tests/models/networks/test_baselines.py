"""The networks SAROSS-Net is compared with: sizes, wiring, any input size, gradients everywhere.

Without the extra `baselines` only what needs no library is tested.
"""

import importlib.util
import socket
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ingest.errors import UsageError
from models.classes import IGNORE, NOT_OIL, OIL
from models.networks.architecture import Architecture
from models.networks.baselines.cbdnet import Context, SpatialChannelExcitation, boundary_loss
from models.networks.baselines.deeplabv2 import DeepLabV2
from models.networks.baselines.library import at_multiple_of
from models.networks.build import NETWORKS, build_network
from models.training.losses import cross_entropy
from tests.support import vision_ops  # noqa: F401 - before anything that imports torchvision

RIVALS = sorted(set(NETWORKS) - {"saross"})
SMALL = dict.fromkeys(RIVALS, "resnet18") | {"segformer": "mit_b0"}
needs_library = pytest.mark.skipif(
    importlib.util.find_spec("segmentation_models_pytorch") is None,
    reason="segmentation-models-pytorch is not installed: pip install 'slickwatch[baselines]'",
)


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_):
        raise AssertionError("a network is made without the internet")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_the_rivals_are_those_of_the_comparison():
    convolutional = {"unet", "unet++", "linknet", "pspnet", "deeplabv2", "deeplabv2-msc", "deeplabv3+", "cbdnet"}
    assert set(RIVALS) == convolutional | {"segformer"}


@needs_library
@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize(("in_channels", "classes"), [(1, 5), (3, 2)])
def test_logits_have_the_size_of_the_input(name, in_channels, classes, offline):
    network = build_network(Architecture(name, SMALL[name], in_channels, classes)).eval()
    with torch.inference_mode():
        for size in [(96, 96), (75, 110), (32, 33)]:
            logits = network(torch.randn(2, in_channels, *size))
            assert logits.shape == (2, classes, *size)
            assert torch.isfinite(logits).all()


@needs_library
@pytest.mark.parametrize("name", RIVALS)
def test_every_parameter_learns(name):
    torch.manual_seed(0)
    network = build_network(Architecture(name, SMALL[name]))
    network(torch.randn(2, 1, 96, 96)).square().mean().backward()
    idle = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


def conv(kernel, inputs, outputs):
    return kernel * kernel * inputs * outputs + outputs


# From the authors' widths: ResNet-34 without its classifier, scSE, context, four decoder blocks and the head. Each
# decoder convolution has a bias in the authors' program and a batch norm of two numbers a channel after it.
CBDNET_MILLIONS = (
    21.798e6
    - 513_000
    + sum(c * c + c for c in (64, 128, 256, 512))
    + 4 * conv(3, 512, 512)
    + sum(
        conv(1, low, low // 4) + conv(3, low // 4, low // 4) + conv(1, low // 4, high) + 2 * (low // 2 + high)
        for low, high in ((512, 256), (256, 128), (128, 64), (64, 64))
    )
    + conv(4, 64, 32)
    + conv(3, 32, 32)
    + conv(3, 32, 1)
) / 1e6


@needs_library
@pytest.mark.parametrize(
    ("name", "encoder", "classes", "millions"),
    [
        ("unet", None, 1, 24.4),
        ("deeplabv3+", None, 1, 22.4),
        ("segformer", "mit_b0", 150, 3.8),  # arXiv 2105.15203, Table 1
        # ResNet-101 with its classifier has 44.55 M; four branches of 9 x 2048 x 21 weights take its place.
        ("deeplabv2", None, 21, 44.549 - 2.049 + 4 * (9 * 2048 + 1) * 21 / 1e6),
        ("cbdnet", None, 1, CBDNET_MILLIONS),
    ],
)
def test_sizes_are_those_published(name, encoder, classes, millions):
    network = build_network(Architecture(name, encoder, in_channels=3, classes=classes))
    assert parameters(network) / 1e6 == pytest.approx(millions, rel=0.015)


@needs_library
def test_pspnet_is_its_paper_s_all_stages_at_stride_8():
    encoder = build_network(Architecture("pspnet", "resnet18")).network.encoder
    assert encoder(torch.zeros(1, 1, 96, 96))[-1].shape == (1, 512, 12, 12)


@needs_library
def test_deeplabv2_classifies_dilated_features_at_stride_8():
    encoder = DeepLabV2(Architecture(encoder="resnet50")).encoder
    assert encoder(torch.zeros(1, 1, 96, 96))[-1].shape == (1, 2048, 12, 12)
    assert encoder.layer3[1].conv2.dilation == (2, 2)
    assert encoder.layer4[1].conv2.dilation == (4, 4)


@needs_library
def test_deeplabv2_sums_four_atrous_convolutions():
    network = DeepLabV2(Architecture(encoder="resnet18", classes=1))
    network.encoder = Features(512)
    for branch in network.aspp:
        torch.nn.init.ones_(branch.weight)
    image = torch.zeros(1, 1, 56, 56)
    image[..., 28, 28] = 1
    expected = np.zeros((56, 56))
    for rate in (6, 12, 18, 24):
        for i in (-rate, 0, rate):
            for j in (-rate, 0, rate):
                expected[28 + i, 28 + j] += 512
    np.testing.assert_allclose(network(image)[0, 0].detach().numpy(), expected, atol=1e-3)


class Features(torch.nn.Module):
    """Stands in for an encoder: the image itself, once for each channel."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, image):
        return [image.expand(-1, self.channels, -1, -1)]


@needs_library
def test_multi_scale_deeplabv2_takes_the_largest_logit_of_three_scales():
    torch.manual_seed(0)
    network = build_network(Architecture("deeplabv2-msc", "resnet18", in_channels=2)).eval()
    image = torch.randn(2, 2, 64, 96)
    resize = torch.nn.functional.interpolate
    with torch.inference_mode():
        logits = network(image).numpy()
        each = []
        for size in [(32, 48), (48, 72), (64, 96)]:
            small = network.network(resize(image, size=size, mode="bilinear", align_corners=False))
            each.append(resize(small, size=(64, 96), mode="bilinear", align_corners=False).numpy())
    np.testing.assert_allclose(logits, np.maximum(np.maximum(each[0], each[1]), each[2]), atol=1e-6)
    assert all((logits == scale).mean() > 0.05 for scale in each)


@needs_library
def test_cbdnet_learns_one_image():
    torch.manual_seed(0)
    network = build_network(Architecture("cbdnet", "resnet18"))
    labels = torch.zeros(2, 64, 64, dtype=torch.int64)
    labels[0, 10:40, 20:34] = OIL
    labels[1, 30:60, 5:40] = OIL
    image = torch.randn(2, 1, 64, 64) * 0.3 - (labels == OIL)[:, None].float()
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3)
    losses = []
    for _ in range(30):
        logits = network(image)
        loss = cross_entropy(logits, labels) + network.auxiliary_loss(labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    predicted = logits.argmax(1) == OIL
    truth = labels == OIL
    assert (predicted & truth).sum() / (predicted | truth).sum() > 0.8


@needs_library
def test_the_boundary_loss_is_that_of_the_last_forward_in_training():
    network = build_network(Architecture("cbdnet", "resnet18"))
    labels = torch.zeros(2, 64, 75, dtype=torch.int64)
    labels[:, 20:40, 20:40] = OIL
    image = torch.randn(2, 1, 64, 75)
    logits = network(image)
    assert network.auxiliary_loss(labels).item() == pytest.approx(0.5 * boundary_loss(logits, labels).item())
    network.eval()(image)
    with pytest.raises(RuntimeError, match="training mode"):
        network.auxiliary_loss(labels)


@needs_library
def test_only_cbdnet_has_a_loss_of_its_own():
    have = [name for name in NETWORKS if hasattr(build_network(Architecture(name, SMALL.get(name))), "auxiliary_loss")]
    assert have == ["cbdnet"]


@pytest.mark.parametrize("shape", [(2, 1, 3, 3), (1, 4, 5, 1)])
def test_scse_adds_channels_and_pixels_weighed(shape):
    x = torch.randn(*shape)
    c = shape[1]
    block = SpatialChannelExcitation(4)
    x = x.expand(-1, 4, -1, -1) if c == 1 else x
    squeeze, excite = block.channel[1].weight[:, :, 0, 0], block.channel[3].weight[:, :, 0, 0]
    means = x.mean(dim=(2, 3))
    by_channel = 1 / (1 + torch.exp(-(excite @ (squeeze @ means.T).clamp_min(0)))).T
    by_pixel = 1 / (1 + torch.exp(-torch.einsum("c,bchw->bhw", block.spatial[0].weight[0, :, 0, 0], x)))
    torch.testing.assert_close(block(x), x * by_channel[:, :, None, None] + x * by_pixel[:, None])


def test_context_sees_fifteen_features_around():
    block = Context(1)
    for layer in block.layers:
        torch.nn.init.ones_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    x = torch.zeros(1, 1, 41, 41)
    x[..., 20, 20] = 1
    with torch.no_grad():
        seen = block(x)[0, 0].numpy()
    # Paths of 0, 1, 2, 3 and 4 convolutions, each with all its 3 x 3 taps.
    assert seen.sum() == 1 + 9 + 9**2 + 9**3 + 9**4
    lines, pixels = np.nonzero(seen)
    assert (lines.min(), lines.max(), pixels.min(), pixels.max()) == (5, 35, 5, 35)


def logits_of(oil):
    """Logits (B, 2, H, W) whose softmax is the given probability of oil."""
    p = torch.as_tensor(np.asarray(oil), dtype=torch.float32).clamp(1e-7, 1 - 1e-7)
    return torch.stack([torch.zeros_like(p), torch.logit(p)], dim=1)


def boundary_f1(predicted, truth):
    """Of two boolean images: by erosion and dilation, where the loss takes maxima of probabilities."""
    square, wide = np.ones((3, 3), bool), np.ones((5, 5), bool)
    edges = [x & ~ndimage.binary_erosion(x, square, border_value=1) for x in (predicted, truth)]
    near = [ndimage.binary_dilation(x, wide) for x in edges]
    hit, found = (edges[0] & near[1]).sum(), (edges[1] & near[0]).sum()
    precision, recall = hit / max(edges[0].sum(), 1), found / max(edges[1].sum(), 1)
    return 2 * precision * recall / max(precision + recall, 1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_boundary_loss_is_one_minus_the_f1_of_boundaries(seed):
    rng = np.random.default_rng(seed)
    truth, predicted = (ndimage.gaussian_filter(rng.standard_normal((2, 24, 31)), (0, 2, 2)) > 0.05 for _ in range(2))
    expected = np.mean([1 - boundary_f1(p, t) for p, t in zip(predicted, truth, strict=True)])
    loss = boundary_loss(logits_of(predicted), torch.from_numpy(truth).long())
    assert loss.item() == pytest.approx(expected, abs=1e-3)


def test_a_boundary_two_pixels_off_is_found_and_one_three_pixels_off_is_not():
    labels = torch.zeros(1, 40, 40, dtype=torch.int64)
    labels[:, 10:, :] = OIL
    oil = np.zeros((2, 1, 40, 40))
    oil[0, :, 12:], oil[1, :, 13:] = 1, 1
    assert boundary_loss(logits_of(oil[0]), labels).item() == pytest.approx(0, abs=1e-3)
    assert boundary_loss(logits_of(oil[1]), labels).item() == pytest.approx(1, abs=1e-3)


def test_images_without_an_oil_boundary_do_not_count():
    labels = torch.zeros(2, 16, 16, dtype=torch.int64)
    logits = torch.randn(2, 5, 16, 16, requires_grad=True)
    loss = boundary_loss(logits, labels)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()
    labels[1, 4:9, 4:9] = OIL
    assert boundary_loss(logits, labels).item() == pytest.approx(boundary_loss(logits[1:], labels[1:]).item())


def test_no_data_makes_no_boundary_and_not_oil_is_as_good_as_sea():
    labels = torch.zeros(1, 20, 20, dtype=torch.int64)
    labels[:, 5:15, 5:15] = OIL
    partial = torch.where(labels == OIL, OIL, NOT_OIL)
    logits = torch.randn(1, 5, 20, 20)
    assert torch.equal(boundary_loss(logits, labels), boundary_loss(logits, partial))
    assert boundary_loss(logits, torch.where(labels == OIL, OIL, IGNORE)).item() == 0


def test_boundaries_predicted_where_nothing_is_known_cost_nothing():
    labels = torch.zeros(1, 20, 40, dtype=torch.int64)
    labels[:, 5:15, 5:15] = OIL
    labels[:, :, 20:] = IGNORE
    oil = np.zeros((1, 20, 40))
    oil[:, 5:15, 5:15] = oil[:, 5:15, 25:35] = 1
    assert boundary_loss(logits_of(oil), labels).item() == pytest.approx(0, abs=1e-3)


@settings(max_examples=50, deadline=None)
@given(
    stride=st.sampled_from([8, 16, 32]), lines=st.integers(32, 70), pixels=st.integers(32, 70), batch=st.integers(1, 2)
)
def test_padding_is_cropped_again(stride, lines, pixels, batch):
    image = torch.randn(batch, 1, lines, pixels)
    seen = []

    def network(x):
        seen.append(x)
        return 2 * x

    assert torch.equal(at_multiple_of(stride, network, image), 2 * image)
    padded = seen[0]
    assert padded.shape[-2] % stride == padded.shape[-1] % stride == 0
    assert max(padded.shape[-2] - lines, padded.shape[-1] - pixels) < stride
    assert torch.equal(padded[..., -1, :pixels], image[..., -1, :])
    assert torch.equal(padded[..., :lines, -1], image[..., -1])


def test_an_unknown_network_is_named_with_those_known():
    with pytest.raises(UsageError) as error:
        build_network(Architecture("fcn"))
    assert str(error.value).startswith("fcn: no such network; known are cbdnet, deeplabv2")
    assert "\n" not in str(error.value)


@needs_library
@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize("encoder", ["resnet-nope", "tu-nope", "timm-efficientnet-b0"])
def test_an_unknown_encoder_is_named_with_some_known(name, encoder):
    with pytest.raises(UsageError, match="resnet34") as error:
        build_network(Architecture(name, encoder))
    assert str(error.value).startswith(f"{encoder}: no such encoder; known are ")
    assert "\n" not in str(error.value)


@needs_library
@pytest.mark.parametrize(
    ("name", "encoder"),
    [("pspnet", "mit_b0"), ("deeplabv2", "mit_b0"), ("deeplabv3+", "vgg11"), ("deeplabv2", "vgg11"),
     ("unet++", "mit_b0"), ("cbdnet", "mobilenet_v2")],
)  # fmt: skip
def test_an_encoder_that_does_not_fit_is_refused(name, encoder):
    with pytest.raises(UsageError, match="resnet") as error:
        build_network(Architecture(name, encoder))
    assert str(error.value).startswith(f"{encoder}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", RIVALS)
def test_without_the_library_one_line_says_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(UsageError) as error:
        build_network(Architecture(name))
    assert str(error.value).endswith("; pip install 'slickwatch[baselines]'")
    assert "\n" not in str(error.value)


def test_a_torchvision_of_another_torch_is_explained(monkeypatch, tmp_path):
    text = "raise RuntimeError('operator torchvision::nms does not exist\\nmore')"
    (tmp_path / "segmentation_models_pytorch.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "segmentation_models_pytorch", raising=False)
    with pytest.raises(UsageError) as error:
        build_network(Architecture("unet"))
    expected = "torchvision: cannot be imported (operator torchvision::nms does not exist); install the build"
    assert str(error.value).startswith(expected)
