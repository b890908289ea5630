"""Training a segmentation network; interrupted training goes on where it stopped, to the very same weights."""

from __future__ import annotations

import hashlib
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
from models.networks.build import build_network
from models.synthesis import SyntheticPairs
from models.training.devices import launched
from models.training.losses import cross_entropy, dice, distillation
from models.training.memory import PartStep, fitted_parts
from models.training.options import TrainOptions
from models.training.pairs import Item, TrainingPairs, parts_of_batches
from models.training.state import keep_rows, log_row, save_state
from models.training.synthetic import synthetic_record, teacher_classes, used_synthetic
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

    Loss: Eq. 10, with a teacher where synthetic pairs have soft labels. On several devices each process takes its share
    of every batch (DDP); results then differ from those of one device by the batch statistics alone.
    """
    torch.set_num_threads(options.threads)
    fabric = launched(options.device, options.devices, options.half_precision, "training options")
    torch.manual_seed(options.seed)
    preprocess = PreprocessOptions()
    real = open_dataset(options.real) if options.real else None
    seen, watched = held_out(real, options)
    synthetic = used_synthetic(seen, options)
    options = _with_steps(options, seen, synthetic)
    network = _network(options, fabric)
    averaged = _average(network, options)
    optimiser = torch.optim.AdamW(network.parameters(), options.learning_rate, weight_decay=options.weight_decay)
    state, first = folder / "state.pt", 0
    if resume and state.is_file():
        first = _restore(state, network, averaged, optimiser, options, synthetic, fabric.device)
        report(f"resuming at step {first} of {options.steps}")
    options = _fitted(options, fabric, network, teacher_classes(synthetic, options), report)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.csv"
    if fabric.is_global_zero:
        keep_rows(log, first)
    model, wrapped_optimiser = fabric.setup(network, optimiser)
    parts = _parts(options, TrainingPairs(options, seen, preprocess, synthetic), first, fabric)
    for step in range(first, options.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, options)
        loss = _step(fabric, model, network, parts, wrapped_optimiser, options)
        if averaged is not network:
            averaged.update_parameters(network)
        progress(step + 1, options.steps)
        watch = _due(step, options.validate_every, options)
        if fabric.is_global_zero:
            row: dict[str, Any] = {}
            if watch:
                found = scores(_plain(averaged), watched, options, preprocess, fabric.device)
                row = {"step": step + 1, "loss": round(float(loss), 4), **found}
                log_row(log, row)
            # After its row in the log: a training that resumes drops the rows after its state, not those before.
            if _due(step, options.save_every or options.validate_every, options):
                save_state(state, _state(network, averaged, optimiser, options, synthetic, step + 1))
            if watch:
                report("step {step}: loss {loss:.3f}, oil IoU {oil_iou:.3f}, mIoU {miou:.3f}".format(**row))
        if watch:
            fabric.barrier()
    return _finish(folder, averaged, watched, real.test if real else None, seen, synthetic, options, preprocess, fabric)


def learning_rate(step: int, options: TrainOptions) -> float:
    """Linear warm-up, then a half cosine down to a hundredth, or no change."""
    if step < options.warm_up:
        return options.learning_rate * (step + 1) / options.warm_up
    if options.schedule == "constant":
        return options.learning_rate
    done = (step - options.warm_up) / max(1, options.steps - options.warm_up)
    return options.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def _with_steps(options: TrainOptions, real: LabelledImages | None, synthetic: SyntheticPairs | None) -> TrainOptions:
    """Turn passes over the real and synthetic pairs into steps."""
    if options.epochs is None or real is None:
        return options
    in_batch = max(1, round(options.real_share * options.batch_size))
    pairs = len(real) + (len(synthetic) if synthetic else 0)
    return replace(options, epochs=None, steps=math.ceil(options.epochs * pairs / in_batch))


def _due(step: int, every: int, options: TrainOptions) -> bool:
    """Whether something done every so many steps, and after the last one, is to be done after this step."""
    return (step + 1) % every == 0 or step + 1 == options.steps


def _network(options: TrainOptions, fabric: Fabric) -> nn.Module:
    network = build_network(options.architecture)
    if options.pretrained:
        from models.networks.mambavision_weights import load_imagenet

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


def _fitted(options: TrainOptions, fabric: Fabric, network: nn.Module, teacher: int, report: Report) -> TrainOptions:
    """Say what a step takes of memory; with a budget, raise `accumulate` until it fits. `teacher`: its classes."""
    batch, step = options.batch_size // options.devices, _trial(options, fabric, network, teacher)
    parts = fitted_parts(step, network, batch, options.accumulate, options.memory_gb, fabric, report)
    return replace(options, accumulate=parts)


def _trial(options: TrainOptions, fabric: Fabric, network: nn.Module, teacher: int) -> PartStep:
    """One part of a step on noise, whatever it learns; `teacher` is the number of classes of the soft labels."""

    def step(items: int) -> None:
        network.train()
        _freeze_norm(network)  # which has no statistics of one item where its map is a single pixel
        shape = (options.crop, options.crop)
        images = torch.randn(items, 1, *shape, device=fabric.device)
        labels = torch.randint(options.architecture.classes, (items, *shape), device=fabric.device)
        with fabric.autocast():
            logits = network(images.contiguous(memory_format=torch.channels_last))
        training_loss(network, logits, labels, options, torch.zeros(items, teacher, *shape).to(logits)).backward()

    return step


def _parts(options: TrainOptions, pairs: TrainingPairs, first: int, fabric: Fabric) -> Iterator[Item]:
    loader = DataLoader(
        pairs,
        batch_sampler=list(parts_of_batches(options, first, fabric.global_rank)),
        num_workers=options.workers,
        pin_memory=fabric.device.type == "cuda",
    )
    for images, labels, teacher in loader:
        yield tuple(part.to(fabric.device, non_blocking=True) for part in (images, labels, teacher))


def _step(
    fabric: Fabric,
    model: Any,
    network: nn.Module,
    parts: Iterator[Item],
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
        images, labels, teacher = next(parts)
        last = part == options.accumulate - 1
        with nullcontext() if last else fabric.no_backward_sync(model):
            logits = model(images.contiguous(memory_format=torch.channels_last))
            loss = training_loss(network, logits, labels, options, teacher) / options.accumulate
            fabric.backward(loss)
        total += loss.detach()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    return total


def _freeze_norm(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def training_loss(
    network: nn.Module, logits: Tensor, labels: Tensor, options: TrainOptions, teacher: Tensor | None = None
) -> Tensor:
    """Eq. 10, and what a network asks for on top (`HasAuxiliaryLoss`).

    logits (B, C, H, W), labels (B, H, W); teacher (B, C', H, W) logits, NaN where there are none, or without classes.
    """
    loss = options.cross_entropy_weight * cross_entropy(logits, labels)
    loss = loss + options.dice_weight * dice(logits, labels, options.dice)
    if teacher is not None and teacher.shape[1]:
        loss = loss + options.distillation_weight * distillation(logits, teacher, options.temperature)
    auxiliary = getattr(network, "auxiliary_loss", None)
    return loss if auxiliary is None else loss + auxiliary(labels)


def _finish(
    folder: Path,
    averaged: nn.Module,
    watched: LabelledImages,
    test: LabelledImages | None,
    seen: LabelledImages | None,
    synthetic: SyntheticPairs | None,
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
        training = {
            "options": asdict(options),
            "real_pairs": _fingerprint(seen) if seen is not None else None,
            "synthetic_pairs": synthetic_record(synthetic),
        }
        save_model(folder, network, options.architecture, preprocess, metrics, training, options.classes, tiling)
    fabric.barrier()
    return read_checkpoint(str(folder))


def _state(
    network: nn.Module,
    averaged: nn.Module,
    optimiser: torch.optim.Optimizer,
    options: TrainOptions,
    synthetic: SyntheticPairs | None,
    step: int,
) -> dict[str, Any]:
    return {
        "network": network.state_dict(),
        "averaged": averaged.state_dict(),
        "optimiser": optimiser.state_dict(),
        "options": asdict(options),
        "synthetic": synthetic.fingerprint() if synthetic else None,
        "step": step,
    }


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
    "memory_gb",
    "save_every",
    "synthetic",  # the folder may move; its pairs are compared
}


def _restore(
    path: Path,
    network: nn.Module,
    averaged: nn.Module,
    optimiser: torch.optim.Optimizer,
    options: TrainOptions,
    synthetic: SyntheticPairs | None,
    device: torch.device,
) -> int:
    state = torch.load(path, map_location=device, weights_only=True)
    then = {**asdict(TrainOptions()), **state["options"], "synthetic pairs": state.get("synthetic")}
    now = {**asdict(options), "synthetic pairs": synthetic.fingerprint() if synthetic else None}
    for key, value in now.items():
        if key not in _FREE and then[key] != value:
            raise UsageError(path, f"was written with another {key}", "train in another folder or without --resume")
    network.load_state_dict(state["network"])
    averaged.load_state_dict(state["averaged"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def _fingerprint(images: LabelledImages) -> dict[str, Any]:
    """Say which pairs these are: their number, and a hash of names and contents."""
    preprocess, digest = PreprocessOptions(), hashlib.sha256()
    for i in range(len(images)):
        digest.update(images.name(i).encode())
        for part in images.pair(i, preprocess):
            digest.update(part.tobytes())
    return {"n": len(images), "sha256": digest.hexdigest()}
