"""Lightning's devices, precision and DDP, under our own step loop, which resumes at any step."""

from __future__ import annotations

import logging

import torch
from lightning.fabric import Fabric

from ingest.errors import UsageError
from models.training.options import Run


def launched(run: Run, subject: str) -> Fabric:
    """Start the processes of a training on its devices, in its precision.

    Raises `UsageError` about `subject` where a GPU is requested and there is none.
    """
    if run.device == "cuda" and not torch.cuda.is_available():
        raise UsageError(subject, "device is 'cuda', but there is no GPU", 'train with device = "auto"')
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)  # it announces the precision
    fabric = Fabric(
        accelerator=run.device,
        devices=run.devices,
        strategy="ddp" if run.devices > 1 else "auto",
        precision="bf16-mixed" if run.half_precision else "32-true",
    )
    fabric.launch()
    return fabric
