"""Makes a torchvision built for CUDA importable beside a CPU build of torch, for tests of the extra `baselines`.

Its compiled part does not load there, and its import stops at two operators which that part would have declared.
None of the networks here calls them, so their schemas are enough. Import this before anything that needs torchvision.
"""

from __future__ import annotations

import importlib

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared = torch.library.Library("torchvision", "FRAGMENT")  # what is declared in it goes when it goes


def make_torchvision_importable() -> None:
    """Declare the missing operators where a first import shows that they are missing; otherwise change nothing."""
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return
    except RuntimeError:
        for schema in SCHEMAS:
            _declared.define(schema)


make_torchvision_importable()
