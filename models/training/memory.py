"""The memory of a training step, estimated before it starts, and the number of parts that fit into a budget.

Generic: a step is a callable that runs forward and backward over one part of so many items. On a GPU the allocator's
own peak counts. On a CPU the peak of a process reflects its past rather than a step, so it is estimated from what
autograd keeps for the backward pass: what the process holds now + the saved tensors + twice the largest of them, for
the gradients of which the backward pass holds a few at a time. The gradients of the weights are in what is held: the
trials leave them.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ingest.errors import UsageError
from models.training.options import Memory

PartStep = Callable[[int], None]  # forward and backward over a part of so many items


def fitted_parts(
    step: PartStep,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    batch: int,
    memory: Memory,
    fabric: Fabric,
    report: Callable[[str], None],
) -> int:
    """Report the memory of an AdamW step, and return the number of parts to divide a batch of this process into.

    Without a budget this is `memory.accumulate`, else the smallest number from there on that fits, the same for all
    processes. Raises what `fitted_accumulation` raises.
    """
    device, fixed, parts = fabric.device, bytes_of_moments_to_come(optimiser), memory.accumulate
    with as_it_was(network):
        if memory.memory_gb is None:
            peak = peak_estimate(step, batch // parts, device, fixed)(batch // parts)
        else:
            parts, peak = fitted_accumulation(step, batch, memory.memory_gb * 1e9, device, fixed, parts)
            parts = int(fabric.broadcast(parts))
    if fabric.is_global_zero:
        report(f"about {peak / 1e9:.2f} GB for parts of {batch // parts}")
    return parts


def fitted_accumulation(
    step: PartStep, batch: int, budget_bytes: float, device: torch.device, fixed_bytes: int = 0, least: int = 1
) -> tuple[int, int]:
    """Return the smallest number of parts of a batch, from `least` on, whose peak fits a budget, and that peak.

    All parts have the same number of items. Raises `UsageError` where not even one item at a time fits.
    """
    peak_of = peak_estimate(step, batch // least, device, fixed_bytes)
    for parts in (parts for parts in range(least, batch + 1) if batch % parts == 0):
        if peak_of(batch // parts) > budget_bytes:
            continue
        if device.type != "cuda":
            return parts, peak_of(batch // parts)
        # Memory of a GPU does not grow quite in line with the items: believe what was tried alone.
        peak = _tried(step, batch // parts, device, fixed_bytes)
        if peak is not None and peak <= budget_bytes:
            return parts, peak
    needed, budget = peak_of(1) / 1e9, budget_bytes / 1e9
    problem = f"one item at a time takes about {needed:.2f} GB of a budget of {budget:.2f} GB"
    raise UsageError("training options", problem, "raise memory_gb, or use a smaller crop or network")


def peak_estimate(step: PartStep, most: int, device: torch.device, fixed_bytes: int = 0) -> Callable[[int], int]:
    """Try parts of one and, where `most` is more, of two items; return the peak in bytes as a function of the items.

    `fixed_bytes` are those that a step needs and a trial does not allocate, see `bytes_of_moments_to_come`.
    """
    if device.type == "cuda":
        _tried(step, 1, device, fixed_bytes)  # the first trial allocates the gradients, which all parts but one find
    measured = [_tried(step, items, device, fixed_bytes) for items in range(1, min(most, 2) + 1)]
    if any(peak is None for peak in measured):
        raise UsageError("training options", "one or two items at a time do not fit", "use a smaller crop or network")
    # After the trials, in which libraries took what they keep from then on.
    held = 0 if device.type == "cuda" else _resident()
    first, last = int(measured[0] or 0), int(measured[-1] or 0)
    return lambda items: held + first + (items - 1) * max(0, last - first)


def bytes_of_moments_to_come(optimiser: torch.optim.Optimizer) -> int:
    """Return the size of the two moments that AdamW will allocate at its first step; none after a resumption."""
    parameters = [p for group in optimiser.param_groups for p in group["params"] if p.requires_grad]
    return sum(2 * p.numel() * int(p.element_size()) for p in parameters if not optimiser.state.get(p))


@contextmanager
def as_it_was(network: nn.Module) -> Iterator[None]:
    """Undo after the block what a trial does to a network: buffers, gradients, mode and random numbers."""
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    training = network.training
    with torch.random.fork_rng():
        yield
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    network.zero_grad(set_to_none=True)
    network.train(training)


def _tried(step: PartStep, items: int, device: torch.device, fixed_bytes: int) -> int | None:
    """Run a step and return its peak; None where the memory of a GPU does not hold it."""
    if device.type != "cuda":
        with _saved_for_backward() as saved:
            step(items)
        return sum(saved.values()) + 2 * max(saved.values(), default=0) + fixed_bytes
    torch.cuda.reset_peak_memory_stats(device)
    try:
        step(items)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return None
    return torch.cuda.max_memory_allocated(device) + fixed_bytes


@contextmanager
def _saved_for_backward() -> Iterator[dict[int, int]]:
    """Give the size in bytes of each storage that autograd saves inside the block, by its address."""
    sizes: dict[int, int] = {}

    def kept(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(kept, lambda tensor: tensor):
        yield sizes


def _resident() -> int:
    """What the process holds now; where the system does not say, the most it ever held."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
