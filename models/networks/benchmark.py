"""Speed and memory of the networks on this machine: scan, encoders, whole networks, skip modules.

Each row is measured in its own process, to isolate its memory. Ratios are to the same network with a plain-loop scan.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ingest.errors import UsageError
from ingest.progress import step
from models.networks.architecture import Architecture
from models.networks.cost import table_7
from models.networks.saross import SAROSSNet, build_encoder
from models.networks.selective_scan import SCANS, scan_with

Row = dict[str, Any]
Report = Callable[[Row], None]


@dataclass(frozen=True)
class Mode:
    """A way to run a network: its scan, the memory layout of images and weights, the precision."""

    scan: str | None = None  # a key of SCANS; None: the default choice
    channels_last: bool = False
    bfloat16: bool = False


MODES = {
    "float32, scan as a loop": Mode(scan="loop"),
    "float32": Mode(),
    "float32, channels last": Mode(channels_last=True),
    "bfloat16 autocast, channels last": Mode(channels_last=True, bfloat16=True),
}
REFERENCE = "float32, scan as a loop"
PARTS: dict[str, Callable[[Architecture], torch.nn.Module]] = {"encoder": build_encoder, "network": SAROSSNet}
# MambaVision-B at stride 16 of a 512 x 512 image: 42 x 42 tokens are 9 windows of 14 x 14.
SCAN_SHAPE = (9, 256, 196, 8)  # batch, channels, length, states


def bench_predict(
    report: Report,
    size: int = 512,
    encoders: Sequence[str] = ("nano", "T"),
    windows: tuple[int, int] | None = None,
    repeats: int = 5,
    modes: Sequence[str] = tuple(MODES),
    parts: Sequence[str] = tuple(PARTS),
) -> list[Row]:
    """Time encoder and whole network on a 1 x 1 x size x size image, one CPU thread; `report` gets each row.

    `ms` is the median of `repeats` passes after a first one, `cpu_ms` that of their CPU time, `memory_mb` the peak that
    they add to the process (None where the system does not report it), `times_faster` the ratio of CPU times to the
    scan as a plain loop. Raises `UsageError` for an unknown encoder, mode or part.
    """
    _check(modes, MODES, "mode")
    _check(parts, PARTS, "part")
    rows: list[Row] = []
    reference: float | None = None
    wanted = list(product(encoders, parts, modes))
    with step("time the networks") as advance:
        for encoder, part, mode in wanted:
            architecture = Architecture(encoder=encoder, windows=windows)
            reference = None if mode == modes[0] else reference
            figures = _in_own_process(_measure, part, architecture, size, mode, repeats)
            reference = figures["cpu_ms"] if mode == REFERENCE else reference
            ratio = None if reference is None else round(reference / figures["cpu_ms"], 2)
            names = {"encoder": encoder, "part": part, "windows": windows, "size": size, "mode": mode}
            rows.append({**names, **figures, "times_faster": ratio})
            report(rows[-1])
            advance(len(rows), len(wanted))
    return rows


def bench_scan(
    report: Report,
    shape: tuple[int, int, int, int] = SCAN_SHAPE,
    repeats: int = 7,
    scans: Sequence[str] = ("loop", "torch"),
) -> list[Row]:
    """Time the scan alone, forward and forward with backward, for (batch, channels, length, states), one CPU thread.

    Raises `UsageError` for an unknown scan.
    """
    _check(scans, SCANS, "scan")
    rows = []
    with step("time the scans") as advance:
        for scan in scans:
            rows.append({"scan": scan, "shape": list(shape), **_in_own_process(_measure_scan, scan, shape, repeats)})
            report(rows[-1])
            advance(len(rows), len(scans))
    return rows


def bench_skips(report: Report, size: int = 512, encoder: str = "B", repeats: int = 3) -> list[Row]:
    """Count and time SAROSS-Net with each skip module, with the paper's Table 7; `report` gets each row."""
    rows: list[Row] = []
    with step("count and time the skips") as advance:
        counted = table_7(encoder, size)
        for row in counted:
            architecture = Architecture(encoder=encoder, skip=row["skip"])
            rows.append({**row, **_in_own_process(_measure, "network", architecture, size, "float32", repeats)})
            report(rows[-1])
            advance(len(rows), len(counted))
    return rows


def _check(names: Sequence[str], known: dict[str, Any], kind: str) -> None:
    for name in names:
        if name not in known:
            raise UsageError(name, f"no such {kind}", f"known are {', '.join(known)}")


def _in_own_process(function: Callable[..., Row], *arguments: Any) -> Row:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _measure(part: str, architecture: Architecture, size: int, mode: str, repeats: int) -> Row:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    how = MODES[mode]
    layout = torch.channels_last if how.channels_last else torch.contiguous_format
    network = PARTS[part](architecture).eval()
    network.to(memory_format=layout)  # type: ignore[call-overload]  # missing in torch's stubs
    image = torch.randn(1, architecture.in_channels, size, size).to(memory_format=layout)
    precision = torch.autocast("cpu", torch.bfloat16) if how.bfloat16 else nullcontext()
    with torch.inference_mode(), scan_with(how.scan), precision:
        return _time_and_memory(lambda: network(image), repeats)


def _measure_scan(scan: str, shape: tuple[int, int, int, int], repeats: int) -> Row:
    torch.set_num_threads(1)
    inputs = _scan_inputs(*shape)

    def forward() -> Tensor:
        return SCANS[scan].scan(*inputs)

    with torch.inference_mode():
        alone = _time_and_memory(forward, repeats)
    for value in inputs:
        value.requires_grad_()
    both = _time_and_memory(lambda: torch.autograd.grad(forward().sum(), inputs), repeats)
    return {f"forward_{key}": value for key, value in alone.items()} | {
        f"forward_backward_{key}": value for key, value in both.items()
    }


def _scan_inputs(
    batch: int, channels: int, length: int, states: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    A = -torch.arange(1.0, states + 1).repeat(channels, 1)
    sequence, parameters = (batch, channels, length), (batch, states, length)
    return (
        normal(*sequence),
        normal(*sequence),
        A,
        normal(*parameters),
        normal(*parameters),
        normal(channels),
        normal(channels),
    )


def _time_and_memory(run: Callable[[], object], repeats: int) -> Row:
    """Return median wall and CPU time in ms, and memory in MB; CPU time does not depend on other load."""
    before = _reset_peak()
    run()
    wall, cpu = [], []
    for _ in range(repeats):
        began = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - began[0])
        cpu.append(time.process_time() - began[1])
    memory = None if before is None else round((_process_kib("VmHWM") - before) / 1024, 1)
    return {"ms": round(1e3 * median(wall), 1), "cpu_ms": round(1e3 * median(cpu), 1), "memory_mb": memory}


def _reset_peak() -> int | None:
    """Reset the process's peak memory and return its memory now, in KiB; None where that is not possible."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _process_kib("VmRSS")
    except OSError:
        return None


def _process_kib(field: str) -> int:
    for line in Path(f"/proc/{os.getpid()}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise OSError(f"no {field} in /proc")
