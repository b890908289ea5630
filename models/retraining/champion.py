"""The champion on held-out data now, compared with its scores at its promotion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingest.errors import ModelError
from ingest.files import read_json, whole_folder, write_json
from models.checkpoint import read_checkpoint
from models.evaluation.comparison import compare_models
from models.registry.registry import ChampionModel, Registry
from models.retraining.card import champion_text
from models.retraining.decision import Check, check_scores
from models.retraining.heldout import heldout_fingerprints, heldout_record, kept_scores
from models.retraining.margins import Margins

RECORD, TEXT = "standing.json", "standing.md"


@dataclass(frozen=True)
class ChampionReport:
    """How the champion performs now."""

    champion: str
    checks: tuple[Check, ...]  # none at its first evaluation
    folder: Path  # with standing.json and standing.md
    verdict: str

    @property
    def holds(self) -> bool:
        """Whether all scores are within their margins."""
        return all(check.holds for check in self.checks)

    def require(self) -> None:
        """Raise `ModelError` where a score has dropped beyond its margin."""
        dropped = "; ".join(check.reason for check in self.checks if not check.holds)
        if dropped:
            remedy = f"see {self.folder / TEXT}; slickwatch models rollback, or retrain"
            raise ModelError(self.champion, f"scores have dropped ({dropped})", remedy)


def report_champion(
    work: Path, registry: Path, heldout: Sequence[str], margins: Margins, code_version: str | None
) -> ChampionReport:
    """Evaluate the champion on each held-out set and compare with its earlier scores, within the margins.

    Those are of its promotion or, for a champion that was never compared, such as the shipped one, of its first
    evaluation here. The record is written below `work` either way. Raises what evaluating raises.
    """
    champion = Registry(registry).champion()
    folder = work / "champion" / champion.id
    first_file = folder.with_name(f"{champion.id}.first.json")
    now = _evaluations(champion, heldout)
    before = _earlier_scores(champion, first_file)
    both = {name: (before[name], one["champion"]) for name, one in now.items() if name in before}
    checks = check_scores(both, margins)
    verdict = _verdict(checks, before, now)
    record = {
        "format": 1,
        "at": datetime.now(UTC).isoformat(),
        "code_version": code_version,
        "champion": {"id": champion.id, "weights_sha256": read_checkpoint(str(champion.folder)).weights_sha256,
                     "refused": list(champion.refused)},
        "verdict": verdict,
        "heldout": now,
        "before": dict(before),
        "checks": [check.as_dict() for check in checks],
    }  # fmt: skip
    with whole_folder(folder, required=(RECORD, TEXT)) as hidden:
        write_json(hidden / RECORD, record)
        (hidden / TEXT).write_text(champion_text(record, checks), encoding="utf-8")
    if not before:
        write_json(first_file, now)
    return ChampionReport(champion.id, checks, folder, verdict)


def _evaluations(champion: ChampionModel, heldout: Sequence[str]) -> dict[str, Any]:
    evaluations = {}
    for name, fingerprint in heldout_fingerprints(heldout).items():
        record = compare_models(name, [str(champion.folder)]).record
        (scores,) = record["models"].values()
        evaluations[name] = {**heldout_record(record, fingerprint), "champion": kept_scores(scores)}
    return evaluations


def _earlier_scores(champion: ChampionModel, first_file: Path) -> Mapping[str, Any]:
    """Return the earlier scores by held-out set, each with the hash of its images."""
    if champion.version is not None:
        metrics = champion.version.provenance.metrics
        found = {name: one for name, one in metrics.items() if isinstance(one, Mapping) and "sha256" in one}
        if found:
            return found
    return {name: {**one["champion"], "sha256": one["sha256"]} for name, one in read_json(first_file).items()}


def _verdict(checks: tuple[Check, ...], before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if not checks:
        return "First evaluation: there are no earlier scores."
    changed = [name for name, one in now.items() if name in before and before[name].get("sha256") != one["sha256"]]
    verdict = "Scores hold." if all(check.holds for check in checks) else "Scores have dropped."
    return f"{verdict} The images of {', '.join(changed)} have changed since." if changed else verdict
