"""EfficientNet-Lite0 as an encoder: its pyramid, its names, and SAROSS-Net upon it."""

import pytest
import torch

from ingest.errors import UsageError
from models.networks.architecture import Architecture
from models.networks.build import build_network
from models.networks.efficientnet import EfficientNetLite0
from models.networks.saross import SAROSSNet


@pytest.mark.parametrize("size", [(64, 64), (70, 99)])
def test_the_pyramid_halves_the_grid_five_times(size):
    encoder = EfficientNetLite0(1).eval()
    with torch.inference_mode():
        pyramid = encoder(torch.randn(2, 1, *size))
    assert [level.shape[1] for level in pyramid] == [16, 24, 40, 112, 320]
    for stride, level in zip((2, 4, 8, 16, 32), pyramid, strict=True):
        assert level.shape[2:] == tuple(-(-n // stride) for n in size)


def test_parameters_have_the_published_names_and_number():
    encoder = EfficientNetLite0(3)
    names = set(encoder.state_dict())
    assert {"_conv_stem.weight", "_blocks.0._depthwise_conv.weight", "_blocks.15._bn2.weight", "_bn1.bias"} <= names
    assert len(names) == 294  # of the published 296, less the classifier's two
    assert sum(p.numel() for p in encoder.parameters()) + 1281 * 1000 == 4_652_008  # as in the Lite0 release


def test_saross_net_weighs_oil_by_its_surroundings():
    network = build_network(Architecture("saross", "lite0", presence=True)).eval()
    assert isinstance(network, SAROSSNet)
    assert network.presence is not None
    image = torch.randn(1, 1, 96, 64)
    with torch.inference_mode():
        network.presence.classifier.bias.fill_(20.0)
        sure = network(image)
        network.presence.classifier.bias.fill_(-20.0)
        doubtful = network(image)
    assert sure.shape == (1, 5, 96, 64)
    assert (doubtful[:, 1] < sure[:, 1] - 10).all()
    torch.testing.assert_close(doubtful[:, 0], sure[:, 0])


def test_presence_needs_an_encoder_with_a_classifier():
    with pytest.raises(UsageError, match="lite0"):
        build_network(Architecture("saross", "resnet34", presence=True))


def test_early_blocks_can_be_frozen():
    encoder = EfficientNetLite0(1)
    encoder.freeze(4)
    frozen = {name for name, p in encoder.named_parameters() if not p.requires_grad}
    assert "_conv_stem.weight" in frozen
    assert "_blocks.2._project_conv.weight" in frozen
    assert not any(name.startswith("_blocks.3.") for name in frozen)
