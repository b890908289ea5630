"""The three stages in which SAR-JointNet is trained (DAKD, section 3.2.2), resumable at any saved step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from ingest.errors import ModelError, UsageError
from ingest.files import storage_errors
from models.datasets.catalogue import open_dataset
from models.datasets.fingerprint import fingerprint
from models.datasets.pairs import LabelledImages
from models.jointnet.balance import balancing_factor
from models.jointnet.checkpoint import JointCheckpoint, load_jointnet, read_jointnet, save_jointnet
from models.jointnet.diffusion import Balanced, training_loss
from models.jointnet.network import SARJointNet, build_jointnet, trainable
from models.jointnet.options import JointOptions
from models.jointnet.pairs import JointPairs, Noisy
from models.training.engine import Learner, Losses, Progress, Report, Session, Stage, run_stage
from models.training.memory import PartStep
from models.training.options import recorded
from models.training.state import damage_named, read_state, stored_parts


@dataclass(frozen=True)
class Dataset:
    """The pairs to learn, their fingerprint, and the scales of images and labels."""

    images: LabelledImages
    sha256: str
    balanced: Balanced

    @classmethod
    def of(cls, options: JointOptions) -> Dataset:
        """Open the training pairs, and compute the balancing factor unless it is given."""
        dataset, diffusion = options.data.dataset, options.diffusion
        images = open_dataset(dataset).train
        if images is None:
            raise UsageError(dataset, "has no pairs to train on", "give a data set with train/ and test/")
        b = balancing_factor(images).b if diffusion.b is None else diffusion.b
        balanced = Balanced(b, diffusion.label_loss == "cross-entropy", diffusion.timesteps)
        return cls(images, fingerprint(images), balanced)


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

    Each stage starts from the averaged weights of the one before. After `hours` it stops at a saved state. Raises
    `UsageError` for impossible options, and what `models.training.engine.run_stage` raises.
    """
    session = Session.start(options, folder, report, progress, hours)
    data = Dataset.of(options)
    network = _network(options, len(data.images.classes), session.fabric.device)
    number, first, state = 1, 0, None
    if resume and session.state.is_file():
        state = read_state(session.state, options, {"training": data.sha256}, session.fabric.device)
        with damage_named(session.state):
            number, first = int(state["stage"]), int(state["step"])
            steps = options.schedule.steps[number - 1]
            network.load_state_dict(state["network"])
        session.report(f"resuming stage {number} at step {first} of {steps}")
    for stage in range(number, 4):
        if options.schedule.steps[stage - 1] and (stage == 3 or isinstance(network, SARJointNet)):
            _train_stage(session, options, data, network, stage, first, state)
        first, state = 0, None
    return read_jointnet(folder)


class StageLoss(nn.Module):
    """The losses of one stage on a part of a batch: L_x alone in stage 1, then L_x and L_y of Algorithm 1."""

    def __init__(self, network: nn.Module, stage: int, balanced: Balanced) -> None:
        super().__init__()
        self.network, self.stage, self.balanced = network, stage, balanced

    def forward(self, part: Noisy) -> tuple[Tensor, Tensor]:
        """Return the mean losses of images and of labels over a part (B, ...)."""
        predict = self._images_alone if self.stage == 1 else self.network
        epsilon = (part.epsilon_x, part.epsilon_y)
        l_x, l_y = training_loss(predict, part.x_0, part.labels, part.t, epsilon, self.balanced)
        return l_x, torch.zeros_like(l_y) if self.stage == 1 else l_y

    def _images_alone(self, x_t: Tensor, y_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        assert isinstance(self.network, SARJointNet)
        return self.network.sar_net(x_t, t).sample, torch.zeros_like(y_t)


def _train_stage(
    session: Session,
    options: JointOptions,
    data: Dataset,
    network: nn.Module,
    number: int,
    first: int,
    state: dict[str, Any] | None,
) -> None:
    """Train one stage from step `first`, continue with the averaged weights, and save them as the model."""
    if first == 0 and number == 2 and isinstance(network, SARJointNet):
        network.begin_label_net()
    learner, parts = Learner.of(network, options, _stage_parameters(network, number)), None
    if state is not None:
        with damage_named(session.state):
            learner.restore(state)
            parts = stored_parts(options, state)
    stage = _stage(session.fabric, options, data, network, number)
    options = run_stage(session, options, learner, stage, first, parts)
    network.load_state_dict(learner.result.state_dict())
    if session.fabric.is_global_zero:
        with storage_errors(session.folder):
            save_jointnet(
                session.folder,
                network,
                options.architecture(len(data.images.classes)),
                data.balanced,
                data.images.classes,
                options.data.crop,
                number,
                {"options": recorded(options), "pairs": {"n": len(data.images), "sha256": data.sha256}},
            )
    session.fabric.barrier()


def _stage(fabric: Fabric, options: JointOptions, data: Dataset, network: nn.Module, number: int) -> Stage:
    schedule, loss = options.schedule, StageLoss(network, number, data.balanced)
    steps, before = schedule.steps[number - 1], sum(schedule.steps[: number - 1])
    factor = schedule.final_factor if number == 3 else 1.0
    return Stage(
        steps=steps,
        items=JointPairs(options, data.images, number),
        module=loss,
        losses=lambda model, part: model(part),  # summed by the engine, Eq. 7
        trial=_trial(fabric, options, loss, len(data.images.classes)),
        rate=lambda step: factor * schedule.rate(step, steps),
        row=_log_row(number, steps, before),
        log_every=options.run.save_every or steps,
        pairs={"training": data.sha256},
        number=number,
        before=before,
        total=sum(schedule.steps),
    )


def _stage_parameters(network: nn.Module, number: int) -> list[nn.Parameter]:
    """Freeze all weights but those of a stage, and return these."""
    network.requires_grad_(False)
    parameters = list(trainable(network, number))
    for parameter in parameters:
        parameter.requires_grad_(True)
    return parameters


def _trial(fabric: Fabric, options: JointOptions, loss: StageLoss, classes: int) -> PartStep:
    def step(items: int) -> None:
        shape, device = (options.data.crop, options.data.crop), fabric.device
        x_0, epsilon_x, epsilon_y = (torch.randn(items, c, *shape, device=device) for c in (1, 1, classes))
        labels, t = torch.zeros(items, *shape, dtype=torch.long), torch.zeros(items, dtype=torch.long)
        with fabric.autocast():
            l_x, l_y = loss(Noisy(x_0, labels.to(device), t.to(device), epsilon_x, epsilon_y))
        (l_x + l_y).backward()

    return step


def _log_row(number: int, steps: int, before: int) -> Callable[[int, list[Losses]], tuple[dict[str, Any], str]]:
    def row(done: int, losses: list[Losses]) -> tuple[dict[str, Any], str]:
        l_x, l_y = (sum(one) / len(losses) for one in zip(*losses, strict=True))
        values = {"step": before + done, "stage": number, "l_x": round(l_x, 5), "l_y": round(l_y, 5)}
        return values, f"stage {number}, step {done} of {steps}: L_x {l_x:.4f}, L_y {l_y:.4f}"

    return row


def _network(options: JointOptions, classes: int, device: torch.device) -> nn.Module:
    network, start = build_jointnet(options.architecture(classes)), options.model.start
    if start:
        try:
            network.load_state_dict(load_jointnet(Path(start))[0].state_dict())
        except RuntimeError as error:
            raise ModelError(start, "has another architecture", "start from a model of the same one") from error
    return network.to(device)
