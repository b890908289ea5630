"""Context-Aware Feature Transfer, the skip module of SAROSS-Net (DAKD paper, section 3.3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _projection(inputs: int, outputs: int) -> nn.Sequential:
    """1x1 then depthwise 3x3 convolution, as in Restormer's transposed attention (arXiv 2111.09881)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs, bias=False),
    )


class CAFT(nn.Module):
    """Transfer from the high-resolution features what the low-resolution features query.

    Query: the upsampled low-resolution map; key and value: the high-resolution map; attention between
    channels, so its cost is linear in the number of pixels. The paper leaves widths and heads open;
    docs/decisions/0002-caft.md says what was chosen and why.
    """

    def __init__(self, high_channels: int, low_channels: int, heads: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.query = _projection(low_channels, high_channels)
        self.key_value = _projection(high_channels, 2 * high_channels)
        self.out = nn.Conv2d(high_channels, high_channels, 1, bias=False)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """high (B, C, H, W), low (B, C', h, w) with h, w smaller; returns (B, C, H, W)."""
        B, C, H, W = high.shape
        low = F.interpolate(low, size=(H, W), mode="bilinear", align_corners=False)
        q, k, v = (
            x.reshape(B, self.heads, C // self.heads, H * W)
            for x in (self.query(low), *self.key_value(high).chunk(2, dim=1))
        )
        # Dividing the C x C map by the norms is normalising q and k, without two more (H W)-sized arrays.
        norms = q.float().norm(dim=-1).unsqueeze(-1) * k.float().norm(dim=-1).unsqueeze(-2)
        similarity = (q @ k.transpose(-2, -1)).float() / norms.clamp_min(1e-6)
        attention = (similarity * self.temperature).softmax(dim=-1).to(v.dtype)
        result: Tensor = high + self.out((attention @ v).reshape(B, C, H, W))
        return result
