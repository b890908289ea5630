"""How the champion does on held-out data now, next to what it did when it was promoted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.evaluate import evaluate_models
from flows.registering import code_version
from flows.retraining.card import standing_text
from flows.retraining.comparing import figures, plain_decision, said_of
from flows.retraining.decision import Check, Decision, checked
from flows.retraining.heldout import heldout_fingerprints
from flows.retraining.plan import Plan
from ingest.errors import ModelError
from ingest.files import read_json, whole_folder, write_json
from models.checkpoint import read_checkpoint
from models.registry.registry import ChampionModel, Registry

RECORD, TEXT = "standing.json", "standing.md"


@dataclass(frozen=True)
class Standing:
    """How a champion does."""

    champion: str
    checks: tuple[Check, ...]  # none where there is nothing to hold it to
    folder: Path  # with standing.json and standing.md
    verdict: str

    @property
    def holds(self) -> bool:
        """Whether no score is known to have dropped beyond its margin."""
        return all(check.holds for check in self.checks)

    def require(self) -> None:
        """Raise `ModelError` where it does not hold."""
        dropped = "; ".join(check.reason for check in self.checks if not check.holds)
        if dropped:
            remedy = f"see {self.folder / TEXT}; slickwatch models rollback, or retrain"
            raise ModelError(self.champion, f"is not what it was ({dropped})", remedy)


def champion_standing(plan: Plan) -> Standing:
    """Evaluate the champion on each held-out set and compare with its figures of before, within the margins.

    Those are of its promotion; of a champion that was never compared, such as the shipped one, its first evaluation
    here. The record is stored either way. Raises what evaluating raises.
    """
    champion = Registry(plan.registry).champion()
    folder = plan.folder / "champion" / champion.id
    baseline_file = folder.with_name(f"{champion.id}.first.json")
    now = _evaluated(plan, champion)
    before = _before(champion, baseline_file)
    common = {name: (before[name], one["champion"]) for name, one in now.items() if name in before}
    checks = checked(common, plan.margins)
    verdict = _verdict(checks, before, now)
    record = {
        "format": 1,
        "at": datetime.now(UTC).isoformat(),
        "code_version": code_version(),
        "champion": {"id": champion.id, "weights_sha256": read_checkpoint(str(champion.folder)).weights_sha256,
                     "refused": list(champion.refused)},
        "verdict": verdict,
        "heldout": now,
        "before": dict(before),
        "checks": plain_decision(Decision(False, (), checks))["checks"],
    }  # fmt: skip
    with whole_folder(folder, required=(RECORD, TEXT)) as hidden:
        write_json(hidden / RECORD, record)
        (hidden / TEXT).write_text(standing_text(record, checks), encoding="utf-8")
    if not before:
        write_json(baseline_file, record["heldout"])
    return Standing(champion.id, checks, folder, verdict)


def _evaluated(plan: Plan, champion: ChampionModel) -> dict[str, Any]:
    evaluated = {}
    for name, fingerprint in heldout_fingerprints(plan.heldout).items():
        record = evaluate_models(name, [str(champion.folder)])
        (scores,) = record["models"].values()
        evaluated[name] = {**said_of(record, fingerprint), "champion": figures(scores)}
    return evaluated


def _before(champion: ChampionModel, baseline_file: Path) -> Mapping[str, Any]:
    """The figures of before by held-out set, each with the hash of its images."""
    if champion.version is not None:
        metrics = champion.version.provenance.metrics
        found = {name: one for name, one in metrics.items() if isinstance(one, Mapping) and "sha256" in one}
        if found:
            return found
    return {name: {**one["champion"], "sha256": one["sha256"]} for name, one in read_json(baseline_file).items()}


def _verdict(checks: tuple[Check, ...], before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if not checks:
        return "There are no figures of before: these are the first."
    changed = [name for name, one in now.items() if name in before and before[name].get("sha256") != one["sha256"]]
    said = "It holds." if all(check.holds for check in checks) else "It has dropped."
    return f"{said} The images of {', '.join(changed)} are others than before." if changed else said
