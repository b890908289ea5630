"""A message as text and HTML for people, and as JSON for programs."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC
from itertools import groupby
from typing import Any

from outputs.alerting.records import ALERT_JSON, KINDS, Alert, Detection, Message, one_line, utc_text

SCHEMA = "slickwatch.alert/1"
TEXT_LIMIT = 10  # alerts of one section written out; the rest is counted
JSON_LIMIT = 50
_NOUNS = {
    "detection": ("slick", "slicks"),
    "failure": ("failure", "failures"),
    "silence": ("silence", "silences"),
    "all-clear": ("all-clear", "all-clears"),
}


def payload(message: Message) -> dict[str, Any]:
    """The message as JSON of the schema `SCHEMA` (docs/operator/alerts.md)."""
    shown = message.alerts[:JSON_LIMIT]
    counts = Counter(alert.kind for alert in message.alerts)
    return {
        "schema": SCHEMA,
        "id": message.id,
        "composed_at": message.composed_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "title": title(message),
        "text": text(message),
        "counts": {kind: counts[kind] for kind in KINDS},
        "alerts": [ALERT_JSON.dump_python(alert, mode="json", by_alias=True) for alert in shown],
        "omitted": len(message.alerts) - len(shown),
    }


def title(message: Message) -> str:
    """One line: the alert itself, the slicks of a scene, or the number of alerts of each kind."""
    alerts = message.alerts
    if len(alerts) == 1:
        return one_line(alerts[0].title)
    counts = Counter(alert.kind for alert in alerts)
    parts = ", ".join(f"{counts[kind]} {_NOUNS[kind][counts[kind] > 1]}" for kind in KINDS if counts[kind])
    if len({alert.group for alert in alerts}) > 1:
        return one_line(f"{len(alerts)} alerts: {parts}")
    detection = alerts[0].detection
    if detection is None:
        return one_line(f"{parts}: {alerts[0].title} and others")
    size = "" if detection.area_km2 is None else f", largest {detection.area_km2:.1f} km2"
    return one_line(f"{len(alerts)} oil slicks{_in_watch(alerts[0])}{size}")


def text(message: Message) -> str:
    """The message as plain text."""
    return "\n\n".join("\n".join(_section(alerts)) for alerts in _sections(message)) + "\n"


def page(message: Message) -> str:
    """The message as HTML, without external resources."""
    sections = "".join(_html_section(alerts) for alerts in _sections(message))
    head = f"<meta charset='utf-8'><title>{html.escape(title(message))}</title>"
    return f"<!doctype html><html><head>{head}</head><body>{sections}</body></html>\n"


def _sections(message: Message) -> list[list[Alert]]:
    """Alerts by kind; detections also by watch."""
    ordered = sorted(message.alerts, key=_section_key)  # stable: the largest slicks stay first
    return [list(alerts) for _, alerts in groupby(ordered, key=_section_key)]


def _section_key(alert: Alert) -> tuple[int, str]:
    return KINDS.index(alert.kind), alert.watch or "" if alert.kind == "detection" else ""


def _section(alerts: list[Alert]) -> Iterator[str]:
    yield _heading(alerts)
    for number, alert in enumerate(alerts[:TEXT_LIMIT], 1):
        yield ""
        first, *others = _lines(alert)
        yield f"{number}. {first}"
        yield from (f"   {name:<11}{value}" for name, value in others)
    if len(alerts) > TEXT_LIMIT:
        yield ""
        yield _rest(alerts)


def _heading(alerts: list[Alert]) -> str:
    first = alerts[0]
    if first.kind != "detection":
        return {"failure": "Failures:", "silence": "Silence:", "all-clear": "All clear:"}[first.kind]
    noun = "oil slick" if len(alerts) == 1 else "oil slicks"
    scenes = {alert.detection.scene_id for alert in alerts if alert.detection}
    scene_count = f"{len(scenes)} scenes" if len(scenes) > 1 else "1 scene"
    return f"{len(alerts)} {noun}{_in_watch(first)} ({scene_count}):"


def _in_watch(alert: Alert) -> str:
    return "" if alert.watch is None else f" in watch {one_line(alert.watch)}"


def _rest(alerts: list[Alert]) -> str:
    left = len(alerts) - TEXT_LIMIT
    detection = alerts[TEXT_LIMIT].detection
    smaller = f", none larger than {detection.area_km2:.1f} km2" if detection and detection.area_km2 is not None else ""
    return f"... and {left} more{smaller}."


def _lines(alert: Alert) -> Iterator[Any]:
    """A summary line, then pairs of a name and a value."""
    if alert.detection is None:
        yield one_line(alert.title)
        if alert.reason:
            yield "reason", one_line(alert.reason, 2000)
        if alert.watch and alert.kind == "failure":
            yield "watch", one_line(alert.watch)
        yield "reported", utc_text(alert.made_at)
        return
    yield _summary(alert.detection)
    yield from _pairs(alert.detection)


def _summary(detection: Detection) -> str:
    size = "unknown size" if detection.area_km2 is None else f"{detection.area_km2:.2f} km2"
    length = "" if detection.length_km is None else f", {detection.length_km:.1f} km long"
    return f"{size}{length}, {_position(detection)}"


def _position(detection: Detection) -> str:
    if detection.latitude is None or detection.longitude is None:
        return "unknown position"
    north, east = "N" if detection.latitude >= 0 else "S", "E" if detection.longitude >= 0 else "W"
    return f"at {abs(detection.latitude):.4f} {north}, {abs(detection.longitude):.4f} {east}"


def _pairs(detection: Detection) -> Iterable[tuple[str, str]]:
    confidence = "unknown" if detection.confidence_mean is None else f"{detection.confidence_mean:.2f}"
    level = f" ({detection.confidence_level})" if detection.confidence_level else ""
    pairs = {
        "area": detection.area_name,
        "acquired": utc_text(detection.acquired_start),
        "confidence": f"{confidence}{level}",
        "slick": detection.slick_id,
        "scene": detection.scene_id,
        "model": detection.model_id,
        "link": detection.link,
    }
    return [(name, one_line(value)) for name, value in pairs.items() if value]


def _html_section(alerts: list[Alert]) -> str:
    items = "".join(_html_item(alert) for alert in alerts[:TEXT_LIMIT])
    rest = f"<p>{html.escape(_rest(alerts))}</p>" if len(alerts) > TEXT_LIMIT else ""
    return f"<p>{html.escape(_heading(alerts))}</p><ol>{items}</ol>{rest}"


def _html_item(alert: Alert) -> str:
    first, *pairs = _lines(alert)
    rows = "".join(f"<tr><td>{html.escape(name)}</td><td>{_html_value(name, value)}</td></tr>" for name, value in pairs)
    return f"<li><b>{html.escape(first)}</b><table>{rows}</table></li>"


def _html_value(name: str, value: str) -> str:
    shown = html.escape(value)
    return f'<a href="{shown}">{shown}</a>' if name == "link" else shown
