"""Markdown of a retraining: the comparison of challenger and champion, the model card, the champion's report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ingest.markdown import markdown_table
from models.retraining.decision import Check, Decision

TABLE = ("miou", "oil_iou", "object_f1", "object_precision", "object_recall", "false_alarms_per_image", "ece")
COMPARISON, RECORD, CARD, SHEET = "comparison.md", "comparison.json", "README.md", "contact-sheet.png"


def comparison_text(record: Mapping[str, Any], decision: Decision) -> str:
    """Return the comparison of challenger and champion as Markdown."""
    champion, challenger = record["champion"]["id"], record["challenger"]["id"]
    verdict = f"{challenger} is the new champion." if decision.promote else f"{champion} stays the champion."
    parts = [
        f"# {challenger} and {champion}",
        f"**{verdict}**",
        "\n".join(f"- {reason}" for reason in decision.reasons),
        "## Criteria",
        _checks(decision.checks),
    ]
    for name, one in record["heldout"].items():
        parts += [f"## Held-out data: {name}", _dataset(one), _scores(one, champion, challenger)]
    return "\n\n".join([*parts, "## Provenance", _provenance(record)]) + "\n"


def card_text(record: Mapping[str, Any], decision: Decision) -> str:
    """Return the model card of the challenger as Markdown: purpose, provenance, scores, limits."""
    challenger = record["challenger"]
    classes = ", ".join(challenger["classes"])
    parts = [
        f"# {challenger['id']}",
        f"SAROSS-Net for oil slicks in calibrated Sentinel-1 images; classes: {classes}. Trained by `retrain-dakd` "
        "on real pairs, and on synthetic pairs with the soft labels of SAR-JointNet (DAKD).",
        "## Provenance",
        _provenance(record),
        "## Scores",
        f"Compared with {record['champion']['id']}, the champion at the time; 95% bootstrap intervals in brackets, "
        "where there are images enough.",
    ]
    for name, one in record["heldout"].items():
        parts += [f"### {name}", _dataset(one), _scores(one, record["champion"]["id"], challenger["id"])]
    parts += ["## Why it was promoted" if decision.promote else "## Why it was not promoted",
              "\n".join(f"- {reason}" for reason in decision.reasons), "## Limits", _LIMITS]  # fmt: skip
    return "\n\n".join(parts) + "\n"


_LIMITS = (
    "The scores hold for images like the held-out ones. Data sets with masks of oil only do not test look-alikes, "
    "ships and land. In chips around reviewed slicks, oil that no detection showed to an analyst counts as no oil."
)


def champion_text(record: Mapping[str, Any], checks: Sequence[Check]) -> str:
    """Return the report on a champion as Markdown, beside its earlier scores where there are any."""
    champion = record["champion"]["id"]
    parts = [f"# {champion} on held-out data", f"**{record['verdict']}**"]
    if checks:
        parts.append(_checks(checks, before=f"{champion} before", now="now"))
    for name, one in record["heldout"].items():
        parts += [f"## {name}", _dataset(one), _scores(one, champion)]
    return "\n\n".join(parts) + "\n"


def _checks(checks: Iterable[Check], before: str = "champion", now: str = "challenger") -> str:
    rows = [
        [one.dataset, one.words, _value(one.champion), _value(one.challenger), f"{one.margin:g}",
         "within" if one.holds else "**beyond**"]
        for one in checks
    ]  # fmt: skip
    return markdown_table(["held-out data", "score", before, now, "margin", ""], rows)


def _dataset(one: Mapping[str, Any]) -> str:
    note = f" {one['note']}." if one["note"] else ""
    classes = ", ".join(one["compared_on"])
    return f"{one['n_images']} images, SHA-256 `{one['sha256'][:16]}`; classes compared: {classes}.{note}"


def _scores(one: Mapping[str, Any], champion: str, challenger: str | None = None) -> str:
    columns = {"champion": champion} | ({"challenger": challenger} if challenger else {})
    rows = [
        [
            f"`{score}`",
            *(f"{_value(one[model][score])}{_interval(one[model]['intervals'][score])}" for model in columns),
        ]
        for score in TABLE
    ]
    return markdown_table(["score", *columns.values()], rows)


def _provenance(record: Mapping[str, Any]) -> str:
    data, synthetic, jointnet = record["data"], record["synthetic"], record["jointnet"]
    steps = ", ".join(map(str, jointnet["options"]["steps"]))
    lines = [
        f"{data['n_train']} real pairs of {', '.join(f'`{Path(name).name}`' for name in data['sources'])}, "
        f"SHA-256 `{data['sha256'][:16]}`",
        *data["notes"],
        f"balancing factor b = {record['balance']['b']:.4f}",
        f"SAR-JointNet `{jointnet['id']}` {jointnet['note']}; steps of its stages {steps}",
        f"{synthetic['count']} synthetic pairs, generated with {synthetic['solver']} in {synthetic['steps']} steps",
        _quality(record["quality"]),
        f"SAROSS-Net: encoder {record['challenger']['options']['encoder'] or '(default)'}, "
        f"{record['challenger']['options']['steps']} steps",
        f"code {record['code_version'] or 'unknown'}, run {record['run'] or '(without Prefect)'}",
        "time: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in record["durations_s"].items()),
    ]
    return "\n".join(f"- {line}" for line in lines)


def _quality(quality: Mapping[str, Any]) -> str:
    if quality["problem"]:
        return f"synthetic images not compared with real ones: {quality['problem']}"
    distances = [f"FID by features of {one['extractor']} {one['fid']:.2f}" for one in quality["features"]]
    return f"synthetic and real images: {', '.join(distances)}"


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _interval(ends: Sequence[float | None] | None) -> str:
    low, high = ends or (None, None)
    return "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
