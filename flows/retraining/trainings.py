"""The two trainings and what is drawn in between: SAR-JointNet, synthetic pairs, SAROSS-Net."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flows.quality import SHEET, assess_quality
from flows.retraining.budget import OutOfTime, ends_after
from flows.retraining.combined import Collected, write_pair
from flows.retraining.plan import Plan
from flows.retraining.steps import Done, Value, done_once
from ingest.errors import ModelError, UsageError
from ingest.files import read_json
from ingest.progress import step
from models.checkpoint import read_checkpoint
from models.datasets import open_dataset
from models.jointnet.balance import balancing_factor
from models.jointnet.checkpoint import JointCheckpoint, read_jointnet
from models.jointnet.options import JointOptions
from models.jointnet.training import train_jointnet
from models.synthesis.generate import synthesize
from models.training import train

QUALITY_IMAGES = 500  # of each kind that are compared
_DATA_CODE = ("models/datasets", "models/simulator", "preprocess/options.py")
_JOINTNET_CODE = ("models/jointnet", "models/training/losses.py", *_DATA_CODE)
_WHERE_IT_RUNS = {"device", "devices", "accumulate", "memory_gb", "workers", "threads"}


@dataclass(frozen=True)
class Start:
    """The diffusion model to go on from; None: random weights, for the reason in `note`."""

    folder: Path | None
    weights_sha256: str | None
    note: str


def balance(plan: Plan, data: Collected) -> Done:
    """Compute the balancing factor b of what is trained on."""

    def body(folder: Path) -> Value:
        split = open_dataset(data.real)
        assert split.train is not None
        with step("balance") as advance:
            return asdict(balancing_factor(split.train, progress=advance, cache_folder=folder / "cache"))

    return done_once(plan.folder, "balance", {"data": data.sha256}, _JOINTNET_CODE, body)


def start_of(plan: Plan, data: Collected) -> Start:
    """Return the last retraining's diffusion model where there is one of the same architecture, else the config's."""
    last = read_json(plan.last_jointnet).get("folder")
    folder = plan.folder / str(last) if last else None
    if folder is None:
        given = plan.jointnet.start
        if given is None:
            return Start(None, None, "from random weights, as there is no diffusion model yet")
        return Start(Path(given), read_jointnet(Path(given)).weights_sha256, f"from {given}, which the options name")
    try:
        checkpoint = read_jointnet(folder)
    except ModelError as error:
        return Start(None, None, f"from random weights, as the last diffusion model cannot be used ({error})")
    if checkpoint.architecture != plan.jointnet.architecture(len(data.classes)):
        return Start(None, None, "from random weights, as the last diffusion model has another architecture")
    return Start(folder, checkpoint.weights_sha256, f"from {checkpoint.id}, that of the last retraining")


def diffusion_options(plan: Plan, data: Collected, b: float, start: Start) -> JointOptions:
    """What SAR-JointNet is trained with: a model that knows images and labels already learns in stage 3 alone."""
    options = replace(plan.jointnet, dataset=data.real, b=b, start=None if start.folder is None else str(start.folder))
    if start.folder is None or read_jointnet(start.folder).stage < 2:
        return options
    return replace(options, steps=(0, 0, options.steps[2] or options.steps[1]))


def train_diffusion(plan: Plan, data: Collected, b: float, start: Start, hours: float) -> Done:
    """Train or fine-tune SAR-JointNet, where it stopped if it was interrupted.

    Where time is up in stage 3, the model of stage 2 is taken, with a note. Raises `OutOfTime` before that.
    """
    options = diffusion_options(plan, data, b, start)
    depends_on = _facts(options, "dataset", "start") | {"data": data.sha256, "start": start.weights_sha256}

    def body(folder: Path) -> Value:
        until = time.monotonic() + hours * 3600
        note = start.note
        try:
            with step("train SAR-JointNet") as advance:
                checkpoint = train_jointnet(options, folder, resume=True, hours=hours, progress=advance)
        except ModelError as error:
            if time.monotonic() < until:
                raise
            checkpoint = _saved_so_far(folder, hours, error)
            note += f"; time was up in stage 3 ({hours:.2f} hours), and this is the model of stage 2"
        return {"id": checkpoint.id, "weights_sha256": checkpoint.weights_sha256, "stage": checkpoint.stage,
                "note": note, "options": asdict(options)}  # fmt: skip

    return done_once(plan.folder, "jointnet", depends_on, _JOINTNET_CODE, body, resumable=True)


def _saved_so_far(folder: Path, hours: float, error: ModelError) -> JointCheckpoint:
    """The model of the stage before, where that knows labels."""
    try:
        checkpoint = read_jointnet(folder)
    except ModelError:
        checkpoint = None
    if checkpoint is None or checkpoint.stage < 2:
        raise OutOfTime("SAR-JointNet", hours, error.problem) from error
    return checkpoint


def synthetic_pairs(plan: Plan, data: Collected, diffusion: Done, hours: float) -> Done:
    """Draw the synthetic set with the new weights, going on where it was interrupted. Raises `OutOfTime`."""
    count = max(1, round(plan.synthetic_multiple * data.n_train))
    drawn = _facts(plan.generate) | {"count": count, "weights": diffusion.value["weights_sha256"]}

    def body(folder: Path) -> Value:
        with step("synthesize") as advance:
            progress = ends_after(hours, "synthesis", advance)
            pairs = synthesize(diffusion.folder, count, folder, plan.generate, progress=progress)
        return {"count": len(pairs), "sha256": pairs.fingerprint(), "manifest": pairs.manifest.sha256,
                "solver": plan.generate.solver, "steps": plan.generate.steps}  # fmt: skip

    code = ("models/synthesis", *_JOINTNET_CODE)
    return done_once(plan.folder, "synthetic", drawn, code, body, resumable=True)


def quality(plan: Plan, data: Collected, synthetic: Done) -> Done:
    """Hold the synthetic images to crops of real ones, with a contact sheet; where that is impossible, say why."""

    def body(folder: Path) -> Value:
        size = read_json(synthetic.folder / "manifest.json")["size"]
        _write_crops(folder / "real", data, size)
        try:
            record = assess_quality(
                str(folder / "real"), str(synthetic.folder), folder / "figures", count=QUALITY_IMAGES
            )
        except UsageError as error:
            return {"problem": str(error), "measures": {}, "features": []}
        return {"problem": None, "measures": record["measures"], "features": record["features"]}

    depends_on = {"data": data.sha256, "synthetic": synthetic.value["sha256"]}
    code = ("flows/quality.py", "models/quality", "outputs/contact_sheet.py", *_DATA_CODE)
    return done_once(plan.folder, "quality", depends_on, code, body)


def contact_sheet(done: Done) -> Path | None:
    """The picture that `quality` left; None where there is none."""
    there = done.folder / "figures" / SHEET
    return there if there.is_file() else None


def _write_crops(folder: Path, data: Collected, size: list[int]) -> None:
    """Write real images cut to the size of the synthetic ones, spread evenly over the training set."""
    images = open_dataset(data.real).train
    assert images is not None
    rng = np.random.default_rng(0)
    for i in np.linspace(0, len(images), min(QUALITY_IMAGES, len(images)), endpoint=False).astype(int):
        grey, labels = images.grey(int(i))
        if all(n >= wanted for n, wanted in zip(grey.shape, size, strict=True)):
            top, left = (int(rng.integers(n - wanted + 1)) for n, wanted in zip(grey.shape, size, strict=True))
            window = (slice(top, top + size[0]), slice(left, left + size[1]))
            write_pair(folder, f"{i:06d}", grey[window], labels[window])


def train_student(plan: Plan, data: Collected, synthetic: Done, hours: float) -> Done:
    """Train SAROSS-Net on real and synthetic pairs with the soft labels of SAR-JointNet. Raises `OutOfTime`."""
    options = replace(
        plan.student, real=data.real, synthetic=str(synthetic.folder), synthetic_labels="soft",
        synthetic_multiple=plan.synthetic_multiple,
    )  # fmt: skip
    start = read_checkpoint(options.start).weights_sha256 if options.start else None
    depends_on = _facts(options, "real", "synthetic", "start") | {
        "data": data.sha256, "synthetic": synthetic.value["sha256"], "start": start,
    }  # fmt: skip

    def body(folder: Path) -> Value:
        with step("train SAROSS-Net") as advance:
            checkpoint = train(options, folder, resume=True, progress=ends_after(hours, "SAROSS-Net", advance))
        return {"id": checkpoint.id, "weights_sha256": checkpoint.weights_sha256, "classes": checkpoint.classes,
                "options": asdict(options)}  # fmt: skip

    code = ("models/training", "models/synthesis", "models/networks", *_DATA_CODE)
    return done_once(plan.folder, "saross-dakd", depends_on, code, body, resumable=True)


def _facts(options: Any, *without: str) -> dict[str, Any]:
    """Options that an outcome depends on: neither where it runs nor what is told otherwise."""
    return {name: value for name, value in asdict(options).items() if name not in {*without, *_WHERE_IT_RUNS}}
