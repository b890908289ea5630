"""A retraining from end to end. Whoever calls it says how each step is run: as a Prefect task, or as it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from flows.registering import code_version
from flows.retraining import budget, comparing, trainings
from flows.retraining.budget import Clock
from flows.retraining.card import CARD, COMPARISON, RECORD, SHEET, card_text, comparison_text
from flows.retraining.combined import Collected, collect
from flows.retraining.decision import Decision
from flows.retraining.heldout import require_apart
from flows.retraining.plan import Plan
from flows.retraining.steps import DONE, Done, only_one, tidy
from ingest.files import read_json, whole_folder, write_json
from models.checkpoint import read_checkpoint
from outputs.record import config_hash, peak_memory_bytes

Result = TypeVar("Result")
Do = Callable[[str, Callable[..., Any]], Callable[..., Any]]  # a step's name and function to what runs it


@dataclass(frozen=True)
class Outcome:
    """What a retraining came to."""

    challenger: str
    champion: str  # from now on
    promoted: bool
    reasons: tuple[str, ...]
    folder: Path  # with comparison.md, comparison.json, README.md and, where there is one, contact-sheet.png
    reused: tuple[str, ...]  # steps that were done before


def plainly(_name: str, function: Callable[..., Result]) -> Callable[..., Result]:
    """Run a step as it is."""
    return function


def retrain(plan: Plan, do: Do = plainly, run: str | None = None) -> Outcome:
    """Collect data, train SAR-JointNet, draw pairs anew, train SAROSS-Net, and let it replace the champion if it holds.

    Run again after a failure, it goes on where it stopped; after an end, it begins the next round, from the last
    diffusion model. `run` is an id for the provenance. Raises `UsageError` where another one is at work in the same
    folder or held-out data are trained on, `OutOfTime`, and what the steps raise.
    """
    clock = Clock(plan.hours)
    with only_one(plan.folder):
        data: Collected = do("collect-data", collect)(plan)
        do("check-held-out", require_apart)(plan.datasets, data, plan.heldout)
        b: Done = do("balance", trainings.balance)(plan, data)
        start = trainings.start_of(plan, data)
        jointnet: Done = do("train-jointnet", trainings.train_diffusion)(
            plan, data, b.value["b"], start, clock.share(budget.JOINTNET)
        )
        synthetic: Done = do("synthesize", trainings.synthetic_pairs)(
            plan, data, jointnet, clock.share(budget.SYNTHESIS)
        )
        quality: Done = do("quality", trainings.quality)(plan, data, synthetic)
        student: Done = do("train-saross", trainings.train_student)(plan, data, synthetic, clock.share(budget.STUDENT))
        steps = {"balance": b, "jointnet": jointnet, "synthetic": synthetic, "quality": quality, "student": student}
        outcome: Outcome = do("compare-and-promote", settle)(plan, data, steps, run)
        _end_round(plan, data, steps)
    return outcome


def settle(plan: Plan, data: Collected, steps: Mapping[str, Done], run: str | None) -> Outcome:
    """Compare the new model with the champion, write down what comes of it, and do it."""
    pair, champion = comparing.opponents(plan, steps["student"])
    folder = plan.folder / "comparisons" / pair.challenger
    if pair.champion == pair.challenger:  # this was interrupted after the promotion
        return _written(folder, pair.challenger, steps)
    comparison = comparing.compare(plan, pair)
    decision = comparing.decided(plan, pair, comparison)
    steps = {**steps, "evaluation": comparison}
    record = _record(plan, data, pair, steps, run) | {"refused": list(champion.refused)}
    card = card_text(record, decision)
    _write(folder, record, decision, card, steps)
    comparing.register(plan, pair, data, comparison, card, run)
    comparing.promote(plan, pair, decision, run)
    print(f"{pair.challenger}: {decision.sentence}")
    now = pair.challenger if decision.promote else pair.champion
    return Outcome(pair.challenger, now, decision.promote, decision.reasons, folder, _reused(steps))


def _record(
    plan: Plan, data: Collected, pair: comparing.Opponents, steps: Mapping[str, Done], run: str | None
) -> dict[str, Any]:  # fmt: skip
    champion = read_checkpoint(str(pair.champion_folder))
    options = {"jointnet": asdict(plan.jointnet), "student": asdict(plan.student), "generate": asdict(plan.generate),
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
        "durations_s": {name: done.seconds for name, done in steps.items()},
        "peak_memory_bytes": peak_memory_bytes(),
    }  # fmt: skip


def _write(
    folder: Path, record: dict[str, Any], decision: Decision, card: str, steps: Mapping[str, Done]
) -> None:  # fmt: skip
    """Write it all aside and put it in place; the tables and pictures of the evaluation come along."""
    sheet = trainings.contact_sheet(steps["quality"])
    plain = {**record, "decision": comparing.plain_decision(decision)}
    with whole_folder(folder, required=(COMPARISON, RECORD, CARD)) as hidden:
        (hidden / COMPARISON).write_text(comparison_text(record, decision), encoding="utf-8")
        write_json(hidden / RECORD, plain)
        (hidden / CARD).write_text(card, encoding="utf-8")
        if sheet is not None:
            shutil.copyfile(sheet, hidden / SHEET)
        shutil.copytree(steps["evaluation"].folder, hidden / "evaluation", ignore=shutil.ignore_patterns(DONE))


def _written(folder: Path, champion: str, steps: Mapping[str, Done]) -> Outcome:
    reasons = tuple(read_json(folder / RECORD).get("decision", {}).get("reasons", ("it is the champion already",)))
    return Outcome(champion, champion, True, reasons, folder, _reused(steps))


def _reused(steps: Mapping[str, Done]) -> tuple[str, ...]:
    return tuple(name for name, done in steps.items() if done.reused)


def _end_round(plan: Plan, data: Collected, steps: Mapping[str, Done]) -> None:
    """Let the next round begin with this one's diffusion model, and remove the steps of rounds before."""
    jointnet = steps["jointnet"]
    write_json(plan.last_jointnet, {"folder": jointnet.folder.name, **jointnet.value})
    tidy(plan.folder, [data.folder, *(done.folder for done in steps.values())])
