"""SAR-JointNet: two UNets, SAR-Net for images and Label-Net for labels, that exchange features (DAKD, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ingest.errors import UsageError
from models.jointnet.options import JointArchitecture

UNet = Any  # diffusers' UNet2DModel, whose parts have no types
Prediction = tuple[Tensor, Tensor]  # x0 (B, 1, H, W) and what was predicted of the labels (B, C, H, W)


def build_unet(architecture: JointArchitecture, channels: int) -> UNet:
    """Make one UNet of diffusers with random weights, `channels` in and out; H and W a multiple of `divisor`."""
    from diffusers import UNet2DModel

    depth = len(architecture.channels)
    attention = [level >= depth - architecture.attention_levels for level in range(depth)]
    return UNet2DModel(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=architecture.channels,
        layers_per_block=architecture.layers_per_block,
        down_block_types=tuple("AttnDownBlock2D" if one else "DownBlock2D" for one in attention),
        up_block_types=tuple("AttnUpBlock2D" if one else "UpBlock2D" for one in reversed(attention)),
        norm_num_groups=architecture.norm_groups,
        attention_head_dim=architecture.head_channels,
        dropout=architecture.dropout,
    )


class SARJointNet(nn.Module):
    """SAR-Net and Label-Net, joined at the input, every skip and the middle by convolutions that begin at zero.

    A fresh joint model therefore predicts exactly what its two halves do alone.
    """

    def __init__(self, architecture: JointArchitecture) -> None:
        super().__init__()
        self.sar_net = build_unet(architecture, 1)
        self.label_net = build_unet(architecture, architecture.classes)
        widths = feature_widths(architecture)
        self.labels_to_sar = Exchange(architecture.classes, widths)
        self.sar_to_labels = Exchange(1, widths)

    def forward(self, x_t: Tensor, y_t: Tensor, t: Tensor) -> Prediction:
        """Noisy image (B, 1, H, W) and scaled labels (B, C, H, W) at steps t (B,) to x0 and the labels' logits."""
        sar_time, label_time = _time_embedding(self.sar_net, t), _time_embedding(self.label_net, t)
        sar = encode(self.sar_net, x_t, sar_time, self.labels_to_sar.input(y_t))
        labels = encode(self.label_net, y_t, label_time, self.sar_to_labels.input(x_t))
        to_sar, to_labels = self.labels_to_sar.features(labels), self.sar_to_labels.features(sar)
        x_0 = decode(self.sar_net, [own + other for own, other in zip(sar, to_sar, strict=True)], sar_time)
        y_0 = decode(self.label_net, [own + other for own, other in zip(labels, to_labels, strict=True)], label_time)
        return x_0, y_0

    def begin_label_net(self) -> None:
        """Give Label-Net the weights of SAR-Net, all but its input and output layers (section 3.2.2, stage 2)."""
        own = self.label_net.state_dict()
        learnt = self.sar_net.state_dict()
        own.update({name: tensor.clone() for name, tensor in learnt.items() if not name.startswith(_ENDS)})
        self.label_net.load_state_dict(own)


class ConcatenatedNet(nn.Module):
    """One UNet for image and labels side by side as channels, as SatSynth has it: the DDPM row of Table 1."""

    def __init__(self, architecture: JointArchitecture) -> None:
        super().__init__()
        self.unet = build_unet(architecture, 1 + architecture.classes)

    def forward(self, x_t: Tensor, y_t: Tensor, t: Tensor) -> Prediction:
        """As `SARJointNet.forward`."""
        both = self.unet(torch.cat([x_t, y_t], dim=1), t).sample
        return both[:, :1], both[:, 1:]


class Exchange(nn.Module):
    """What one half hands to the other: its input by a 3 x 3, its features by 1 x 1 convolutions, all zero at first."""

    def __init__(self, channels: int, widths: list[int]) -> None:
        super().__init__()
        self.input = _zeroed(nn.Conv2d(channels, widths[0], 3, padding=1))
        self.convolutions = nn.ModuleList(_zeroed(nn.Conv2d(width, width, 1)) for width in widths)

    def features(self, given: list[Tensor]) -> list[Tensor]:
        """Features of every level, as `encode` returns them, to what is added to those of the other half."""
        return [convolution(one) for convolution, one in zip(self.convolutions, given, strict=True)]


NETWORKS: dict[str, Callable[[JointArchitecture], nn.Module]] = {
    "joint": SARJointNet,
    "concatenated": ConcatenatedNet,
}
_ENDS = ("conv_in.", "conv_out.")


def build_jointnet(architecture: JointArchitecture) -> nn.Module:
    """Make a network of `NETWORKS` with random weights. Raises `UsageError` for an unknown kind."""
    try:
        return NETWORKS[architecture.kind](architecture)
    except KeyError:
        raise UsageError(architecture.kind, "no such diffusion network", f"known are {', '.join(NETWORKS)}") from None


def trainable(network: nn.Module, stage: int) -> Iterator[nn.Parameter]:
    """The parameters that a stage moves (section 3.2.2).

    1: SAR-Net alone; 2: Label-Net and all that joins the two; 3: everything. A concatenated network has stage 3 alone.
    """
    if stage == 3:
        return network.parameters()
    assert isinstance(network, SARJointNet)
    moved = [network.sar_net] if stage == 1 else [network.label_net, network.labels_to_sar, network.sar_to_labels]
    return (parameter for module in moved for parameter in module.parameters())


def encode(unet: UNet, sample: Tensor, time: Tensor, joined: Tensor | float = 0.0) -> list[Tensor]:
    """Run a UNet down and through its middle; the skips from the finest on, and last the middle.

    `joined` is added behind the input layer.
    """
    sample = unet.conv_in(sample) + joined
    features = [sample]
    for block in unet.down_blocks:
        sample, skips = block(hidden_states=sample, temb=time)
        features += skips
    return [*features, unet.mid_block(sample, time)]


def decode(unet: UNet, features: list[Tensor], time: Tensor) -> Tensor:
    """Run a UNet up from features as `encode` gives them."""
    *skips, sample = features
    for block in unet.up_blocks:
        count = len(block.resnets)
        sample = block(sample, tuple(skips[-count:]), time)
        skips = skips[:-count]
    predicted: Tensor = unet.conv_out(unet.conv_act(unet.conv_norm_out(sample)))
    return predicted


def feature_widths(architecture: JointArchitecture) -> list[int]:
    """Channels of each feature map that `encode` returns."""
    channels, layers = architecture.channels, architecture.layers_per_block
    widths = [channels[0]]
    for level, width in enumerate(channels):
        downsampled = level < len(channels) - 1
        widths += [width] * (layers + downsampled)
    return [*widths, channels[-1]]


def _time_embedding(unet: UNet, t: Tensor) -> Tensor:
    embedding: Tensor = unet.time_embedding(unet.time_proj(t).to(unet.conv_in.weight.dtype))
    return embedding


def _zeroed(convolution: nn.Conv2d) -> nn.Conv2d:
    for parameter in convolution.parameters():
        nn.init.zeros_(parameter)
    return convolution
