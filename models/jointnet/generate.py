"""Drawing synthetic pairs from SAR-JointNet into a folder of shards: resumable, and the same for the same seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ingest.errors import ModelError, UsageError
from models.bfloat16 import SLOW, has_bfloat16
from models.jointnet.checkpoint import JointCheckpoint, load_jointnet
from models.jointnet.diffusion import Predict, sample, solver_of
from models.jointnet.overlapped import of_any_size, require_shape
from models.networks.memory import inference_peak
from models.synthesis.manifest import SyntheticPlan, read_manifest, require_same_maker
from models.synthesis.shards import SyntheticPairs, SyntheticWriter, grey_levels

Progress = Callable[[int, int], None]  # pairs made, pairs in all
_COPIES = 6  # of image and logits that a solver's step holds at once, besides the network's own
Images = tuple[NDArray[np.uint8], NDArray[np.float32]]  # (n, H, W), and logits (n, C, H, W)


@dataclass(frozen=True)
class GenerateOptions:
    """How pairs are drawn."""

    solver: str = "ddim"  # a key of models.jointnet.diffusion.SOLVERS
    steps: int = 200  # section 4.2
    size: int | None = (
        None  # pixels a side; None: that of the training. Larger ones are denoised in overlapping windows
    )
    seed: int = 0
    batch: int = 8  # pairs at once, and windows of larger ones
    memory_gb: float | None = None  # take fewer at once where they would need more than this, weights and all
    shard_size: int = 64
    device: str = "cpu"  # "cpu", "cuda", or "auto"
    threads: int = 1
    half_precision: bool = False  # bfloat16: half the time where the device has it, a third of a grey level apart
    pixel_spacing: float | None = None  # m, to be noted where it is known


def synthesize(
    model: Path,
    count: int,
    folder: Path,
    options: GenerateOptions,
    *,
    report: Callable[[str], None] = print,
    progress: Progress = lambda done, total: None,
) -> SyntheticPairs:
    """Fill `folder` with `count` pairs of a diffusion model; existing pairs are kept, an interrupted run is continued.

    A pair depends on the weights, the solver, its size, the seed and its place alone (with another batch size, up to
    rounding). Of a folder that is to hold more, the shards with the first `count` pairs are made and no others. Raises
    `ModelError` for a model that is damaged, knows no labels yet or predicts no numbers, `UsageError` for a folder of
    another model's pairs or an impossible size. Nothing is written before all that can be refused is.
    """
    torch.set_num_threads(options.threads)
    network, checkpoint = load_jointnet(model)
    if checkpoint.stage < 2:
        raise ModelError(
            model, "has learnt images alone, no labels", "train it further: slickwatch train jointnet --resume"
        )
    plan, device = planned(checkpoint, count, options), _device(options.device)
    if options.half_precision and not has_bfloat16(device):
        report(f"{SLOW}: --half-precision takes many times as long")
    if (there := read_manifest(folder)) is not None:
        require_same_maker(folder, there.plan, plan)
    predict = prediction(network.to(device), options.half_precision)
    options = _fitted(options, predict, network, checkpoint, plan, device, report)
    predict = of_any_size(predict, checkpoint.size, options.batch)
    writer = SyntheticWriter.open(folder, plan)
    missing = [shard for shard in writer.missing() if shard < plan.shards]
    total = sum(writer.plan.pairs_of(shard) for shard in range(plan.shards))
    done = total - sum(writer.plan.pairs_of(shard) for shard in missing)
    report(
        f"{plan.size[0]} x {plan.size[1]} pixels, {options.solver} of {options.steps} steps; {done} of {total} there"
    )
    for shard in missing:
        with writer.claimed(shard) as mine:
            if not mine:  # another process is at it
                continue
            images, logits = draw(predict, checkpoint, writer.plan, shard, options, device)
            writer.write(shard, images, logits)
        done += writer.plan.pairs_of(shard)
        progress(done, total)
    return SyntheticPairs.open(folder, allow_partial=True)


def planned(checkpoint: JointCheckpoint, count: int, options: GenerateOptions) -> SyntheticPlan:
    """Say which pairs a model is to draw. Raises `UsageError` for an impossible solver or size."""
    solver_of(options.solver, options.steps, checkpoint.balanced.timesteps)
    size = checkpoint.size if options.size is None else options.size
    require_shape("size", (size, size), checkpoint.size, checkpoint.architecture.divisor)
    generator = {
        "model": checkpoint.id,
        "weights_sha256": checkpoint.weights_sha256,
        "solver": options.solver,
        "steps": options.steps,
        "half_precision": options.half_precision,
        "b": checkpoint.balanced.b,
        "label_loss": "cross-entropy" if checkpoint.balanced.logits else "l2",
    }
    return SyntheticPlan(
        checkpoint.classes, (size, size), count, options.seed, generator, options.shard_size, options.pixel_spacing
    )


def prediction(network: nn.Module, half_precision: bool = False) -> Predict:
    """What a network predicts, in float32 however it computes."""

    def predict(x_t: Tensor, y_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(x_t.device.type, torch.bfloat16, enabled=half_precision):
            x_hat, y_hat = network(x_t, y_t, t)
        return x_hat.float(), y_hat.float()

    return predict


def draw(
    predict: Predict,
    checkpoint: JointCheckpoint,
    plan: SyntheticPlan,
    shard: int,
    options: GenerateOptions,
    device: torch.device,
) -> Images:
    """Draw the pairs of one shard. Raises `ModelError` where the network predicts no numbers."""
    count, images, logits = plan.pairs_of(shard), [], []
    for first in range(0, count, options.batch):
        rngs = [
            np.random.default_rng((plan.seed_of(shard), i)) for i in range(first, min(first + options.batch, count))
        ]
        x_t, y_t = (
            torch.from_numpy(np.stack([rng.standard_normal((channels, *plan.size), np.float32) for rng in rngs]))
            for channels in (1, len(plan.classes))
        )
        noise = x_t.to(device), y_t.to(device)
        x_0, said = sample(predict, noise, checkpoint.balanced, options.solver, options.steps)
        if not (x_0.isfinite().all() and said.isfinite().all()):
            raise ModelError(checkpoint.id, "predicts values that are not finite", "train it at a lower rate")
        images.append(grey_levels(x_0[:, 0].cpu().numpy()))
        logits.append(said.cpu().numpy())
    return np.concatenate(images), np.concatenate(logits)


def _fitted(
    options: GenerateOptions,
    predict: Predict,
    network: nn.Module,
    checkpoint: JointCheckpoint,
    plan: SyntheticPlan,
    device: torch.device,
    report: Callable[[str], None],
) -> GenerateOptions:
    """Say what a batch takes of memory, weights and all; with a budget, take as few pairs or windows at once as fit."""
    side, classes = min(plan.size[0], checkpoint.size), len(plan.classes)
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    state = 4 * _COPIES * (1 + classes) * plan.size[0] * plan.size[1]  # of a pair, in bytes

    def step(items: int) -> None:
        x_t, y_t = (torch.zeros(items, channels, side, side, device=device) for channels in (1, classes))
        predict(x_t, y_t, torch.zeros(items, dtype=torch.long, device=device))

    at_once = inference_peak(step, device)

    def peak_of(items: int) -> int:
        return weights + at_once(items) + items * state

    budget = math.inf if options.memory_gb is None else options.memory_gb * 1e9
    batch = next((n for n in range(options.batch, 0, -1) if peak_of(n) <= budget), 0)
    if not batch:
        problem = f"one at a time takes about {peak_of(1) / 1e9:.2f} GB of {budget / 1e9:.2f} GB"
        raise UsageError("memory_gb", problem, "raise it")
    report(f"about {peak_of(batch) / 1e9:.2f} GB for {batch} at once")
    return replace(options, batch=batch)


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device", "is 'cuda', but there is no GPU", "give auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
