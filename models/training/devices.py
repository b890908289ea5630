"""Lightning's devices, precision and DDP under training loops of our own, which can resume at any step."""

from __future__ import annotations

import logging

import torch
from lightning.fabric import Fabric

from ingest.errors import UsageError


def launched(device: str, devices: int, half_precision: bool, subject: str) -> Fabric:
    """Start `devices` processes on "cpu", "cuda" or "auto", in bfloat16 where asked.

    Raises `UsageError` about `subject` where a GPU is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(subject, "device is 'cuda' and there is none", 'train with device = "auto"')
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)  # it announces the precision
    fabric = Fabric(
        accelerator=device,
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        precision="bf16-mixed" if half_precision else "32-true",
    )
    fabric.launch()
    return fabric
