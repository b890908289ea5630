"""Training a segmentation network; interrupted training goes on where it stopped, to the very same weights."""

from __future__ import annotations

import csv
import hashlib
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from ingest.errors import ModelError, UsageError
from models.checkpoint import Checkpoint, load_model, read_checkpoint, save_model
from models.datasets import LabelledImages, open_dataset
from models.losses import cross_entropy, dice
from models.networks import build_network
from models.training.options import TrainOptions
from models.training.pairs import TrainingPairs, parts_of_batches
from models.training.validation import held_out, scores
from preprocess.options import PreprocessOptions
from preprocess.tiles import Tiling

Report = Callable[[str], None]
Progress = Callable[[int, int], None]  # steps done, steps in all


def train(
    options: TrainOptions,
    folder: Path,
    *,
    resume: bool = False,
    report: Report = print,
    progress: Progress = lambda done, total: None,
) -> Checkpoint:
    """Train a network and save it as a model in `folder`, with `log.csv` and the state to resume from.

    Loss: Eq. 10 without a teacher. On several devices each process takes its share of every batch (DDP); results then
    differ from those of one device by the batch statistics alone.
    """
    torch.set_num_threads(options.threads)
    fabric = _fabric(options)
    torch.manual_seed(options.seed)
    preprocess = PreprocessOptions()
    real = open_dataset(options.real) if options.real else None
    seen, watched = held_out(real, options)
    options = _with_steps(options, seen)
    network = _network(options, fabric)
    averaged = _average(network, options)
    optimiser = torch.optim.AdamW(network.parameters(), options.learning_rate, weight_decay=options.weight_decay)
    state, first = folder / "state.pt", 0
    if resume and state.is_file():
        first = _restore(state, network, averaged, optimiser, options, fabric.device)
        report(f"resuming at step {first} of {options.steps}")
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.csv"
    if fabric.is_global_zero:
        _keep_rows(log, first)
    model, wrapped_optimiser = fabric.setup(network, optimiser)
    parts = _parts(options, seen, preprocess, first, fabric)
    for step in range(first, options.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, options)
        loss = _step(fabric, model, network, parts, wrapped_optimiser, options)
        if averaged is not network:
            averaged.update_parameters(network)
        progress(step + 1, options.steps)
        if (step + 1) % options.validate_every == 0 or step + 1 == options.steps:
            if fabric.is_global_zero:
                found = scores(_plain(averaged), watched, options, preprocess, fabric.device)
                _save(state, network, averaged, optimiser, options, step + 1)
                _log(log, {"step": step + 1, "loss": round(float(loss), 4), **found})
                report(f"step {step + 1}: loss {loss:.3f}, oil IoU {found['oil_iou']:.3f}, mIoU {found['miou']:.3f}")
            fabric.barrier()
    return _finish(folder, averaged, watched, real.test if real else None, seen, options, preprocess, fabric)


def learning_rate(step: int, options: TrainOptions) -> float:
    """Linear warm-up, then a half cosine down to a hundredth, or no change."""
    if step < options.warm_up:
        return options.learning_rate * (step + 1) / options.warm_up
    if options.schedule == "constant":
        return options.learning_rate
    done = (step - options.warm_up) / max(1, options.steps - options.warm_up)
    return options.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def _fabric(options: TrainOptions) -> Fabric:
    """Lightning's devices, precision and DDP under a loop of our own, which can resume at any step."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("training options", "device is 'cuda' and there is none", 'train with device = "auto"')
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)  # it announces the precision
    fabric = Fabric(
        accelerator=options.device,
        devices=options.devices,
        strategy="ddp" if options.devices > 1 else "auto",
        precision="bf16-mixed" if options.half_precision else "32-true",
    )
    fabric.launch()
    return fabric


def _with_steps(options: TrainOptions, real: LabelledImages | None) -> TrainOptions:
    if options.epochs is None or real is None:
        return options
    real_in_batch = max(1, round(options.real_share * options.batch_size))
    return replace(options, epochs=None, steps=math.ceil(options.epochs * len(real) / real_in_batch))


def _network(options: TrainOptions, fabric: Fabric) -> nn.Module:
    network = build_network(options.architecture)
    if options.pretrained:
        from models.mambavision_weights import load_imagenet

        load_imagenet(network, options.encoder or "")
    if options.start:
        try:
            network.load_state_dict(load_model(options.start)[0].state_dict())
        except RuntimeError as error:
            raise ModelError(options.start, "has another architecture", "start from a model of the same one") from error
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    # With weights in the layout of the images a step takes half the time on a CPU.
    network.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return network


def _average(network: nn.Module, options: TrainOptions) -> Any:
    """Return the moving average of the weights, or the network itself where none is wanted."""
    if not options.average_decay:
        return network
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(options.average_decay), use_buffers=True)


def _plain(averaged: nn.Module) -> nn.Module:
    return averaged.module if isinstance(averaged, AveragedModel) else averaged


def _parts(
    options: TrainOptions, real: LabelledImages | None, preprocess: PreprocessOptions, first: int, fabric: Fabric
) -> Iterator[tuple[Tensor, Tensor]]:
    loader = DataLoader(
        TrainingPairs(options, real, preprocess),
        batch_sampler=list(parts_of_batches(options, first, fabric.global_rank)),
        num_workers=options.workers,
        pin_memory=fabric.device.type == "cuda",
    )
    for images, labels in loader:
        yield images.to(fabric.device, non_blocking=True), labels.to(fabric.device, non_blocking=True)


def _step(
    fabric: Fabric,
    model: Any,
    network: nn.Module,
    parts: Iterator[tuple[Tensor, Tensor]],
    optimiser: Any,
    options: TrainOptions,
) -> Tensor:
    """One step over `accumulate` parts; returns the mean loss."""
    model.train()
    if options.frozen_norm:
        _freeze_norm(network)
    optimiser.zero_grad(set_to_none=True)
    total = torch.zeros((), device=fabric.device)
    for part in range(options.accumulate):
        images, labels = next(parts)
        last = part == options.accumulate - 1
        with nullcontext() if last else fabric.no_backward_sync(model):
            logits = model(images.contiguous(memory_format=torch.channels_last))
            loss = training_loss(network, logits, labels, options) / options.accumulate
            fabric.backward(loss)
        total += loss.detach()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    return total


def _freeze_norm(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def training_loss(network: nn.Module, logits: Tensor, labels: Tensor, options: TrainOptions) -> Tensor:
    """Eq. 10 without a teacher, and what a network asks for on top (`HasAuxiliaryLoss`)."""
    loss = options.cross_entropy_weight * cross_entropy(logits, labels)
    loss = loss + options.dice_weight * dice(logits, labels, options.dice)
    auxiliary = getattr(network, "auxiliary_loss", None)
    return loss if auxiliary is None else loss + auxiliary(labels)


def _finish(
    folder: Path,
    averaged: nn.Module,
    watched: LabelledImages,
    test: LabelledImages | None,
    seen: LabelledImages | None,
    options: TrainOptions,
    preprocess: PreprocessOptions,
    fabric: Fabric,
) -> Checkpoint:
    """Score and save on the first process; the others take over what it wrote."""
    if fabric.is_global_zero:
        network = _plain(averaged)
        name = "real_validation" if options.all_real else "simulated_validation"
        metrics = {name: scores(network, watched, options, preprocess, fabric.device)}
        if test is not None:
            metrics["real_test"] = scores(network, test, options, preprocess, fabric.device)
        tiling = Tiling(options.crop, options.crop // 2)
        training = {"options": asdict(options), "real_pairs": _fingerprint(seen) if seen is not None else None}
        save_model(folder, network, options.architecture, preprocess, metrics, training, options.classes, tiling)
    fabric.barrier()
    return read_checkpoint(str(folder))


def _save(
    path: Path,
    network: nn.Module,
    averaged: nn.Module,
    optimiser: torch.optim.Optimizer,
    options: TrainOptions,
    step: int,
) -> None:
    aside = path.with_suffix(".part")
    state = {
        "network": network.state_dict(),
        "averaged": averaged.state_dict(),
        "optimiser": optimiser.state_dict(),
        "options": asdict(options),
        "step": step,
    }
    torch.save(state, aside)
    aside.replace(path)


# What may change between a training and its continuation: where it runs, and how it is watched.
_FREE = {
    "device",
    "devices",
    "accumulate",
    "workers",
    "threads",
    "validate_every",
    "validation_chips",
    "half_precision",
}


def _restore(
    path: Path,
    network: nn.Module,
    averaged: nn.Module,
    optimiser: torch.optim.Optimizer,
    options: TrainOptions,
    device: torch.device,
) -> int:
    state = torch.load(path, map_location=device, weights_only=True)
    for key, value in asdict(options).items():
        if key not in _FREE and state["options"].get(key) != value:
            raise UsageError(path, f"was written with another {key}", "train in another folder or without --resume")
    network.load_state_dict(state["network"])
    averaged.load_state_dict(state["averaged"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def _log(path: Path, row: dict[str, Any]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


def _keep_rows(path: Path, step: int) -> None:
    """Drop the rows of a log that a training from `step` on will write anew."""
    if not path.exists():
        return
    header, *rows = path.read_text().splitlines(keepends=True)
    kept = [row for row in rows if int(row.split(",")[0]) <= step]
    path.write_text("".join([header, *kept])) if kept else path.unlink()


def _fingerprint(images: LabelledImages) -> dict[str, Any]:
    """Say which pairs these are: their number, and a hash of names and contents."""
    preprocess, digest = PreprocessOptions(), hashlib.sha256()
    for i in range(len(images)):
        digest.update(images.name(i).encode())
        for part in images.pair(i, preprocess):
            digest.update(part.tobytes())
    return {"n": len(images), "sha256": digest.hexdigest()}
