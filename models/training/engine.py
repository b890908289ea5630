"""The step loop of all trainings: learning rate, accumulation, moving average, finite losses, log and state."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from ingest.errors import ModelError, UsageError
from ingest.files import storage_errors
from models.bfloat16 import SLOW, has_bfloat16
from models.training.memory import PartStep, fitted_parts
from models.training.options import CommonOptions, Memory, Options, Run, flat
from models.training.state import keep_rows, log_row, save_state

Report = Callable[[str], None]
Progress = Callable[[int, int], None]  # steps done, total steps
Losses = tuple[float, ...]


@dataclass(frozen=True)
class Session:
    """Where a training runs, what it reports to, and when it has to stop."""

    fabric: Fabric
    folder: Path
    report: Report  # on the first process
    progress: Progress
    until: float = math.inf  # time.monotonic()

    @classmethod
    def start(
        cls, options: CommonOptions, folder: Path, report: Report, progress: Progress, hours: float | None = None
    ) -> Session:
        """Launch the processes of a training and seed them."""
        torch.set_num_threads(options.run.threads)
        half = options.run.half_precision and has_bfloat16(_device(options.run.device))
        fabric = _launched(options.run, options.subject, half)
        torch.manual_seed(options.seed)
        until = math.inf if hours is None else time.monotonic() + hours * 3600
        return cls(fabric, folder, report if fabric.is_global_zero else _silent, progress, until)

    @property
    def state(self) -> Path:
        return self.folder / "state.pt"

    @property
    def log(self) -> Path:
        return self.folder / "log.csv"

    def time_is_up(self) -> bool:
        """Whether to stop, by the clock of the first process: all must stop at the same step."""
        return self.until < math.inf and bool(self.fabric.broadcast(time.monotonic() > self.until))


@dataclass
class Learner:
    """A network in training, the moving average of its weights (None: no average), and the optimiser."""

    network: nn.Module
    averaged: AveragedModel | None
    optimiser: torch.optim.Optimizer

    @classmethod
    def of(cls, network: nn.Module, options: CommonOptions, parameters: list[nn.Parameter]) -> Learner:
        """Prepare AdamW for `parameters` of a network."""
        averaged = AveragedModel(network, use_buffers=True) if options.optimiser.average_decay else None
        rate, decay = options.schedule.learning_rate, options.optimiser.weight_decay
        return cls(network, averaged, torch.optim.AdamW(parameters, rate, weight_decay=decay))

    @property
    def result(self) -> nn.Module:
        """The network with averaged weights."""
        return self.network if self.averaged is None else self.averaged.module

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The weights that the optimiser changes."""
        return [parameter for group in self.optimiser.param_groups for parameter in group["params"]]

    def set_rate(self, rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def average(self, options: CommonOptions, step: int) -> None:
        """Update the moving average after a step."""
        if self.averaged is None:
            return
        decay = options.optimiser.average_decay
        if options.optimiser.average_warm_up:
            decay = min(decay, (1 + step) / (10 + step))
        self.averaged.multi_avg_fn = get_ema_multi_avg_fn(decay)
        self.averaged.update_parameters(self.network)

    def state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "averaged": (self.averaged or self.network).state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])


@dataclass(frozen=True)
class Stage:
    """What is learnt: items, losses, learning rate, and what the log says of it."""

    steps: int
    items: Dataset[Any]
    module: nn.Module  # called by `losses` through Fabric
    losses: Callable[[Any, Any], tuple[Tensor, ...]]  # of the wrapped module and a part of a batch; their sum falls
    trial: PartStep  # a part on noise, to measure memory
    rate: Callable[[int], float]
    # After so many steps, with the losses since the last row: a row of the log, and the line that reports it.
    row: Callable[[int, list[Losses]], tuple[dict[str, Any], str]]
    log_every: int
    pairs: dict[str, str | None]  # fingerprints of the data by kind
    number: int = 0  # 0: the only one
    before: int = 0  # steps of former stages
    total: int | None = None  # steps of all stages; None: `steps`

    @property
    def label(self) -> str:
        return f" of stage {self.number}" if self.number else ""


def run_stage(
    session: Session, options: Options, learner: Learner, stage: Stage, first: int = 0, parts: int | None = None
) -> Options:
    """Run the steps of a stage from `first` on; returns the options with the parts into which batches are divided.

    `parts` is their number where it is known, else as many as memory demands. Raises `UsageError` where not even one
    item fits into memory, `ModelError` for a loss or gradients that are not finite and where time is up before the end,
    `StorageError` where log and state cannot be written.
    """
    if options.run.half_precision and not has_bfloat16(session.fabric.device):
        session.report(f"{SLOW}: computing in float32")
    options = _divided(session, options, learner, stage, parts)
    _prepare_folder(session, stage.before + first)
    model, optimiser = session.fabric.setup(stage.module, learner.optimiser)
    items = _parts(session.fabric, options, stage, first)
    save_every = options.run.save_every or stage.log_every
    losses: list[Losses] = []
    for step in range(first, stage.steps):
        torch.manual_seed(_seed(options, stage, step, session.fabric))
        learner.set_rate(stage.rate(step))
        with finite_step(session.folder, f"{step + 1}{stage.label}"):
            losses.append(_step(session.fabric, model, optimiser, learner, stage, items, options.memory.accumulate))
        learner.average(options, step)
        done, time_is_up = step + 1, session.time_is_up()
        session.progress(stage.before + done, stage.total or stage.steps)
        last = done == stage.steps or time_is_up
        logged, saved = (last or done % every == 0 for every in (stage.log_every, save_every))
        if logged or saved:
            _save(session, options, learner, stage, done, losses, logged, saved)
            losses = [] if logged else losses
        if time_is_up and done < stage.steps:
            raise ModelError(session.folder, f"time is up at step {done}{stage.label}", "continue with --resume")
    return options


def _step(
    fabric: Fabric, model: Any, optimiser: Any, learner: Learner, stage: Stage, parts: Iterator[Any], accumulate: int
) -> Losses:
    """Take one optimiser step over `accumulate` parts of a batch; returns its mean losses over all devices.

    Raises `NotFinite` before it reaches the weights.
    """
    model.train()
    optimiser.zero_grad(set_to_none=True)
    totals: list[Tensor] = []
    for part in range(accumulate):
        last = part == accumulate - 1
        with nullcontext() if last else fabric.no_backward_sync(model):
            losses = stage.losses(model, next(parts))
            fabric.backward(torch.stack(losses).sum() / accumulate)
        totals.append(torch.stack([loss.detach() for loss in losses]).float() / accumulate)
    means = tuple(float(loss) for loss in fabric.all_reduce(torch.stack(totals).sum(dim=0)))
    require_finite("loss", *means)
    require_finite("gradient", float(nn.utils.clip_grad_norm_(learner.parameters, 1.0)))
    optimiser.step()
    return means


def parts_of_batches(options: CommonOptions, steps: int, first: int, rank: int) -> Iterator[list[int]]:
    """Yield the items of each part of each step from `first` on for process `rank`.

    Items are dealt out like cards, so that every part has its share of the pairs at the front of a batch.
    """
    batch_size, accumulate = options.schedule.batch_size, options.memory.accumulate
    for step in range(first, steps):
        batch = range(step * batch_size, (step + 1) * batch_size)
        for part in range(accumulate):
            yield list(batch[rank * accumulate + part :: options.run.devices * accumulate])


class NotFinite(Exception):
    """The loss or the gradient of a step, as its text says, is not finite."""


def require_finite(what: str, *values: float) -> None:
    """Raise `NotFinite` unless all values are finite."""
    if not all(math.isfinite(value) for value in values):
        raise NotFinite(what)


@contextmanager
def finite_step(folder: Path, step: str) -> Iterator[None]:
    """Turn `NotFinite` in a step of the training in `folder` into `ModelError`."""
    try:
        yield
    except NotFinite as error:
        problem = f"the {error} of step {step} is not finite"
        raise ModelError(folder, problem, "train again with a lower learning_rate or a warm_up") from error


def _divided(session: Session, options: Options, learner: Learner, stage: Stage, parts: int | None) -> Options:
    def report(line: str) -> None:
        session.report(f"stage {stage.number}: {line}" if stage.number else line)

    batch = options.schedule.batch_size // options.run.devices
    memory = options.memory if parts is None else Memory(parts)
    found = fitted_parts(stage.trial, learner.network, learner.optimiser, batch, memory, session.fabric, report)
    return replace(options, memory=replace(options.memory, accumulate=found))


def _prepare_folder(session: Session, step: int) -> None:
    with storage_errors(session.folder):
        session.folder.mkdir(parents=True, exist_ok=True)
        if session.fabric.is_global_zero:
            keep_rows(session.log, step)


def _parts(fabric: Fabric, options: CommonOptions, stage: Stage, first: int) -> Iterator[Any]:
    """Start reading parts of batches at once: a loader draws from the random numbers that a step is seeded with."""
    loader = DataLoader(
        stage.items,
        batch_sampler=parts_of_batches(options, stage.steps, first, fabric.global_rank),
        num_workers=options.run.workers,
        pin_memory=fabric.device.type == "cuda",
    )
    return (_moved(part, fabric.device) for part in iter(loader))


def _moved(part: Any, device: torch.device) -> Any:
    tensors = [tensor.to(device, non_blocking=True) for tensor in part]
    return type(part)(*tensors) if hasattr(part, "_fields") else tuple(tensors)


def _seed(options: CommonOptions, stage: Stage, step: int, fabric: Fabric) -> int:
    """Return the seed of a step's dropout, the same after resuming."""
    stream = (options.seed, stage.number, step, fabric.global_rank)
    return int(np.random.SeedSequence(stream).generate_state(1)[0])


def _save(
    session: Session, options: Options, learner: Learner, stage: Stage, done: int, losses: list[Losses],
    logged: bool, saved: bool,
) -> None:  # fmt: skip
    if session.fabric.is_global_zero:
        row, line = stage.row(done, losses) if logged else ({}, "")
        with storage_errors(session.folder):
            # The log first: a resumed training deletes the rows after its state, but cannot add missing ones.
            if logged:
                log_row(session.log, row)
            if saved:
                at = {"options": flat(options), "pairs": stage.pairs, "stage": stage.number, "step": done}
                save_state(session.state, learner.state() | at)
        if line:
            session.report(line)
    session.fabric.barrier()


def _silent(line: str) -> None:
    """Report nothing."""


def _device(name: str) -> torch.device:
    """Return the kind of device that an option names."""
    found = torch.accelerator.current_accelerator(check_available=True) if name == "auto" else torch.device(name)
    return found or torch.device("cpu")


def _launched(run: Run, subject: str, half: bool) -> Fabric:
    """Start the processes of a training on its devices; `half`: in bfloat16 with weights in float32.

    Raises `UsageError` about `subject` where a GPU is requested and there is none.
    """
    if run.device == "cuda" and not torch.cuda.is_available():
        raise UsageError(subject, "device is 'cuda', but there is no GPU", 'train with device = "auto"')
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)  # it announces the precision
    fabric = Fabric(
        accelerator=run.device,
        devices=run.devices,
        strategy="ddp" if run.devices > 1 else "auto",
        precision="bf16-mixed" if half else "32-true",
    )
    fabric.launch()
    return fabric
