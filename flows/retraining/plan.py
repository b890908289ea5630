"""The plan of a retraining: the settings, and the options of the run itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flows.settings import Settings
from models.jointnet.generate import GenerateOptions
from models.jointnet.options import JointOptions, read_joint_options
from models.retraining.margins import Margins
from models.training.options import changed
from models.training.segmentation_options import TrainOptions, read_options


@dataclass(frozen=True)
class Plan:
    """Everything a retraining depends on."""

    folder: Path  # of its steps and results
    datasets: tuple[str, ...]  # to train on; names or folders
    heldout: tuple[str, ...]  # whose test images decide; names or folders
    catalogue: Path  # of reviewed slicks; may be missing
    registry: Path
    keep: int  # spare versions in the registry
    jointnet: JointOptions
    student: TrainOptions
    generate: GenerateOptions
    synthetic_multiple: float
    margins: Margins
    hours: float  # of all steps together


def make_plan(
    settings: Settings, hours: float | None = None, max_steps: int | None = None, memory_gb: float | None = None
) -> Plan:
    """Make a plan from settings; options given here override their budget. Raises `UsageError`."""
    retraining, budget = settings.retraining, settings.retraining.budget
    steps = max_steps or budget.steps
    memory_gb = memory_gb or budget.memory_gb
    jointnet = _with_steps(read_joint_options(retraining.start.jointnet_config), steps)
    student = read_options(retraining.start.student_config)
    if steps is not None:
        student = changed(student, steps=steps, epochs=None)
    if memory_gb is not None:
        jointnet, student = changed(jointnet, memory_gb=memory_gb), changed(student, memory_gb=memory_gb)
    generate = GenerateOptions(
        retraining.solver, retraining.solver_steps, seed=jointnet.seed, memory_gb=memory_gb, device=jointnet.run.device,
        threads=jointnet.run.threads,
    )  # fmt: skip
    margins = Margins(**retraining.margins.model_dump())
    return Plan(
        retraining.folder, retraining.datasets, retraining.heldout, settings.monitor.catalogue,
        settings.models.registry, settings.models.keep, jointnet, student, generate, retraining.synthetic_multiple,
        margins, hours or budget.hours,
    )  # fmt: skip


def _with_steps(options: JointOptions, steps: int | None) -> JointOptions:
    """Distribute `steps` over the three stages in proportion to those of the options, at least one for each in use."""
    if steps is None:
        return options
    total = sum(options.schedule.steps)
    first, second, third = (max(1, round(steps * stage / total)) if stage else 0 for stage in options.schedule.steps)
    return changed(options, steps=(first, second, third))
