"""A message in words for people (text, HTML) and as JSON for programs. The same message always reads the same."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC
from itertools import groupby
from typing import Any

from pydantic import TypeAdapter

from outputs.alerting.records import KINDS, Alert, Message, Sighting, clock_text, one_line

SCHEMA = "slickwatch.alert/1"
TOLD_IN_TEXT = 10  # alerts of one group written out; the rest is counted
TOLD_IN_JSON = 50
_ALERT = TypeAdapter(Alert)
_NOUNS = {
    "detection": ("slick", "slicks"),
    "failure": ("failure", "failures"),
    "silence": ("silence", "silences"),
    "all-clear": ("all-clear", "all-clears"),
}


def payload(message: Message) -> dict[str, Any]:
    """The message as JSON, by the schema `SCHEMA` (docs/operator/alerts.md)."""
    told = message.alerts[:TOLD_IN_JSON]
    counts = Counter(alert.kind for alert in message.alerts)
    return {
        "schema": SCHEMA,
        "id": message.id,
        "composed_at": message.composed_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "title": title(message),
        "text": text(message),
        "counts": {kind: counts[kind] for kind in KINDS},
        "alerts": [_ALERT.dump_python(alert, mode="json") for alert in told],
        "omitted": len(message.alerts) - len(told),
    }


def title(message: Message) -> str:
    """One line: the alert itself, the slicks of a scene, or what a flood is made of."""
    alerts = message.alerts
    if len(alerts) == 1:
        return one_line(alerts[0].title)
    counts = Counter(alert.kind for alert in alerts)
    parts = ", ".join(f"{counts[kind]} {_NOUNS[kind][counts[kind] > 1]}" for kind in KINDS if counts[kind])
    if len({alert.group for alert in alerts}) > 1:
        return one_line(f"{len(alerts)} alerts: {parts}")
    sighting = alerts[0].sighting
    if sighting is None:
        return one_line(f"{parts}: {alerts[0].title} and others")
    size = "" if sighting.area_km2 is None else f", the largest of {sighting.area_km2:.1f} km2"
    return one_line(f"{len(alerts)} oil slicks in watch {alerts[0].watch}{size}")


def text(message: Message) -> str:
    """The message as plain text."""
    return "\n\n".join("\n".join(_section(alerts)) for alerts in _sections(message)) + "\n"


def page(message: Message) -> str:
    """The message as HTML, without anything that is loaded from elsewhere."""
    sections = "".join(_html_section(alerts) for alerts in _sections(message))
    head = f"<meta charset='utf-8'><title>{html.escape(title(message))}</title>"
    return f"<!doctype html><html><head>{head}</head><body>{sections}</body></html>\n"


def _sections(message: Message) -> list[list[Alert]]:
    """Detections of one watch together; so the other kinds."""
    ordered = sorted(message.alerts, key=_section_key)  # stable: the largest slicks stay first
    return [list(alerts) for _, alerts in groupby(ordered, key=_section_key)]


def _section_key(alert: Alert) -> tuple[int, str]:
    return KINDS.index(alert.kind), alert.watch or "" if alert.kind == "detection" else ""


def _section(alerts: list[Alert]) -> Iterator[str]:
    yield _heading(alerts)
    for number, alert in enumerate(alerts[:TOLD_IN_TEXT], 1):
        yield ""
        first, *others = _lines(alert)
        yield f"{number}. {first}"
        yield from (f"   {name:<11}{value}" for name, value in others)
    if len(alerts) > TOLD_IN_TEXT:
        yield ""
        yield _rest(alerts)


def _heading(alerts: list[Alert]) -> str:
    first = alerts[0]
    if first.kind != "detection":
        return {"failure": "Failed:", "silence": "Silent:", "all-clear": "Over:"}[first.kind]
    noun = "oil slick" if len(alerts) == 1 else "oil slicks"
    scenes = {alert.sighting.scene_id for alert in alerts if alert.sighting}
    of = f"in {len(scenes)} scenes" if len(scenes) > 1 else "in one scene"
    return f"{len(alerts)} {noun} seen for the watch {one_line(str(first.watch))}, {of}:"


def _rest(alerts: list[Alert]) -> str:
    left = len(alerts) - TOLD_IN_TEXT
    sighting = alerts[TOLD_IN_TEXT].sighting
    smaller = f", none larger than {sighting.area_km2:.1f} km2" if sighting and sighting.area_km2 is not None else ""
    return f"... and {left} more{smaller}."


def _lines(alert: Alert) -> Iterator[Any]:
    """First the line that sums up, then pairs of a name and a value."""
    if alert.sighting is None:
        yield one_line(alert.title)
        if alert.reason:
            yield "reason", one_line(alert.reason, 2000)
        yield "told", clock_text(alert.made_at)
        return
    yield _summary(alert.sighting)
    yield from _pairs(alert.sighting)


def _summary(sighting: Sighting) -> str:
    size = "unknown size" if sighting.area_km2 is None else f"{sighting.area_km2:.2f} km2"
    length = "" if sighting.length_km is None else f", {sighting.length_km:.1f} km long"
    return f"{size}{length}, {_position(sighting)}"


def _position(sighting: Sighting) -> str:
    if sighting.latitude is None or sighting.longitude is None:
        return "at an unknown place"
    north, east = "N" if sighting.latitude >= 0 else "S", "E" if sighting.longitude >= 0 else "W"
    return f"at {abs(sighting.latitude):.4f} {north}, {abs(sighting.longitude):.4f} {east}"


def _pairs(sighting: Sighting) -> Iterable[tuple[str, str]]:
    sure = "unknown" if sighting.confidence_mean is None else f"{sighting.confidence_mean:.2f}"
    level = f" ({sighting.confidence_level})" if sighting.confidence_level else ""
    pairs = {
        "area": sighting.area_name,
        "acquired": clock_text(sighting.acquired_start),
        "confidence": f"{sure}{level}",
        "slick": sighting.slick_id,
        "scene": sighting.scene_id,
        "model": sighting.model_id,
        "link": sighting.link,
    }
    return [(name, one_line(value)) for name, value in pairs.items() if value]


def _html_section(alerts: list[Alert]) -> str:
    items = "".join(_html_item(alert) for alert in alerts[:TOLD_IN_TEXT])
    rest = f"<p>{html.escape(_rest(alerts))}</p>" if len(alerts) > TOLD_IN_TEXT else ""
    return f"<p>{html.escape(_heading(alerts))}</p><ol>{items}</ol>{rest}"


def _html_item(alert: Alert) -> str:
    first, *pairs = _lines(alert)
    rows = "".join(f"<tr><td>{html.escape(name)}</td><td>{_html_value(name, value)}</td></tr>" for name, value in pairs)
    return f"<li><b>{html.escape(first)}</b><table>{rows}</table></li>"


def _html_value(name: str, value: str) -> str:
    shown = html.escape(value)
    return f'<a href="{shown}">{shown}</a>' if name == "link" else shown
