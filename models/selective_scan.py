"""The selective scan of Mamba (arXiv 2312.00752, Eq. 2 and Algorithm 2), in PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class _LinearRecurrence(torch.autograd.Function):
    """h_t = a_t * h_{t-1} + b_t with h_{-1} = 0, over the first dimension.

    Autograd through a Python loop keeps every intermediate and is some twenty times slower backward;
    the adjoint of a linear recurrence is the same recurrence run from the end, so it is written out.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        h = torch.empty_like(b)
        h[0] = b[0]
        for t in range(1, len(b)):
            torch.addcmul(b[t], a[t], h[t - 1], out=h[t])
        ctx.save_for_backward(a, h)
        return h

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        a, h = ctx.saved_tensors
        g = grad_outputs[0].clone()  # becomes dL/dh_t including the later steps
        for t in range(len(g) - 2, -1, -1):
            g[t].addcmul_(a[t + 1], g[t + 1])
        grad_a = torch.zeros_like(a)
        torch.mul(g[1:], h[:-1], out=grad_a[1:])
        return grad_a, g


def linear_recurrence(a: Tensor, b: Tensor) -> Tensor:
    """Solve h_t = a_t h_{t-1} + b_t with h_{-1} = 0 along the first dimension; a, b and h of one shape."""
    if not torch.is_grad_enabled() or not (a.requires_grad or b.requires_grad):
        h = b.clone()
        for t in range(1, len(h)):
            h[t].addcmul_(a[t], h[t - 1])
        return h
    result: Tensor = _LinearRecurrence.apply(a, b)  # type: ignore[no-untyped-call]
    return result


def selective_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
    """Run the selective state space model over a sequence, with softplus on the step size.

    u, delta: (batch, channels, length); A: (channels, states), negative; B, C: (batch, states, length);
    D, delta_bias: (channels,). Returns (batch, channels, length) in the dtype of u; the state is kept in
    float32 (float64 for float64 input), because products of many decays lose all accuracy in half precision.
    """
    dtype = u.dtype
    work = torch.float64 if dtype == torch.float64 else torch.float32
    u, delta, B, C = (x.permute(2, 0, 1).to(work) for x in (u, delta, B, C))  # time first: (L, batch, .)
    delta = F.softplus(delta + delta_bias.to(work))
    decay = torch.exp(delta.unsqueeze(-1) * A.to(work))  # (L, batch, channels, states)
    drive = (delta * u).unsqueeze(-1) * B.unsqueeze(2)
    state = linear_recurrence(decay, drive)
    y = torch.einsum("lbcn,lbn->lbc", state, C) + D.to(work) * u
    return y.permute(1, 2, 0).to(dtype)
