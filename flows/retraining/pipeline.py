"""A retraining from end to end; the caller chooses how a step is run: as a Prefect task or directly."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from flows.retraining.comparison import compare
from flows.retraining.plan import Plan
from flows.retraining.quality import assess_synthetic, contact_sheet
from ingest.files import read_json, whole_folder, write_json
from models.checkpoint import read_checkpoint
from models.datasets.reviewed import ReviewedScene, reviewed_scenes
from models.registry.inventory import user_and_host
from models.registry.registry import Registry
from models.retraining import budget
from models.retraining.budget import Clock
from models.retraining.card import CARD, COMPARISON, RECORD, SHEET, card_text, comparison_text
from models.retraining.decision import Decision, Opponents, decide_promotion, promote_challenger, register_challenger
from models.retraining.diffusion import balance, diffusion_start, last_diffusion_file, train_diffusion
from models.retraining.heldout import heldout_fingerprints, require_disjoint
from models.retraining.steps import DONE, StepResult, TrainingData, exclusive, remove_other_steps
from models.retraining.student import train_student
from models.retraining.synthetic import generate_pairs
from models.retraining.training_data import collect_training_data
from models.training.options import flat
from outputs.catalogue import Catalogue, Selection
from outputs.record import code_version, config_hash, peak_memory_bytes

Result = TypeVar("Result")
Steps = Mapping[str, StepResult]
RunStep = Callable[[str, Callable[..., Any]], Callable[..., Any]]  # a step's name and function to what runs it


@dataclass(frozen=True)
class Outcome:
    """The result of a retraining."""

    challenger: str
    champion: str  # from now on
    promoted: bool
    reasons: tuple[str, ...]
    folder: Path  # with comparison.md, comparison.json, README.md and, where there is one, contact-sheet.png
    reused: tuple[str, ...]  # names of cached steps


def directly(_name: str, function: Callable[..., Result]) -> Callable[..., Result]:
    """Run a step as a plain call."""
    return function


def retrain(plan: Plan, step: RunStep = directly, run: str | None = None) -> Outcome:
    """Train a challenger on all data at hand, and promote it where it is within the margins.

    Run again after a failure, it resumes; after a completed round, it starts the next one from the last diffusion
    model. `run` is an id for the provenance. Raises `UsageError` where another retraining is running in the same
    folder or held-out images are trained on, `OutOfTime`, and what the steps raise.
    """
    clock, work = Clock(plan.hours), plan.folder
    with exclusive(work):
        data: TrainingData = step("collect-data", collect_data)(plan)
        step("check-held-out", require_disjoint)(plan.datasets, data, plan.heldout)
        b: StepResult = step("balance", balance)(work, data)
        start = diffusion_start(work, plan.jointnet, data)
        jointnet: StepResult = step("train-jointnet", train_diffusion)(
            work, plan.jointnet, data, b.value["b"], start, clock.share(budget.JOINTNET)
        )
        synthetic: StepResult = step("synthesize", generate_pairs)(
            work, plan.generate, plan.synthetic_multiple, data, jointnet, clock.share(budget.SYNTHESIS)
        )
        quality: StepResult = step("quality", assess_synthetic)(work, data, synthetic)
        student: StepResult = step("train-saross", train_student)(
            work, plan.student, plan.synthetic_multiple, data, synthetic, clock.share(budget.STUDENT)
        )
        steps = {"balance": b, "jointnet": jointnet, "synthetic": synthetic, "quality": quality, "student": student}
        outcome: Outcome = step("compare-and-promote", compare_and_promote)(plan, data, steps, run)
        _end_round(work, data, steps)
    return outcome


def collect_data(plan: Plan) -> TrainingData:
    """Collect the configured data sets and the reviewed slicks of the catalogue."""
    return collect_training_data(plan.folder, plan.datasets, catalogue_scenes(plan.catalogue))


def catalogue_scenes(catalogue: Path) -> list[ReviewedScene]:
    """Return the scenes with confirmed or rejected slicks; none without a catalogue. Raises what reading it raises."""
    if not catalogue.exists():
        return []
    opened = Catalogue.open(catalogue, create=False)
    return reviewed_scenes(opened.reviewed(), opened.slicks(Selection(status="unreviewed")))


def compare_and_promote(plan: Plan, data: TrainingData, steps: Steps, run: str | None) -> Outcome:
    """Compare the new model with the champion, write the comparison, register the model, promote it if it is better."""
    registry, student = Registry(plan.registry), steps["student"]
    champion = registry.champion()
    opponents = Opponents(champion.id, champion.folder, student.value["id"], student.folder)
    folder = plan.folder / "comparisons" / opponents.challenger
    if opponents.champion == opponents.challenger:  # an earlier run was interrupted after the promotion
        return _finished(folder, opponents.challenger, steps)
    comparison = compare(plan.folder, opponents, heldout_fingerprints(plan.heldout))
    decision = decide_promotion(comparison.value, opponents.challenger_folder, plan.margins)
    steps = {**steps, "evaluation": comparison}
    record = _record(plan, data, opponents, steps, run) | {"refused": list(champion.refused)}
    card = card_text(record, decision)
    _write(folder, record, decision, card, steps)
    register_challenger(
        plan.registry, opponents, data, comparison.value, card, run=run, code_version=code_version(),
        scratch=plan.folder,
    )  # fmt: skip
    if decision.promote:
        by = f"retrain-dakd, {f'run {run}' if run else user_and_host()}"
        promote_challenger(plan.registry, opponents, decision.sentence, by)
    registry.prune(plan.keep)
    print(f"{opponents.challenger}: {decision.sentence}")
    now = opponents.challenger if decision.promote else opponents.champion
    return Outcome(opponents.challenger, now, decision.promote, decision.reasons, folder, _reused(steps))


def _record(
    plan: Plan, data: TrainingData, opponents: Opponents, steps: Steps, run: str | None
) -> dict[str, Any]:  # fmt: skip
    champion = read_checkpoint(str(opponents.champion_folder))
    options = {"jointnet": flat(plan.jointnet), "student": flat(plan.student), "generate": asdict(plan.generate),
               "synthetic_multiple": plan.synthetic_multiple, "margins": asdict(plan.margins)}  # fmt: skip
    return {
        "format": 1,
        "run": run,
        "code_version": code_version(),
        "config_hash": config_hash(options),
        "options": options,
        "champion": {"id": champion.id, "weights_sha256": champion.weights_sha256},
        "challenger": steps["student"].value,
        "data": {"sources": data.sources, "sha256": data.sha256, "n_train": data.n_train, "chips": data.chips,
                 "left_out": data.left_out, "notes": data.notes},
        "balance": steps["balance"].value,
        "jointnet": steps["jointnet"].value,
        "synthetic": steps["synthetic"].value,
        "quality": steps["quality"].value,
        "heldout": steps["evaluation"].value,
        "durations_s": {name: result.seconds for name, result in steps.items()},
        "peak_memory_bytes": peak_memory_bytes(),
    }  # fmt: skip


def _write(folder: Path, record: dict[str, Any], decision: Decision, card: str, steps: Steps) -> None:
    """Replace the folder of the comparison, with the tables and pictures of the evaluation."""
    sheet = contact_sheet(steps["quality"])
    with whole_folder(folder, required=(COMPARISON, RECORD, CARD)) as hidden:
        (hidden / COMPARISON).write_text(comparison_text(record, decision), encoding="utf-8")
        write_json(hidden / RECORD, {**record, "decision": decision.as_dict()})
        (hidden / CARD).write_text(card, encoding="utf-8")
        if sheet is not None:
            shutil.copyfile(sheet, hidden / SHEET)
        shutil.copytree(steps["evaluation"].folder, hidden / "evaluation", ignore=shutil.ignore_patterns(DONE))


def _finished(folder: Path, champion: str, steps: Steps) -> Outcome:
    decision = read_json(folder / RECORD).get("decision", {})
    reasons = tuple(decision.get("reasons", ("it is already the champion",)))
    return Outcome(champion, champion, True, reasons, folder, _reused(steps))


def _reused(steps: Steps) -> tuple[str, ...]:
    return tuple(name for name, result in steps.items() if result.reused)


def _end_round(work: Path, data: TrainingData, steps: Steps) -> None:
    """Let the next round start from this diffusion model, and remove the steps of earlier rounds."""
    jointnet = steps["jointnet"]
    write_json(last_diffusion_file(work), {"folder": jointnet.folder.name, **jointnet.value})
    remove_other_steps(work, [data.folder, *(result.folder for result in steps.values())])
