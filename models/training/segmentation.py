"""Training a segmentation network on simulated, real and synthetic pairs; resumed, it gives the same weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from ingest.errors import ModelError
from models.checkpoint import Checkpoint, load_model, read_checkpoint, save_model
from models.datasets.catalogue import open_dataset
from models.datasets.fingerprint import fingerprint
from models.datasets.pairs import LabelledImages
from models.networks.build import build_network
from models.synthesis.shards import SyntheticPairs
from models.training.engine import Learner, Losses, Progress, Report, Session, Stage, run_stage
from models.training.losses import cross_entropy, dice, distillation
from models.training.memory import PartStep
from models.training.options import changed, recorded
from models.training.pairs import TrainingPairs, synthetic_record, teacher_classes, used_synthetic
from models.training.segmentation_options import TrainOptions
from models.training.state import damage_named, read_state, stored_parts
from models.training.validation import held_out, scores
from preprocess.options import PreprocessOptions
from preprocess.tiles import Tiling


@dataclass(frozen=True)
class Dataset:
    """What a network learns from and is scored on."""

    seen: LabelledImages | None  # real pairs
    synthetic: SyntheticPairs | None
    watched: LabelledImages  # validation
    test: LabelledImages | None
    preprocess: PreprocessOptions

    @classmethod
    def of(cls, options: TrainOptions) -> Dataset:
        """Open the data sets that the options name."""
        real = open_dataset(options.data.real) if options.data.real else None
        seen, watched = held_out(real, options)
        return cls(seen, used_synthetic(seen, options), watched, real.test if real else None, PreprocessOptions())

    def fingerprints(self) -> dict[str, str | None]:
        """Return the fingerprints of the training pairs by kind."""
        pairs: dict[str, LabelledImages | None] = {"real": self.seen, "synthetic": self.synthetic}
        return {kind: None if images is None else fingerprint(images) for kind, images in pairs.items()}


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
    of every batch (DDP); results then differ from those of one device only by the batch statistics. Raises what
    `models.training.engine.run_stage` and opening the data sets raise.
    """
    session = Session.start(options, folder, report, progress)
    data = Dataset.of(options)
    pairs = data.fingerprints()
    options = _with_steps(options, data)
    network = _network(options, session.fabric)
    learner, first, parts = Learner.of(network, options, list(network.parameters())), 0, None
    if resume and session.state.is_file():
        state = read_state(session.state, options, pairs, session.fabric.device)
        with damage_named(session.state):
            learner.restore(state)
            first, parts = int(state["step"]), stored_parts(options, state)
        session.report(f"resuming at step {first} of {options.schedule.steps}")
    stage = _stage(session.fabric, options, learner, data, pairs)
    options = run_stage(session, options, learner, stage, first, parts)
    return _finish(session, options, learner.result, data, pairs)


def training_loss(
    network: nn.Module, logits: Tensor, labels: Tensor, options: TrainOptions, teacher: Tensor | None = None
) -> Tensor:
    """Return Eq. 10, plus the network's own `auxiliary_loss` where it has one.

    logits (B, C, H, W), labels (B, H, W); teacher (B, C', H, W) logits, NaN where there are none, or without classes.
    """
    weights, taught = options.loss, options.distillation
    loss = weights.cross_entropy_weight * cross_entropy(logits, labels)
    loss = loss + weights.dice_weight * dice(logits, labels, weights.dice)
    if teacher is not None and teacher.shape[1]:
        loss = loss + taught.distillation_weight * distillation(logits, teacher, taught.temperature)
    auxiliary = getattr(network, "auxiliary_loss", None)
    return loss if auxiliary is None else loss + auxiliary(labels)


def _with_steps(options: TrainOptions, data: Dataset) -> TrainOptions:
    """Convert passes over the real and synthetic pairs to steps."""
    schedule = options.schedule
    if schedule.epochs is None or data.seen is None:
        return options
    in_batch = max(1, round(options.data.real_share * schedule.batch_size))
    pairs = len(data.seen) + (len(data.synthetic) if data.synthetic else 0)
    return changed(options, epochs=None, steps=math.ceil(schedule.epochs * pairs / in_batch))


def _network(options: TrainOptions, fabric: Fabric) -> nn.Module:
    network, model = build_network(options.architecture), options.model
    if model.pretrained:
        from models.networks.mambavision_weights import load_imagenet

        load_imagenet(network, model.encoder or "")
    if model.start:
        try:
            network.load_state_dict(load_model(model.start)[0].state_dict())
        except RuntimeError as error:
            raise ModelError(model.start, "has another architecture", "start from a model of the same one") from error
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    # With weights in the layout of the images a step takes half the time on a CPU.
    network.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return network


def _stage(
    fabric: Fabric, options: TrainOptions, learner: Learner, data: Dataset, pairs: dict[str, str | None]
) -> Stage:
    network, schedule = learner.network, options.schedule

    def losses(model: Any, part: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor]:
        images, labels, teacher = part
        if options.model.frozen_norm:
            _freeze_norm(network)
        logits = model(images.contiguous(memory_format=torch.channels_last))
        return (training_loss(network, logits, labels, options, teacher),)

    return Stage(
        steps=schedule.steps,
        items=TrainingPairs(options, data.seen, data.preprocess, data.synthetic),
        module=network,
        losses=losses,
        trial=_trial(fabric, options, network, teacher_classes(data.synthetic, options)),
        rate=lambda step: schedule.rate(step, schedule.steps),
        row=_log_row(fabric, options, learner, data),
        log_every=options.run.validate_every,
        pairs=pairs,
    )


def _log_row(
    fabric: Fabric, options: TrainOptions, learner: Learner, data: Dataset
) -> Callable[[int, list[Losses]], tuple[dict[str, Any], str]]:
    def row(done: int, losses: list[Losses]) -> tuple[dict[str, Any], str]:
        found = scores(learner.result, data.watched, options, data.preprocess, fabric)
        values: dict[str, Any] = {"step": done, "loss": round(losses[-1][0], 4), **found}
        line = "step {step}: loss {loss:.3f}, oil IoU {oil_iou:.3f}, mIoU {miou:.3f}"
        return values, line.format(**values)

    return row


def _trial(fabric: Fabric, options: TrainOptions, network: nn.Module, teacher: int) -> PartStep:
    """Return a part of a step on noise; `teacher` is the number of classes of the soft labels."""

    def step(items: int) -> None:
        network.train()
        _freeze_norm(network)  # which has no statistics of one item where its map is a single pixel
        shape = (options.data.crop, options.data.crop)
        images = torch.randn(items, 1, *shape, device=fabric.device)
        labels = torch.randint(options.architecture.classes, (items, *shape), device=fabric.device)
        with fabric.autocast():
            logits = network(images.contiguous(memory_format=torch.channels_last))
        training_loss(network, logits, labels, options, torch.zeros(items, teacher, *shape).to(logits)).backward()

    return step


def _freeze_norm(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _finish(
    session: Session, options: TrainOptions, network: nn.Module, data: Dataset, pairs: dict[str, str | None]
) -> Checkpoint:
    """Score and save the model on the first process; all read it back."""
    if session.fabric.is_global_zero:
        name = "real_validation" if options.all_real else "simulated_validation"
        sets = {name: data.watched} | ({} if data.test is None else {"real_test": data.test})
        metrics = {
            key: scores(network, images, options, data.preprocess, session.fabric) for key, images in sets.items()
        }
        training = {
            "options": recorded(options),
            "real_pairs": None if data.seen is None else {"n": len(data.seen), "sha256": pairs["real"]},
            "synthetic_pairs": synthetic_record(data.synthetic),
        }
        tiling = Tiling(options.data.crop, options.data.crop // 2)
        save_model(
            session.folder, network, options.architecture, data.preprocess, metrics, training, options.classes, tiling
        )
    session.fabric.barrier()
    return read_checkpoint(str(session.folder))
