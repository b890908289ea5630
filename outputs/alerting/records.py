"""What an alert says, and what became of those that were delivered."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol

Kind = Literal["detection", "failure", "silence", "all-clear"]
KINDS: tuple[Kind, ...] = ("detection", "failure", "silence", "all-clear")  # the most pressing first


@dataclass(frozen=True)
class Sighting:
    """One slick in a watched area; None for what is not known. Degrees WGS 84, kilometres, UTC."""

    slick_id: str
    scene_id: str
    model_id: str | None
    acquired_start: datetime | None
    acquired_end: datetime | None
    longitude: float | None
    latitude: float | None
    area_name: str | None  # None where everywhere is watched
    area_km2: float | None
    length_km: float | None
    confidence_mean: float | None
    confidence_level: str | None  # High, Medium, Low
    link: str | None


@dataclass(frozen=True)
class Alert:
    """One thing to tell. The same thing always has the same `id`, by which each channel tells it once.

    `subject` is what it is about: a slick, a scene, a flow, a model, a watch.
    """

    id: str
    kind: Kind
    subject: str
    made_at: datetime  # UTC
    title: str  # one line
    reason: str | None = None  # of a failure, a silence or its end
    watch: str | None = None
    sighting: Sighting | None = None  # of a detection

    @property
    def group(self) -> str:
        """Alerts of one group go into one message: the slicks of a scene, failures, silences."""
        return f"{self.kind} {self.watch} {self.sighting.scene_id}" if self.sighting else self.kind


@dataclass(frozen=True)
class Message:
    """What one channel sends at once; the same `id` whenever it is sent again, with the same content."""

    id: str
    composed_at: datetime  # UTC
    alerts: tuple[Alert, ...]  # at least one


class Channel(Protocol):
    """A way to tell. `name` is the mark in the state, `title` is for people; neither holds a secret."""

    name: str
    title: str
    limited: bool  # whether the rate limit holds for it

    def send(self, message: Message) -> None:
        """Deliver; raises `TransientError` where it may or may not have arrived, `SourceError` where refused."""


@dataclass(frozen=True)
class Sent:
    """A message that its channel has accepted."""

    channel: str
    message_id: str
    alerts: int


@dataclass(frozen=True)
class Unsent:
    """A message that is kept for another try."""

    channel: str
    message_id: str
    alerts: int
    reason: str
    again_at: datetime


@dataclass(frozen=True)
class Delivery:
    """What one call of `Alerter.deliver` has done; `waiting` counts alerts left over, by channel."""

    sent: tuple[Sent, ...]
    failed: tuple[Unsent, ...]
    waiting: dict[str, int]


def identity(*parts: str) -> str:
    """32 hexadecimal digits that only these parts, in this order, give."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:32]


def one_line(text: str, longest: int = 300) -> str:
    """Text without line breaks and control characters, which have no place in a header or a log."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def clock_text(moment: datetime | None) -> str:
    """A time as people read it, always in UTC."""
    return "at an unknown time" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
