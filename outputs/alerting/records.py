"""Alerts, the messages that carry them, and the outcome of a delivery."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

Kind = Literal["detection", "failure", "silence", "all-clear"]
KINDS: tuple[Kind, ...] = ("detection", "failure", "silence", "all-clear")  # most urgent first


@dataclass(frozen=True)
class Detection:
    """One slick in a watched area; None for unknown values. Degrees WGS 84, kilometres, UTC."""

    slick_id: str
    scene_id: str
    model_id: str | None
    acquired_start: datetime | None
    acquired_end: datetime | None
    longitude: float | None
    latitude: float | None
    area_name: str | None  # None where the whole world is watched
    area_km2: float | None
    length_km: float | None
    confidence_mean: float | None
    confidence_level: str | None  # High, Medium, Low
    link: str | None


@dataclass(frozen=True)
class Alert:
    """One event. The same event always has the same `id`, so each channel reports it once.

    `subject` is the slick, scene, flow, model or watch concerned.
    """

    id: str
    kind: Kind
    subject: str
    made_at: datetime  # UTC
    title: str  # one line
    reason: str | None = None  # of a failure, a silence or its end
    watch: str | None = None  # that found the scene, or is silent; of several, joined by commas
    detection: Annotated[Detection | None, Field(alias="sighting")] = None  # `sighting` in webhooks and state files

    @property
    def group(self) -> str:
        """Alerts of one group share a message: the slicks of a scene, failures, silences."""
        return f"{self.kind} {self.watch} {self.detection.scene_id}" if self.detection else self.kind


ALERT_JSON = TypeAdapter(Alert)


@dataclass(frozen=True)
class Message:
    """What one channel sends at a time; a retry has the same `id` and content."""

    id: str
    composed_at: datetime  # UTC
    alerts: tuple[Alert, ...]  # at least one


@dataclass(frozen=True)
class Sent:
    """A message that its channel accepted."""

    channel: str
    message_id: str
    alerts: int


@dataclass(frozen=True)
class Unsent:
    """A message that will be retried."""

    channel: str
    message_id: str
    alerts: int
    reason: str
    retry_at: datetime


@dataclass(frozen=True)
class Delivery:
    """The outcome of one `Alerter.deliver`; `waiting` counts the remaining alerts by channel."""

    sent: tuple[Sent, ...]
    failed: tuple[Unsent, ...]
    waiting: dict[str, int]


def identity(*parts: str) -> str:
    """32 hexadecimal digits, unique to these parts in this order."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:32]


def one_line(text: str, longest: int = 300) -> str:
    """Text without line breaks and control characters, safe for a header or a log."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def utc_text(moment: datetime | None) -> str:
    """A time for people, in UTC."""
    return "unknown" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
