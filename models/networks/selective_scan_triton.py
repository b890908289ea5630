"""The selective scan as Triton kernels, one program per batch element and block of channels.

The state of the block stays in registers; forward reads its inputs once, and keeps the states in memory only
where a gradient is wanted. Importing this module requires the package `triton`.
"""

# Triton may be absent where types are checked, and its decorators are partly untyped where it is not.
# mypy: disable-error-code="import-not-found,untyped-decorator,no-untyped-def,unused-ignore"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 32  # channels of a program


@triton.jit
def _softplus(x: Any) -> Any:
    # log(1 + e) loses the small steps that matter most; times e / ((1 + e) - 1) the rounding of 1 + e cancels.
    e = tl.exp(-tl.abs(x))
    w = 1.0 + e
    return tl.maximum(x, 0.0) + tl.where(w == 1.0, e, tl.log(w) * e / tl.where(w == 1.0, 1.0, w - 1.0))


@triton.jit
def _forward_kernel(
    u, delta, A, B, C, D, bias, y, states, length, channels, N: tl.constexpr, NP: tl.constexpr, BLOCK: tl.constexpr,
    KEEP: tl.constexpr,
):  # fmt: skip
    batch, c, n = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, NP)
    inside = c < channels
    grid = inside[:, None] & (n < N)[None, :]
    a = tl.load(A + c[:, None] * N + n[None, :], grid, 0.0)
    d, b = tl.load(D + c, inside, 0.0), tl.load(bias + c, inside, 0.0)
    h = tl.zeros((BLOCK, NP), tl.float32)
    for t in range(length):
        at = (batch * length + t).to(tl.int64)
        x = tl.load(u + at * channels + c, inside, 0.0).to(tl.float32)
        step = _softplus(tl.load(delta + at * channels + c, inside, 0.0).to(tl.float32) + b)
        Bt = tl.load(B + at * N + n, n < N, 0.0).to(tl.float32)
        Ct = tl.load(C + at * N + n, n < N, 0.0).to(tl.float32)
        h = tl.exp(step[:, None] * a) * h + (step * x)[:, None] * Bt[None, :]
        if KEEP:
            tl.store(states + (at * channels + c)[:, None] * N + n[None, :], h, grid)
        tl.store(y + at * channels + c, tl.sum(h * Ct[None, :], 1) + d * x, inside)


@triton.jit
def _backward_kernel(
    u, delta, A, B, C, D, bias, states, grad_y, grad_u, grad_delta, grad_A, grad_B, grad_C, length, channels,
    N: tl.constexpr, NP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    batch, block, n = tl.program_id(0), tl.program_id(1), tl.arange(0, NP)
    c = block * BLOCK + tl.arange(0, BLOCK)
    inside, some = c < channels, n < N
    grid = inside[:, None] & some[None, :]
    a = tl.load(A + c[:, None] * N + n[None, :], grid, 0.0)
    d, b = tl.load(D + c, inside, 0.0), tl.load(bias + c, inside, 0.0)
    g = tl.zeros((BLOCK, NP), tl.float32)  # gradient of the state from later steps
    sum_A = tl.zeros((BLOCK, NP), tl.float32)
    for i in range(length):
        at = (batch * length + length - 1 - i).to(tl.int64)
        x = tl.load(u + at * channels + c, inside, 0.0).to(tl.float32)
        raw = tl.load(delta + at * channels + c, inside, 0.0).to(tl.float32) + b
        dy = tl.load(grad_y + at * channels + c, inside, 0.0).to(tl.float32)
        Bt, Ct = tl.load(B + at * N + n, some, 0.0).to(tl.float32), tl.load(C + at * N + n, some, 0.0).to(tl.float32)
        cell = (at * channels + c)[:, None] * N + n[None, :]
        h = tl.load(states + cell, grid, 0.0)
        # The first step has no state before it, and what lies before it in memory is another element's.
        before = tl.load(states + cell - channels * N, grid & (cell >= (batch * length + 1) * channels * N), 0.0)
        step = _softplus(raw)
        decay = tl.exp(step[:, None] * a)
        g += dy[:, None] * Ct[None, :]
        # Programs of other channels share B and C: each writes its part, added up afterwards.
        part = (at * tl.num_programs(1) + block) * N + n
        tl.store(grad_C + part, tl.sum(h * dy[:, None], 0), some)
        tl.store(grad_B + part, tl.sum(g * (step * x)[:, None], 0), some)
        drive = tl.sum(g * Bt[None, :], 1)  # dL/d(step x)
        tl.store(grad_u + at * channels + c, drive * step + d * dy, inside)
        w = g * decay * before  # dL/d(step A)
        sum_A += w * step[:, None]
        slope = 1.0 / (1.0 + tl.exp(-tl.maximum(raw, -80.0)))  # of softplus
        tl.store(grad_delta + at * channels + c, (drive * x + tl.sum(w * a, 1)) * slope, inside)
        g = g * decay
    tl.store(grad_A + (batch * channels + c)[:, None] * N + n[None, :], sum_A, grid)


def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
    """Run the scan of `models.networks.selective_scan.selective_scan`, with the state in float32."""
    values = (x.transpose(1, 2).contiguous() for x in (u, delta, B, C))  # (batch, L, .): neighbours in one load
    u_, delta_, B_, C_ = values
    weights = (x.float().contiguous() for x in (A, D, delta_bias))
    y: Tensor = _TritonScan.apply(u_, delta_, *weights, B_, C_)  # type: ignore[no-untyped-call]
    return y.transpose(1, 2)


class _TritonScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, delta: Tensor, A: Tensor, D: Tensor, bias: Tensor, B: Tensor, C: Tensor) -> Tensor:
        batch, length, channels = u.shape
        keep = any(ctx.needs_input_grad)
        y = torch.empty_like(u)
        states = u.new_empty((*u.shape, A.shape[1]) if keep else 1, dtype=torch.float32)
        sizes = _sizes(A)
        _forward_kernel[(batch, triton.cdiv(channels, BLOCK))](
            u, delta, A, B, C, D, bias, y, states, length, channels, **sizes, KEEP=keep
        )
        ctx.save_for_backward(u, delta, A, D, bias, B, C, states)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, ...]:
        u, delta, A, D, bias, B, C, states = ctx.saved_tensors
        grad_y = grad_y.contiguous()
        batch, length, channels = u.shape
        blocks = triton.cdiv(channels, BLOCK)
        grad_u, grad_delta = (torch.empty_like(u, dtype=torch.float32) for _ in range(2))
        grad_A = A.new_empty(batch, *A.shape)
        grad_B, grad_C = (A.new_empty(batch, length, blocks, A.shape[1]) for _ in range(2))
        _backward_kernel[(batch, blocks)](
            u, delta, A, B, C, D, bias, states, grad_y, grad_u, grad_delta, grad_A, grad_B, grad_C,
            length, channels, **_sizes(A),
        )  # fmt: skip
        grad_D = (grad_y.float() * u.float()).sum(dim=(0, 1))
        return (
            grad_u.to(u.dtype),
            grad_delta.to(delta.dtype),
            grad_A.sum(dim=0),
            grad_D,
            grad_delta.sum(dim=(0, 1)),
            grad_B.sum(dim=2).to(B.dtype),
            grad_C.sum(dim=2).to(C.dtype),
        )


def _sizes(A: Tensor) -> dict[str, int]:
    states = A.shape[1]
    return {"N": states, "NP": triton.next_power_of_2(states), "BLOCK": BLOCK}
