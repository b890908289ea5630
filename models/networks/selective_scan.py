"""The selective scan of Mamba (arXiv 2312.00752, Eq. 2 and Algorithm 2), by the fastest method available.

h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t        y_t = C_t h_t + D u_t
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ingest.errors import UsageError

# States held at once: a megabyte of float32, so that a chunk of time stays in a core's cache.
CHUNK_STATES = 2**18

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def selective_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
    """Run the selective state space model over a sequence, with softplus on the step size.

    u, delta: (batch, channels, length); A: (channels, states), negative; B, C: (batch, states, length);
    D, delta_bias: (channels,). Returns (batch, channels, length) in the dtype of u; the state is kept in
    float32 (float64 for float64 input), because products of many decays lose all accuracy in half precision.
    Uses the first of `SCANS` that supports `u`, or the one named by `scan_with`.
    """
    name = _forced.get() or next(name for name, path in SCANS.items() if path.takes(u))
    with _without_autocast(u.device.type):
        return SCANS[name].scan(u, delta, A, B, C, D, delta_bias)


@contextmanager
def scan_with(name: str | None) -> Iterator[None]:
    """Use the scan of this name in `SCANS` on any device, or with None the default choice.

    Raises `UsageError` for an unknown name.
    """
    if name is not None and name not in SCANS:
        raise UsageError(name, "no such scan", f"known are {', '.join(SCANS)}")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def loop_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
    """Scan step by step, exactly as in the equation; for comparison."""
    work = _work_dtype(u)
    values, delta, B, C = (x.to(work) for x in (u, delta, B, C))
    delta = F.softplus(delta + delta_bias.to(work)[:, None])
    state = values.new_zeros(*u.shape[:2], A.shape[1])
    outputs = []
    for t in range(u.shape[2]):
        step = delta[:, :, t, None]  # (batch, channels, 1)
        state = torch.exp(step * A.to(work)) * state + step * B[:, None, :, t] * values[:, :, t, None]
        outputs.append((state * C[:, None, :, t]).sum(-1) + D.to(work) * values[:, :, t])
    return torch.stack(outputs, dim=2).to(u.dtype)


def torch_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
    """Scan with time first and an explicit gradient; on any device, without a compiler."""
    work = _work_dtype(u)
    values, delta, B, C = (x.permute(2, 0, 1).to(work) for x in (u, delta, B, C))  # (L, batch, .)
    delta = F.softplus(delta + delta_bias.to(work))
    y: Tensor = _ChunkedScan.apply(delta, delta * values, A.to(work).t(), B, C)  # type: ignore[no-untyped-call]
    return (y + D.to(work) * values).permute(1, 2, 0).to(u.dtype)


def mamba_ssm_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
    """Scan with the CUDA kernel of the package `mamba-ssm`, which needs one dtype for all that varies with time."""
    scan = import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn
    delta, B, C = (x.to(u.dtype) for x in (delta, B, C))
    y: Tensor = scan(u, delta, A.float(), B, C, D.float(), z=None, delta_bias=delta_bias.float(), delta_softplus=True)
    return y


def triton_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
    """Scan with our own Triton kernel, `models.networks.selective_scan_triton`."""
    scan: Scan = import_module("models.networks.selective_scan_triton").scan
    return scan(u, delta, A, B, C, D, delta_bias)


@dataclass(frozen=True)
class ScanPath:
    """A scan implementation, and whether this machine supports it for a given tensor."""

    scan: Scan
    takes: Callable[[Tensor], bool]


@cache
def _importable(module: str) -> bool:
    try:
        import_module(module)
    except (ImportError, OSError, RuntimeError):  # a build for another CUDA fails in all three ways
        return False
    return True


def _on_gpu(u: Tensor) -> bool:
    return u.is_cuda and u.dtype != torch.float64


SCANS = {  # in order of preference
    "mamba-ssm": ScanPath(
        mamba_ssm_scan, lambda u: _on_gpu(u) and _importable("mamba_ssm.ops.selective_scan_interface")
    ),
    "triton": ScanPath(triton_scan, lambda u: _on_gpu(u) and _importable("triton")),
    "torch": ScanPath(torch_scan, lambda u: True),
    "loop": ScanPath(loop_scan, lambda u: True),
}
_forced: ContextVar[str | None] = ContextVar("forced scan", default=None)


def _without_autocast(device: str) -> AbstractContextManager[object]:
    # Autocast would run the products inside in half precision; shapes alone ("meta") have no autocast.
    known = device != "meta" and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if known else nullcontext()


def _work_dtype(u: Tensor) -> torch.dtype:
    return torch.float64 if u.dtype == torch.float64 else torch.float32


class _ChunkedScan(torch.autograd.Function):
    """h_t = exp(delta_t A) h_{t-1} + B_t x_t with h_{-1} = 0, and y_t = C_t h_t, chunk by chunk of time.

    delta, x: (L, batch, channels); A: (states, channels); B, C: (L, batch, states). Autograd through a loop
    keeps every intermediate; here only the state before each chunk is kept, and backward runs each chunk
    again and then its adjoint, the same recurrence from the end.
    """

    @staticmethod
    def forward(ctx: Any, delta: Tensor, x: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        delta, x, A, B, C = (value.contiguous() for value in (delta, x, A, B, C))
        chunks = _chunks(x, A)
        before = x.new_zeros(len(chunks) + 1, x.shape[1], *A.shape)  # the state before each chunk
        decay, state = _buffers(2, chunks, x, A)
        y = torch.empty_like(x)
        for i, s in enumerate(chunks):
            states = _run_chunk(before[i], delta[s], x[s], A, B[s], decay, state)
            torch.matmul(C[s].unsqueeze(2), states, out=y[s].unsqueeze(2))
            before[i + 1] = states[-1]
        ctx.save_for_backward(delta, x, A, B, C, before)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, ...]:
        delta, x, A, B, C, before = ctx.saved_tensors
        grad_y = grad_y.contiguous()
        chunks = _chunks(x, A)
        buffers = _buffers(3, chunks, x, A)
        grad_delta, grad_x, grad_B, grad_C = (torch.empty_like(value) for value in (delta, x, B, C))
        grad_A = torch.zeros_like(A)
        later = torch.zeros_like(before[0])  # dL/dh of the step before the chunk that comes later
        for i, s in reversed(list(enumerate(chunks))):
            decay, state, g = (buffer[: s.stop - s.start] for buffer in buffers)
            _run_chunk(before[i], delta[s], x[s], A, B[s], decay, state)
            torch.mul(C[s].unsqueeze(3), grad_y[s].unsqueeze(2), out=g)
            torch.matmul(state, grad_y[s].unsqueeze(3), out=grad_C[s].unsqueeze(3))
            g[-1] += later
            for t in range(len(g) - 2, -1, -1):
                g[t].addcmul_(decay[t + 1], g[t + 1])
            torch.mul(decay[0], g[0], out=later)
            torch.matmul(g, x[s].unsqueeze(3), out=grad_B[s].unsqueeze(3))
            torch.matmul(B[s].unsqueeze(2), g, out=grad_x[s].unsqueeze(2))
            decay *= g  # from here on dL/d(delta_t A)
            decay[1:] *= state[:-1]
            decay[0] *= before[i]
            torch.sum(torch.mul(decay, A, out=g), dim=2, out=grad_delta[s])
            grad_A += torch.mul(decay, delta[s].unsqueeze(2), out=g).sum(dim=(0, 1))
        return grad_delta, grad_x, grad_A, grad_B, grad_C


def _chunks(x: Tensor, A: Tensor) -> list[slice]:
    """Cut time so that a chunk has about `CHUNK_STATES` states."""
    length = len(x)
    size = min(max(1, CHUNK_STATES // max(x.shape[1] * A.numel(), 1)), length)
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _buffers(count: int, chunks: list[slice], x: Tensor, A: Tensor) -> Tensor:
    return x.new_empty(count, chunks[0].stop, x.shape[1], *A.shape)


def _run_chunk(before: Tensor, delta: Tensor, x: Tensor, A: Tensor, B: Tensor, decay: Tensor, state: Tensor) -> Tensor:
    """Fill decay and state, (time, batch, states, channels), from the state before; return the states."""
    decay, state = decay[: len(x)], state[: len(x)]
    torch.mul(delta.unsqueeze(2), A, out=decay).exp_()
    torch.mul(B.unsqueeze(3), x.unsqueeze(2), out=state)
    for t in range(len(state)):
        state[t].addcmul_(decay[t], before)
        before = state[t]
    return state
