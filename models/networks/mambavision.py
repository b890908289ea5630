"""The MambaVision encoder (Hatamizadeh and Kautz, arXiv 2407.08083).

Written from the paper, with the parameter names of NVIDIA's published checkpoints so that these load
strictly. It needs neither CUDA nor the package `mamba-ssm`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ingest.errors import UsageError
from models.networks.selective_scan import selective_scan


@dataclass(frozen=True)
class MambaVisionSize:
    """What varies between MambaVision sizes; level i has dim * 2**i channels at stride 4 * 2**i."""

    depths: tuple[int, int, int, int]
    dim: int
    stem: int  # channels at stride 2
    heads: tuple[int, int, int, int]
    layer_scale: bool = False
    windows: tuple[int, int] = (14, 7)  # at strides 16 and 32


SIZES = {
    "nano": MambaVisionSize((1, 2, 4, 2), 32, 24, (1, 2, 4, 8), windows=(8, 8)),  # ours, for two CPU cores
    "T": MambaVisionSize((1, 3, 8, 4), 80, 32, (2, 4, 8, 16)),
    "T2": MambaVisionSize((1, 3, 11, 4), 80, 32, (2, 4, 8, 16)),
    "S": MambaVisionSize((3, 3, 7, 5), 96, 64, (2, 4, 8, 16)),
    "B": MambaVisionSize((3, 3, 10, 5), 128, 64, (2, 4, 8, 16), layer_scale=True),
    "L": MambaVisionSize((3, 3, 10, 5), 196, 64, (4, 8, 16, 32), layer_scale=True),
}


def mambavision_size(name: str, windows: tuple[int, int] | None = None) -> MambaVisionSize:
    """Return a size by its name in `SIZES`, with other windows if given.

    No weight depends on position, so a checkpoint fits any windows; windows of 8 need no padding if the image
    size is a multiple of 256. Raises `UsageError` for an unknown name or invalid windows.
    """
    if name not in SIZES:
        raise UsageError(name, "no such MambaVision", f"known are {', '.join(SIZES)}")
    if windows is None:
        return SIZES[name]
    if len(windows) != 2 or min(windows) < 1:
        raise UsageError(f"windows {windows}", "not two positive sizes", "give those at strides 16 and 32, as (8, 8)")
    return replace(SIZES[name], windows=windows)


class Stem(nn.Module):
    """Two strided 3x3 convolutions, image to stride 4."""

    def __init__(self, in_channels: int, stem: int, dim: int) -> None:
        super().__init__()
        self.conv_down = nn.Sequential(
            nn.Conv2d(in_channels, stem, 3, 2, 1, bias=False),
            nn.BatchNorm2d(stem, eps=1e-4),
            nn.ReLU(),
            nn.Conv2d(stem, dim, 3, 2, 1, bias=False),
            nn.BatchNorm2d(dim, eps=1e-4),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features at stride 2 and at stride 4."""
        half = self.conv_down[:3](x)
        quarter: Tensor = self.conv_down[3:](half)
        return half, quarter


class ConvBlock(nn.Module):
    """Residual pair of 3x3 convolutions (MambaVision Eq. 1), levels 0 and 1."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, 1, 1)
        self.norm1 = nn.BatchNorm2d(dim, eps=1e-5)
        self.conv2 = nn.Conv2d(dim, dim, 3, 1, 1)
        self.norm2 = nn.BatchNorm2d(dim, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.norm1(self.conv1(x)), approximate="tanh")
        result: Tensor = x + self.norm2(self.conv2(y))
        return result


class MambaVisionMixer(nn.Module):
    """Two half-width branches, one through a selective scan and one without, concatenated (MambaVision Eq. 3-5)."""

    def __init__(self, dim: int, states: int = 8, kernel: int = 3) -> None:
        super().__init__()
        half = dim // 2
        self.states, self.rank = states, math.ceil(dim / 16)
        self.in_proj = nn.Linear(dim, dim, bias=False)
        self.conv1d_x = nn.Conv1d(half, half, kernel, groups=half, padding="same", bias=False)
        self.conv1d_z = nn.Conv1d(half, half, kernel, groups=half, padding="same", bias=False)
        self.x_proj = nn.Linear(half, self.rank + 2 * states, bias=False)
        self.dt_proj = nn.Linear(self.rank, half)
        self.A_log = nn.Parameter(torch.log(torch.arange(1, states + 1, dtype=torch.float32)).repeat(half, 1))
        self.D = nn.Parameter(torch.ones(half))
        self.out_proj = nn.Linear(dim, dim, bias=False)
        self._init_step_size()

    def _init_step_size(self, low: float = 1e-3, high: float = 0.1) -> None:
        """Start with step sizes spread log-uniformly between low and high (Mamba, section 3.6)."""
        nn.init.uniform_(self.dt_proj.weight, -(self.rank**-0.5), self.rank**-0.5)
        step = torch.exp(torch.rand(self.dt_proj.out_features) * math.log(high / low) + math.log(low))
        with torch.no_grad():
            self.dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))  # inverse of softplus

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length, dim) to the same."""
        x, z = self.in_proj(tokens).transpose(1, 2).chunk(2, dim=1)  # (B, dim/2, L) each
        x, z = F.silu(self.conv1d_x(x)), F.silu(self.conv1d_z(z))
        step, B, C = self.x_proj(x.transpose(1, 2)).split([self.rank, self.states, self.states], dim=-1)
        # The published weights were trained with this bias acting twice: in the projection and inside the scan.
        delta = self.dt_proj(step).transpose(1, 2)
        A = -torch.exp(self.A_log.float())
        y = selective_scan(x, delta, A, B.transpose(1, 2), C.transpose(1, 2), self.D, self.dt_proj.bias)
        result: Tensor = self.out_proj(torch.cat([y, z], dim=1).transpose(1, 2))
        return result


class Attention(nn.Module):
    """Multi-head self-attention inside a window."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        B, L, C = tokens.shape
        q, k, v = self.qkv(tokens).view(B, L, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)  # (B, heads, L, C / heads)
        result: Tensor = self.proj(y.transpose(1, 2).reshape(B, L, C))
        return result


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return result


class Block(nn.Module):
    """Token mixer and MLP, each pre-normalised and residual (MambaVision Eq. 2)."""

    def __init__(self, dim: int, mixer: nn.Module, layer_scale: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)
        self.gamma_1 = nn.Parameter(torch.full((dim,), 1e-5)) if layer_scale else 1.0
        self.gamma_2 = nn.Parameter(torch.full((dim,), 1e-5)) if layer_scale else 1.0

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.gamma_1 * self.mixer(self.norm1(x))
        result: Tensor = x + self.gamma_2 * self.mlp(self.norm2(x))
        return result


class Downsample(nn.Module):
    """Strided 3x3 convolution that halves the grid and doubles the channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Sequential(nn.Conv2d(dim, 2 * dim, 3, 2, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.reduction(x)
        return result


class Level(nn.Module):
    """Blocks at one stride: convolutional, or tokens of a window (mixers first, attention in the second half)."""

    def __init__(self, blocks: list[nn.Module], window: int | None, downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.window = window
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same; downsampling is left to the encoder, which needs the features before it."""
        if self.window is None:
            for block in self.blocks:
                x = block(x)
            return x
        tokens, padded = to_windows(x, self.window)
        for block in self.blocks:
            tokens = block(tokens)
        return from_windows(tokens, self.window, padded)[..., : x.shape[-2], : x.shape[-1]]

    def down(self, x: Tensor) -> Tensor:
        """Go from this level's grid to the next one's; the last level has none to go to."""
        return x if self.downsample is None else self.downsample(x)


def to_windows(x: Tensor, window: int) -> tuple[Tensor, tuple[int, int, int, int]]:
    """(B, C, H, W), zero-padded at right and bottom, to (B * windows, window**2, C), and the padded shape."""
    x = F.pad(x, (0, -x.shape[-1] % window, 0, -x.shape[-2] % window))
    B, C, H, W = x.shape
    tiles = x.view(B, C, H // window, window, W // window, window).permute(0, 2, 4, 3, 5, 1)
    return tiles.reshape(-1, window * window, C), (B, C, H, W)


def from_windows(tokens: Tensor, window: int, shape: tuple[int, int, int, int]) -> Tensor:
    """Undo `to_windows`, padding kept."""
    B, C, H, W = shape
    tiles = tokens.view(B, H // window, W // window, window, window, C)
    return tiles.permute(0, 5, 1, 3, 2, 4).reshape(B, C, H, W)


class MambaVision(nn.Module):
    """Image to a pyramid of features at strides 2, 4, 8, 16 and 32."""

    def __init__(self, size: MambaVisionSize, in_channels: int = 3) -> None:
        super().__init__()
        self.channels = (size.stem, *(size.dim * 2**i for i in range(4)))
        self.patch_embed = Stem(in_channels, size.stem, size.dim)
        self.levels = nn.ModuleList(_level(size, i) for i in range(4))

    def forward(self, x: Tensor) -> list[Tensor]:
        half, x = self.patch_embed(x)
        pyramid = [half]
        for level in cast("Iterable[Level]", self.levels):
            x = level(x)
            pyramid.append(x)
            x = level.down(x)
        return pyramid


def _level(size: MambaVisionSize, i: int) -> Level:
    dim, depth = size.dim * 2**i, size.depths[i]
    downsample = Downsample(dim) if i < 3 else None
    if i < 2:
        return Level([ConvBlock(dim) for _ in range(depth)], None, downsample)
    first_attention = depth // 2 + depth % 2
    mixers = [MambaVisionMixer(dim) if j < first_attention else Attention(dim, size.heads[i]) for j in range(depth)]
    return Level([Block(dim, mixer, size.layer_scale) for mixer in mixers], size.windows[i - 2], downsample)
