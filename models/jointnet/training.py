"""The three stages in which SAR-JointNet learns (DAKD, section 3.2.2); interrupted, it goes on where it stopped."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from ingest.errors import ModelError, UsageError
from ingest.files import storage_errors
from models.datasets import LabelledImages, open_dataset
from models.datasets.fingerprint import fingerprint
from models.jointnet.balance import balancing_factor
from models.jointnet.checkpoint import (
    JointCheckpoint,
    load_jointnet,
    read_jointnet,
    save_jointnet,
)
from models.jointnet.diffusion import Balanced, training_loss
from models.jointnet.network import SARJointNet, build_jointnet, trainable
from models.jointnet.options import JointOptions
from models.jointnet.pairs import JointPairs, Noisy, parts_of_batches
from models.training.devices import launched
from models.training.memory import fitted_parts
from models.training.state import keep_rows, log_row, save_state

Report = Callable[[str], None]
Progress = Callable[[int, int], None]  # steps done, steps in all


def train_jointnet(
    options: JointOptions,
    folder: Path,
    *,
    resume: bool = False,
    hours: float | None = None,
    report: Report = print,
    progress: Progress = lambda done, total: None,
) -> JointCheckpoint:
    """Train a diffusion model in its three stages and save it in `folder`, with `log.csv` and the state to resume from.

    Each stage begins with the averaged weights of the one before. After `hours` it stops at a saved state, to be
    resumed. Raises `UsageError` for impossible options, `ModelError` where nothing is finished after `hours` and where
    a loss is no number any more, `StorageError` where nothing can be written.
    """
    torch.set_num_threads(options.threads)
    fabric = launched(options.device, options.devices, options.half_precision, "jointnet options")
    torch.manual_seed(options.seed)
    images = _training_images(options)
    pairs = fingerprint(images)
    balanced = _balanced(options, images)
    network = _network(options, len(images.classes), fabric.device)
    state, log = folder / "state.pt", folder / "log.csv"
    first_stage, first_step, resumed = 1, 0, None
    if resume and state.is_file():
        resumed = _read_state(state, options, pairs, fabric.device)
        first_stage, first_step = resumed["stage"], resumed["step"]
        network.load_state_dict(resumed["network"])
        if fabric.is_global_zero:
            report(f"resuming stage {first_stage} at step {first_step} of {options.steps[first_stage - 1]}")
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if fabric.is_global_zero:
            keep_rows(log, _steps_before(options, first_stage) + first_step)
    until = math.inf if hours is None else time.monotonic() + hours * 3600
    for stage in range(first_stage, 4):
        if options.steps[stage - 1] and (stage == 3 or isinstance(network, SARJointNet)):
            run = _Stage(options, images, pairs, balanced, network, stage, folder, fabric, report, progress)
            if not run.go(first_step, resumed, until):
                raise ModelError(folder, f"{hours} hours are over in stage {stage}", "go on with --resume")
            _finish_stage(run)
        first_step, resumed = 0, None
    return read_jointnet(folder)


class _Stage:
    """One stage of one training."""

    def __init__(
        self,
        options: JointOptions,
        images: LabelledImages,
        pairs: str,
        balanced: Balanced,
        network: nn.Module,
        stage: int,
        folder: Path,
        fabric: Fabric,
        report: Report,
        progress: Progress,
    ) -> None:
        self.options, self.images, self.pairs, self.balanced, self.stage = options, images, pairs, balanced, stage
        self.network, self.folder, self.fabric = network, folder, fabric
        self.report, self.progress = report, progress
        self.steps, self.before = options.steps[stage - 1], _steps_before(options, stage)
        self.averaged: Any = None
        self.optimiser: Any = None

    def go(self, first: int, resumed: dict[str, Any] | None, until: float) -> bool:
        """Run the stage from step `first`; False where the time is up before its end."""
        if first == 0 and self.stage == 2 and isinstance(self.network, SARJointNet):
            self.network.begin_label_net()
        moved = self._choose_parameters()
        self.averaged = AveragedModel(self.network, use_buffers=True)
        self.optimiser = torch.optim.AdamW(moved, self._rate(first), weight_decay=self.options.weight_decay)
        if resumed is not None:
            self.averaged.load_state_dict(resumed["averaged"])
            self.optimiser.load_state_dict(resumed["optimiser"])
        loss = StageLoss(self.network, self.stage, self.balanced)
        self.options = self._fitted(loss)
        model, optimiser = self.fabric.setup(loss, self.optimiser)
        parts, losses = self._parts(first), []
        for step in range(first, self.steps):
            for group in self.optimiser.param_groups:
                group["lr"] = self._rate(step)
            losses.append(self._step(step, model, moved, parts, optimiser))
            # So that early averages are not of the weights that a stage began with.
            self.averaged.multi_avg_fn = get_ema_multi_avg_fn(min(self.options.average_decay, (1 + step) / (10 + step)))
            self.averaged.update_parameters(self.network)
            self.progress(self.before + step + 1, sum(self.options.steps))
            done, time_is_up = step + 1, self._is_over(until)
            if done % self.options.save_every == 0 or done == self.steps or time_is_up:
                self._save(done, losses)
                losses = []
            if time_is_up and done < self.steps:
                return False
        return True

    def _is_over(self, until: float) -> bool:
        """Whether the time is up, by the clock of the first process: all must stop at the same step."""
        return until < math.inf and bool(self.fabric.broadcast(time.monotonic() > until))

    def _fitted(self, loss: StageLoss) -> JointOptions:
        """Say what a step takes of memory; with a budget, accumulate in as many parts as it takes to fit."""
        options, device = self.options, self.fabric.device
        batch = options.batch_size // options.devices

        def step(items: int) -> None:
            shape, classes = (options.crop, options.crop), len(self.images.classes)
            x_0, epsilon_x, epsilon_y = (torch.randn(items, c, *shape, device=device) for c in (1, 1, classes))
            labels, t = torch.zeros(items, *shape, dtype=torch.long), torch.zeros(items, dtype=torch.long)
            with self.fabric.autocast():
                l_x, l_y = loss(Noisy(x_0, labels.to(device), t.to(device), epsilon_x, epsilon_y))
            (l_x + l_y).backward()

        def report(line: str) -> None:
            self.report(f"stage {self.stage}: {line}")

        parts = fitted_parts(step, self.network, batch, options.accumulate, options.memory_gb, self.fabric, report)
        return replace(options, accumulate=parts)

    def _choose_parameters(self) -> list[nn.Parameter]:
        self.network.requires_grad_(False)
        moved = list(trainable(self.network, self.stage))
        for parameter in moved:
            parameter.requires_grad_(True)
        return moved

    def _rate(self, step: int) -> float:
        options = self.options
        rate = options.learning_rate * (options.final_factor if self.stage == 3 else 1.0)
        if step < options.warm_up:
            return rate * (step + 1) / options.warm_up
        if options.schedule == "constant":
            return rate
        return rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / self.steps)))

    def _parts(self, first: int) -> Iterator[Noisy]:
        loader: DataLoader[Noisy] = DataLoader(
            JointPairs(self.options, self.images, self.stage),
            batch_sampler=parts_of_batches(self.options, self.stage, first, self.fabric.global_rank),
            num_workers=self.options.workers,
            pin_memory=self.fabric.device.type == "cuda",
        )
        for part in loader:
            yield Noisy(*(tensor.to(self.fabric.device, non_blocking=True) for tensor in part))

    def _step(
        self, step: int, model: Any, moved: list[nn.Parameter], parts: Iterator[Noisy], optimiser: Any
    ) -> tuple[float, ...]:
        """One step over `accumulate` parts; returns the mean losses of images and labels, over all devices."""
        torch.manual_seed(self._seed_of(step))
        model.train()
        optimiser.zero_grad(set_to_none=True)
        total = torch.zeros(2, device=self.fabric.device)
        for part in range(self.options.accumulate):
            last = part == self.options.accumulate - 1
            with nullcontext() if last else self.fabric.no_backward_sync(model):
                l_x, l_y = model(next(parts))
                self.fabric.backward((l_x + l_y) / self.options.accumulate)  # Eq. 7
            total += torch.stack([l_x.detach(), l_y.detach()]).float() / self.options.accumulate
        nn.utils.clip_grad_norm_(moved, 1.0)
        optimiser.step()
        losses = tuple(float(one) for one in self.fabric.all_reduce(total))
        if not all(math.isfinite(one) for one in losses):
            problem = f"the loss of step {step + 1} of stage {self.stage} is no number"
            raise ModelError(self.folder, problem, "train anew with a lower learning_rate or a warm_up")
        return losses

    def _seed_of(self, step: int) -> int:
        """The seed of dropout, so that a resumed training drops what it would have dropped."""
        stream = (self.options.seed, self.stage, step, self.fabric.global_rank)
        return int(np.random.SeedSequence(stream).generate_state(1)[0])

    def _save(self, done: int, losses: list[tuple[float, ...]]) -> None:
        if self.fabric.is_global_zero:
            l_x, l_y = (sum(one) / len(losses) for one in zip(*losses, strict=True))
            row = {"step": self.before + done, "stage": self.stage, "l_x": round(l_x, 5), "l_y": round(l_y, 5)}
            state = {
                "network": self.network.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "options": asdict(self.options),
                "pairs": self.pairs,
                "stage": self.stage,
                "step": done,
            }
            with storage_errors(self.folder):
                # The log first: a training that resumes drops the rows after its state, and cannot add those before.
                log_row(self.folder / "log.csv", row)
                save_state(self.folder / "state.pt", state)
            self.report(f"stage {self.stage}, step {done} of {self.steps}: L_x {l_x:.4f}, L_y {l_y:.4f}")
        self.fabric.barrier()


class StageLoss(nn.Module):
    """The losses of one stage on one part of a batch: L_x alone in stage 1, then L_x and L_y of Algorithm 1."""

    def __init__(self, network: nn.Module, stage: int, balanced: Balanced) -> None:
        super().__init__()
        self.network, self.stage, self.balanced = network, stage, balanced

    def forward(self, part: Noisy) -> tuple[Tensor, Tensor]:
        """Means over a part (B, ...) of the losses of images and of labels."""
        predict = self._images_alone if self.stage == 1 else self.network
        epsilon = (part.epsilon_x, part.epsilon_y)
        l_x, l_y = training_loss(predict, part.x_0, part.labels, part.t, epsilon, self.balanced)
        return l_x, torch.zeros_like(l_y) if self.stage == 1 else l_y

    def _images_alone(self, x_t: Tensor, y_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        assert isinstance(self.network, SARJointNet)
        return self.network.sar_net(x_t, t).sample, torch.zeros_like(y_t)


def _finish_stage(run: _Stage) -> None:
    """Go on with the averaged weights, and save them as the model."""
    run.network.load_state_dict(run.averaged.module.state_dict())
    if run.fabric.is_global_zero:
        options = run.options
        with storage_errors(run.folder):
            save_jointnet(
                run.folder,
                run.network,
                options.architecture(len(run.images.classes)),
                run.balanced,
                run.images.classes,
                options.crop,
                run.stage,
                {"options": asdict(options), "pairs": {"n": len(run.images), "sha256": run.pairs}},
            )
    run.fabric.barrier()


def _training_images(options: JointOptions) -> LabelledImages:
    split = open_dataset(options.dataset)
    if split.train is None:
        raise UsageError(options.dataset, "has no pairs to train on", "give a data set with train/ and test/")
    return split.train


def _balanced(options: JointOptions, images: LabelledImages) -> Balanced:
    b = options.b if options.b is not None else balancing_factor(images).b
    return Balanced(b, options.label_loss == "cross-entropy", options.timesteps)


def _network(options: JointOptions, classes: int, device: torch.device) -> nn.Module:
    network = build_jointnet(options.architecture(classes))
    if options.start:
        try:
            network.load_state_dict(load_jointnet(Path(options.start))[0].state_dict())
        except RuntimeError as error:
            raise ModelError(options.start, "has another architecture", "start from a model of the same one") from error
    return network.to(device)


def _steps_before(options: JointOptions, stage: int) -> int:
    return sum(options.steps[: stage - 1])


# What may change between a training and its continuation: where it runs, and how often it is saved.
_FREE = {"device", "devices", "accumulate", "memory_gb", "workers", "threads", "save_every", "half_precision"}


def _read_state(path: Path, options: JointOptions, pairs: str, device: torch.device) -> dict[str, Any]:
    remedy = "train in another folder or without --resume"
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        then = state["options"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise ModelError(path, "is no state of a training, or damaged", remedy) from error
    for key, value in asdict(options).items():
        if key not in _FREE and then.get(key) != value:
            raise UsageError(path, f"was written with another {key}", remedy)
    if state.get("pairs", pairs) != pairs:
        raise UsageError(path, "was written with other training pairs", remedy)
    return state
