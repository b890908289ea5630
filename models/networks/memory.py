"""The memory a network needs to predict, estimated before the work starts."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of storages allocated by operations inside the block, current and peak; no gradients."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # missing in torch
        self.now, self.peak = 0, 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        inputs = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in inputs:
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


def inference_peak(predict: Callable[[int], Any], device: torch.device) -> Callable[[int], int]:
    """Predict for one and for two items; return the bytes beyond the weights as a function of the item count.

    On a GPU the allocator's own peak, on a CPU the bytes of the tensors alive at once.
    """
    first, second = (_peak(predict, items, device) for items in (1, 2))
    return lambda items: first + (items - 1) * max(0, second - first)


@torch.inference_mode()
def _peak(predict: Callable[[int], Any], items: int, device: torch.device) -> int:
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        predict(items)
        return int(torch.cuda.max_memory_allocated(device) - before)
    with LiveTensors() as live:
        predict(items)
    return int(live.peak)
