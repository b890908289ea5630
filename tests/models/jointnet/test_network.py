"""The two halves of SAR-JointNet, what joins them, and which stage moves what."""

import pytest
import torch

from ingest.errors import UsageError
from models.jointnet.network import build_jointnet, encode, feature_widths, trainable
from models.jointnet.options import JointArchitecture, JointOptions
from models.training.options import changed

SMALL = JointArchitecture(channels=(16, 24, 32), layers_per_block=1, head_channels=8, norm_groups=8)


@pytest.fixture(scope="module")
def joint():
    torch.manual_seed(1)
    return build_jointnet(SMALL)


def noisy(batch=2, size=16, classes=2):
    torch.manual_seed(7)
    return torch.randn(batch, 1, size, size), torch.randn(batch, classes, size, size), torch.tensor([3, 900])[:batch]


@pytest.mark.parametrize("architecture", [SMALL, JointArchitecture("joint", (8, 16), 2, 0, 8, 8, classes=5)])
def test_a_fresh_joint_model_equals_its_two_halves(architecture):
    torch.manual_seed(2)
    joint = build_jointnet(architecture)
    x_t, y_t, t = noisy(classes=architecture.classes)
    with torch.no_grad():
        x_0, y_0 = joint(x_t, y_t, t)
        torch.testing.assert_close(x_0, joint.sar_net(x_t, t).sample)
        torch.testing.assert_close(y_0, joint.label_net(y_t, t).sample)


def test_halves_exchange_features_at_the_input_and_every_level(joint):
    """Each exchange layer alone, once it is not zero, changes the other half's prediction and not its own half's."""
    x_t, y_t, t = noisy()
    with torch.no_grad():
        x_0, y_0 = joint(x_t, y_t, t)
        for exchange, changed, kept in ((joint.labels_to_sar, 0, 1), (joint.sar_to_labels, 1, 0)):
            for layer in (exchange.input, *exchange.convolutions):
                layer.bias.fill_(0.1)
                after = joint(x_t, y_t, t)
                layer.bias.zero_()
                assert (after[changed] - (x_0, y_0)[changed]).abs().max() > 1e-4
                if layer is not exchange.input:  # what comes in there travels along the skips too
                    torch.testing.assert_close(after[kept], (x_0, y_0)[kept])


def test_every_skip_and_the_middle_has_its_exchange(joint):
    x_t, _, t = noisy()
    with torch.no_grad():
        features = encode(joint.sar_net, x_t, joint.sar_net.time_embedding(joint.sar_net.time_proj(t)))
    assert [f.shape[1] for f in features] == feature_widths(SMALL)
    assert len(joint.labels_to_sar.convolutions) == len(joint.sar_to_labels.convolutions) == len(features)
    assert {f.shape[-1] for f in features} == {16, 8, 4}


def test_all_that_joins_begins_at_zero(joint):
    for exchange in (joint.labels_to_sar, joint.sar_to_labels):
        assert all(not parameter.any() for parameter in exchange.parameters())


def test_label_net_begins_with_sar_nets_weights_but_for_its_ends():
    torch.manual_seed(3)
    joint = build_jointnet(SMALL)
    ends = {name: tensor.clone() for name, tensor in joint.label_net.state_dict().items() if name.startswith("conv_")}
    joint.begin_label_net()
    learnt = joint.sar_net.state_dict()
    same = 0
    for name, tensor in joint.label_net.state_dict().items():
        if name.startswith(("conv_in.", "conv_out.")):
            torch.testing.assert_close(tensor, ends[name])
        else:
            torch.testing.assert_close(tensor, learnt[name])
            assert tensor.data_ptr() != learnt[name].data_ptr()
            same += 1
    assert same > 50
    assert joint.label_net.conv_in.in_channels == joint.label_net.conv_out.out_channels == SMALL.classes


def test_the_stages_name_what_they_move(joint):
    parts = {
        1: {"sar_net"},
        2: {"label_net", "labels_to_sar", "sar_to_labels"},
        3: {"sar_net", "label_net", "labels_to_sar", "sar_to_labels"},
    }
    names = {id(parameter): name for name, parameter in joint.named_parameters()}
    for stage, moved in parts.items():
        chosen = {names[id(parameter)] for parameter in trainable(joint, stage)}
        assert chosen == {name for name in names.values() if name.split(".")[0] in moved}


def test_concatenated_channels_are_one_unet():
    network = build_jointnet(JointArchitecture("concatenated", (16, 24), 1, 1, 8, 8))
    x_t, y_t, t = noisy()
    with torch.no_grad():
        x_0, y_0 = network(x_t, y_t, t)
        both = network.unet(torch.cat([x_t, y_t], dim=1), t).sample
    torch.testing.assert_close(torch.cat([x_0, y_0], dim=1), both)
    assert x_0.shape == x_t.shape
    assert y_0.shape == y_t.shape


def test_an_unknown_kind_is_one_line():
    with pytest.raises(UsageError, match="known are joint, concatenated"):
        build_jointnet(JointArchitecture(kind="latent"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"channels": (30, 60)}, "multiples of norm_groups"),
        ({"crop": 100}, "divisible by 2 at every level"),
        ({"b": 0.0}, "above 0"),
        ({"kind": "latent"}, "one of joint, concatenated"),
        ({"label_loss": "dice"}, "one of cross-entropy, l2"),
        ({"batch_size": 9, "accumulate": 2}, "multiple of devices x accumulate = 2"),
        ({"steps": (0, 0, 0)}, "three numbers"),
        ({"steps": 5}, "a list of whole numbers"),
        ({"steps": (1.5, 1, 1)}, "a list of whole numbers"),
        ({"kind": "concatenated", "steps": (5, 5, 0)}, "above 0 in stage 3"),
        ({"crop": "256"}, "it must be int"),
        ({"crop": 8}, "at least 16"),
        ({"b": "auto"}, "it must be float"),
        ({"half_precision": 1}, "it must be bool"),
        ({"channels": ()}, "multiples of norm_groups"),
        ({"head_channels": 1024}, "at most 512"),
        ({"dropout": 1.0}, "below 1"),
        ({"average_decay": 1.5}, "below 1"),
        ({"memory_gb": 0.0}, "above 0"),
        *(({name: -1}, "at least") for name in ("seed", "warm_up", "workers", "learning_rate", "weight_decay")),
        *(
            ({name: 0}, "at least 1")
            for name in ("batch_size", "devices", "accumulate", "save_every", "timesteps", "threads", "norm_groups")
        ),
    ],
)
def test_impossible_options_are_refused(wrong, said):
    with pytest.raises(UsageError, match=said):
        changed(JointOptions(), **wrong)
