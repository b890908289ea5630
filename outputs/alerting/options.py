"""What is alerted, to whom and how often; the secrets that go with it are in the environment."""

from __future__ import annotations

import os
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.errors import MessageError
from email.headerregistry import Address
from email.utils import getaddresses
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

from ingest.credentials import Credentials
from ingest.errors import UsageError

WEBHOOK_SECRET_VARIABLE = "SLICKWATCH_WEBHOOK_SECRET"
SMTP_USERNAME_VARIABLE = "SLICKWATCH_SMTP_USERNAME"
SMTP_PASSWORD_VARIABLE = "SLICKWATCH_SMTP_PASSWORD"
_LINK_FIELDS = ("scene_id", "slick_id")


@dataclass(frozen=True)
class AlertOptions:
    """The `[alerts]` of the settings. Raises `UsageError` for what cannot work, quoting no part of a webhook's address.

    An hour figure of None switches that kind of silence off. The address of a webhook is often a secret by itself.
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
    silence_hours_by_watch: Mapping[str, float] = field(default_factory=dict)
    idle_hours: float | None = 6.0  # without a run
    repeat_hours: float = 24.0  # between two alerts on the same silence, or on the same failure
    all_clear: bool = True  # tell when a silence has ended
    rate_count: int = 6  # messages by one channel in `rate_minutes`
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
        """Hours without a new scene after which a watch is silent."""
        return self.silence_hours_by_watch.get(watch, self.silence_hours)

    def link(self, scene_id: str, slick_id: str) -> str | None:
        """Where more is told of a slick; None without a template."""
        if self.link_template is None:
            return None
        return self.link_template.format(scene_id=quote(scene_id, safe=""), slick_id=quote(slick_id, safe=""))

    def _require_ranges(self) -> None:
        if not 0.0 <= self.minimum_confidence <= 1.0:
            raise UsageError(
                "alerts: minimum_confidence", f"{self.minimum_confidence} is no probability", "give 0 to 1"
            )
        if not self.minimum_area_km2 >= 0.0:
            raise UsageError("alerts: minimum_area_km2", f"{self.minimum_area_km2} is below zero", "give 0 or more")
        if self.rate_count < 1:
            raise UsageError("alerts: rate_count", f"{self.rate_count} would let nothing out", "give 1 or more")
        hours = {"silence_hours": self.silence_hours, "idle_hours": self.idle_hours, "repeat_hours": self.repeat_hours}
        by_watch = {f"silence_hours of {watch}": given for watch, given in self.silence_hours_by_watch.items()}
        others = {"rate_minutes": self.rate_minutes, "timeout_s": self.timeout_s}
        for name, value in {**hours, **by_watch, **others}.items():
            if value is not None and not 0.0 < value < 1e6:
                raise UsageError(f"alerts: {name}", f"{value} is no length of time", "give more than 0")

    def _require_mail(self) -> None:
        if self.recipients and not (self.smtp_host and self.sender):
            raise UsageError("alerts: recipients", "no smtp_host or no sender is given", "give both, or no recipients")
        if self.smtp_host and not self.recipients:
            raise UsageError("alerts: smtp_host", "no recipients are given", "give them, or no smtp_host")
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
    raise UsageError("alerts: mail", f"{given!r} is no address", "give one as name@example.org, a foreign one as xn--")


def webhook_secret() -> SecretStr | None:
    """The key that webhook messages are signed with; None where the environment has none."""
    secret = os.environ.get(WEBHOOK_SECRET_VARIABLE, "")
    return SecretStr(secret) if secret else None


def smtp_credentials() -> Credentials | None:
    """User and password for the mail server; raises `UsageError` where only a half is given."""
    user, password = os.environ.get(SMTP_USERNAME_VARIABLE, ""), os.environ.get(SMTP_PASSWORD_VARIABLE, "")
    if bool(user) != bool(password):
        problem = f"only one of {SMTP_USERNAME_VARIABLE} and {SMTP_PASSWORD_VARIABLE} is set"
        raise UsageError("alerts: mail", problem, "set both or none")
    return Credentials(user, SecretStr(password)) if user else None


def _require_url(subject: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable() and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(subject, "is no address of a web service", "give one as https://host/path")


def _require_template(template: str) -> None:
    """Only the two plain fields: a format string could otherwise read attributes of what it is given."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UsageError("alerts: link_template", f"its braces do not match ({error})", "write {scene_id}") from error
    for _, name, spec, conversion in parts:
        if name is not None and (name not in _LINK_FIELDS or spec or conversion):
            raise UsageError("alerts: link_template", f"{name!r} is unknown", "use {scene_id} and {slick_id}")
    _require_url("alerts: link_template", template)
