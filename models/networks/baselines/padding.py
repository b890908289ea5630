"""Images of any size through networks that want a multiple of their stride."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F


def at_multiple_of(stride: int, network: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Repeat the image's last line and column up to a multiple of the stride, and crop what comes out.

    image (B, in_channels, H, W) to (B, classes, H, W).
    """
    lines, pixels = image.shape[-2:]
    below, right = -lines % stride, -pixels % stride
    padded = F.pad(image, (0, right, 0, below), mode="replicate") if below or right else image
    return network(padded)[..., :lines, :pixels]
