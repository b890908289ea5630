"""Which events are alerted, to whom and how often, with the defaults that the settings start from."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.errors import MessageError
from email.headerregistry import Address
from email.utils import getaddresses
from urllib.parse import quote, urlsplit

from ingest.errors import UsageError

LINK_FIELDS = ("scene_id", "slick_id")  # placeholders that a link to a slick may contain


@dataclass(frozen=True)
class AlertOptions:
    """The `[alerts]` of the settings. Raises `UsageError` for unusable values, without quoting a webhook's address.

    Hours of None disable that kind of silence. The address of a webhook is often a secret in itself.
    """

    webhooks: tuple[str, ...] = ()
    smtp_host: str | None = None
    smtp_port: int = 587
    smtp_starttls: bool = True
    sender: str | None = None  # an address, or "Name <address>"
    recipients: tuple[str, ...] = ()
    minimum_confidence: float = 0.7  # of confidence_mean; 0.7 is where Medium begins
    minimum_area_km2: float = 0.1
    silence_hours: float | None = 72.0  # without a new scene, for each watch
    silence_hours_by_watch: Mapping[str, float | None] = field(default_factory=dict)
    idle_hours: float | None = 6.0  # without a run
    repeat_hours: float = 24.0  # between two alerts on the same silence, or on the same failure
    all_clear: bool = True  # report the end of a silence
    rate_count: int = 6  # messages of one channel in `rate_minutes`
    rate_minutes: float = 60.0
    link_template: str | None = None  # with {scene_id} and {slick_id}
    timeout_s: float = 10.0  # for a webhook or a mail server to answer

    def __post_init__(self) -> None:
        for number, url in enumerate(self.webhooks, 1):
            _require_url(f"alerts: webhook {number}", url)
        self._require_ranges()
        self._require_mail()
        if self.link_template is not None:
            _require_template(self.link_template)

    def silence_after(self, watch: str) -> float | None:
        """Hours without a new scene after which a watch is silent; None: never."""
        return self.silence_hours_by_watch.get(watch, self.silence_hours)

    def link(self, scene_id: str, slick_id: str) -> str | None:
        """The web page of a slick; None without a template."""
        if self.link_template is None:
            return None
        return self.link_template.format(scene_id=quote(scene_id, safe=""), slick_id=quote(slick_id, safe=""))

    def _require_ranges(self) -> None:
        if not 0.0 <= self.minimum_confidence <= 1.0:
            raise UsageError("alerts: minimum_confidence", f"{self.minimum_confidence} is out of range", "use 0 to 1")
        if not self.minimum_area_km2 >= 0.0:
            raise UsageError("alerts: minimum_area_km2", f"{self.minimum_area_km2} is out of range", "use 0 or more")
        if self.rate_count < 1:
            raise UsageError("alerts: rate_count", f"{self.rate_count} would block every message", "use 1 or more")
        hours = {"silence_hours": self.silence_hours, "idle_hours": self.idle_hours, "repeat_hours": self.repeat_hours}
        by_watch = {f"silence_hours of {watch}": given for watch, given in self.silence_hours_by_watch.items()}
        others = {"rate_minutes": self.rate_minutes, "timeout_s": self.timeout_s}
        for name, value in {**hours, **by_watch, **others}.items():
            if value is not None and not 0.0 < value < 1e6:
                raise UsageError(f"alerts: {name}", f"{value} is not a valid duration", "use more than 0")

    def _require_mail(self) -> None:
        if self.recipients and not (self.smtp_host and self.sender):
            raise UsageError("alerts: recipients", "smtp_host or sender is missing", "set both, or no recipients")
        if self.smtp_host and not self.recipients:
            raise UsageError("alerts: smtp_host", "recipients are missing", "set them, or remove smtp_host")
        for address in (*self.recipients, *([self.sender] if self.sender else [])):
            mailbox(address)


def mailbox(given: str) -> Address:
    """The mailbox of ``address`` or ``Name <address>``; raises `UsageError` for anything else."""
    pairs = getaddresses([given])
    name, address = pairs[0] if len(pairs) == 1 else ("", "")
    local, _, domain = address.rpartition("@")
    try:
        if local and domain and address.isascii() and given.isprintable() and not set(address) & set(' ,;:<>"()[]\\'):
            return Address(name, addr_spec=address)
    except (MessageError, ValueError, IndexError):
        pass
    problem = f"invalid e-mail address {given!r}"
    raise UsageError("alerts: mail", problem, "use name@example.org, with a non-ASCII domain as xn--")


def _require_url(subject: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable() and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(subject, "invalid web address", "use https://host/path")


def _require_template(template: str) -> None:
    """Only the two plain fields: a format string could otherwise read attributes of its arguments."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UsageError("alerts: link_template", f"unbalanced braces ({error})", "write {scene_id}") from error
    for _, name, spec, conversion in parts:
        if name is not None and (name not in LINK_FIELDS or spec or conversion):
            raise UsageError("alerts: link_template", f"unknown field {name!r}", "use {scene_id} and {slick_id}")
    _require_url("alerts: link_template", template)
