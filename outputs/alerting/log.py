"""Alerts in the log of the process."""

from __future__ import annotations

import logging

from outputs.alerting.records import Message
from outputs.alerting.render import text, title

_LOG = logging.getLogger(__name__)
_LEVELS = {"detection": logging.WARNING, "failure": logging.ERROR, "silence": logging.WARNING}


class Log:
    """A channel that writes each message to the log; always present, without a rate limit."""

    name, title, limited = "log", "log", False

    def send(self, message: Message) -> None:
        """Log a message: failures as errors, an all-clear as information, the rest as warnings."""
        level = max(_LEVELS.get(alert.kind, logging.INFO) for alert in message.alerts)
        _LOG.log(level, "%s\n%s", title(message), text(message).rstrip())
