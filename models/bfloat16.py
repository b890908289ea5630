"""Whether a device computes in bfloat16: a processor without it emulates, and takes many times as long."""

from __future__ import annotations

import torch

SLOW = "this processor has no bfloat16"
_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")  # of x86 and Arm, as torch.cpu.get_capabilities names them


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 on a device; where PyTorch cannot tell, it is taken to be."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = getattr(torch.cpu, "get_capabilities", None)  # since PyTorch 2.13
    if device.type != "cpu" or capabilities is None:
        return True
    return any(capabilities().get(name) for name in _INSTRUCTIONS)
