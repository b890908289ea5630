"""Baselines and encoders from segmentation-models-pytorch, installed with the extra `baselines`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ingest.errors import UsageError
from models.networks.architecture import Architecture

SOME_ENCODERS = "resnet18, resnet34, resnet101, mobilenet_v2, efficientnet-b0, mit_b0"


@dataclass(frozen=True)
class LibraryModel:
    """A class of the library, with the settings that make it the network of its paper; calling it builds one."""

    name: str
    encoder: str = "resnet34"  # if the architecture names none
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, architecture: Architecture) -> nn.Module:
        """Build it with random weights. Raises `UsageError` for an encoder that is unknown or does not fit."""
        library = segmentation_models()
        encoder = architecture.encoder or self.encoder
        _check_known(library, encoder)
        try:
            network = getattr(library, self.name)(
                encoder_name=encoder,
                encoder_weights=None,
                in_channels=architecture.in_channels,
                classes=architecture.classes,
                **self.settings,
            )
        except (ValueError, NotImplementedError) as error:
            raise _unfit(encoder, self.name) from error
        if network.encoder.output_stride < 32:
            _check_dilated(encoder, network.encoder)
        return AnySize(network, network.encoder.output_stride)


class AnySize(nn.Module):
    """A network of the library, also for image sizes that are not multiples of its encoder's stride."""

    def __init__(self, network: nn.Module, stride: int) -> None:
        super().__init__()
        self.network, self.stride = network, stride

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_channels, H, W) to logits (B, classes, H, W)."""
        return at_multiple_of(self.stride, self.network, image)


def make_encoder(name: str, in_channels: int, output_stride: int = 32) -> Any:
    """Make an encoder with random weights: image to features at strides 1, 2, 4, 8, 16, 32, or dilated from some on.

    It has `out_channels`, one number per feature. Raises `UsageError` for one that is unknown, or that
    cannot be dilated if `output_stride` requires it.
    """
    library = segmentation_models()
    _check_known(library, name)
    try:
        encoder = library.encoders.get_encoder(name, in_channels=in_channels, output_stride=output_stride)
    except (ValueError, NotImplementedError) as error:
        raise _unfit(name, f"an output stride of {output_stride}") from error
    if output_stride < 32:
        _check_dilated(name, encoder)
    return encoder


def segmentation_models() -> Any:
    """Import segmentation-models-pytorch; raises `UsageError` if that fails."""
    try:
        import segmentation_models_pytorch
    except ImportError as error:
        raise UsageError(
            "segmentation-models-pytorch", f"is not installed ({error})", "pip install 'slickwatch[baselines]'"
        ) from None
    except RuntimeError as error:  # from a torchvision built for another torch
        problem = f"cannot be imported ({str(error).splitlines()[0]})"
        raise UsageError("torchvision", problem, "install the build that belongs to the torch installed") from error
    return segmentation_models_pytorch


def _check_known(library: Any, encoder: str) -> None:
    # Names with "timm-" are deprecated, and the library warns about them; those with "tu-" are any timm network.
    if encoder.startswith("tu-"):
        import timm

        known = timm.is_model(encoder.removeprefix("tu-").split(".")[0])
    else:
        known = encoder in library.encoders.get_encoder_names() and not encoder.startswith("timm-")
    if not known:
        raise UsageError(encoder, "no such encoder", f"known are {SOME_ENCODERS}, and others of the library")


def _check_dilated(name: str, encoder: nn.Module) -> None:
    # The library "dilates" every convolution of a stage, which makes no sense in attention layers.
    if name.startswith("mit_"):
        raise _unfit(name, f"an output stride of {encoder.output_stride}")


def _unfit(encoder: str, use: str) -> UsageError:
    return UsageError(encoder, f"does not work with {use}", "try resnet34 or mobilenet_v2")


def at_multiple_of(stride: int, network: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Repeat the image's last line and column up to a multiple of the stride, and crop the output.

    image (B, in_channels, H, W) to (B, classes, H, W).
    """
    lines, pixels = image.shape[-2:]
    below, right = -lines % stride, -pixels % stride
    padded = F.pad(image, (0, right, 0, below), mode="replicate") if below or right else image
    return network(padded)[..., :lines, :pixels]
