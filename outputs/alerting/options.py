"""Which events are alerted, to whom and how often, with the defaults that the settings start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.errors import MessageError
from email.headerregistry import Address
from email.utils import getaddresses
from urllib.parse import quote

LINK_FIELDS = ("scene_id", "slick_id")  # placeholders that a link to a slick may contain


@dataclass(frozen=True)
class AlertOptions:
    """The `[alerts]` of the settings, which check the values. Hours of None disable that kind of silence."""

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
    attach_mb: float = 5.0  # largest report that goes with a mail; 0: none
    timeout_s: float = 10.0  # for a webhook or a mail server to answer

    def silence_after(self, watch: str) -> float | None:
        """Hours without a new scene after which a watch is silent; None: never."""
        return self.silence_hours_by_watch.get(watch, self.silence_hours)

    def link(self, scene_id: str, slick_id: str) -> str | None:
        """The web page of a slick; None without a template."""
        if self.link_template is None:
            return None
        return self.link_template.format(scene_id=quote(scene_id, safe=""), slick_id=quote(slick_id, safe=""))


def mailbox(given: str) -> Address:
    """The mailbox of ``address`` or ``Name <address>``; raises `ValueError` for anything else."""
    pairs = getaddresses([given])
    name, address = pairs[0] if len(pairs) == 1 else ("", "")
    local, _, domain = address.rpartition("@")
    try:
        if local and domain and address.isascii() and given.isprintable() and not set(address) & set(' ,;:<>"()[]\\'):
            return Address(name, addr_spec=address)
    except (MessageError, ValueError, IndexError):
        pass
    raise ValueError("should be an e-mail address: name@example.org, with a non-ASCII domain as xn--")
