"""The channels that deliver alerts; a new one is a class with the members of `Channel`, opened in `open_channels`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Protocol

from pydantic import SecretStr

from ingest.credentials import Credentials
from outputs.alerting.mail import Mail, ReportOf
from outputs.alerting.options import AlertOptions
from outputs.alerting.records import Message
from outputs.alerting.render import text, title
from outputs.alerting.webhook import Webhook

MailCredentials = Callable[[], Credentials | None]
WEBHOOK_SECRET_VARIABLE = "SLICKWATCH_WEBHOOK_SECRET"
_LOG = logging.getLogger(__name__)
_LEVELS = {"detection": logging.WARNING, "failure": logging.ERROR, "silence": logging.WARNING}


class Channel(Protocol):
    """A way to deliver messages. `name` identifies it in the state file, `title` is for people; neither is secret."""

    name: str
    title: str
    limited: bool  # whether the rate limit applies

    def send(self, message: Message) -> None:
        """Deliver; raises `TransientError` where it may or may not have arrived, `SourceError` where rejected."""


def open_channels(
    options: AlertOptions, mail_credentials: MailCredentials, report_of: ReportOf | None = None
) -> tuple[Channel, ...]:
    """All channels of the options: log, webhooks, e-mail with the reports of its scenes.

    Raises `UsageError` for a login that would go unencrypted.
    """
    key = os.environ.get(WEBHOOK_SECRET_VARIABLE)  # signs the messages
    secret = SecretStr(key) if key else None
    webhooks = [Webhook(url, secret, options.timeout_s) for url in dict.fromkeys(options.webhooks)]
    return (Log(), *webhooks, *([Mail(options, mail_credentials(), report_of)] if options.recipients else []))


class Log:
    """A channel that writes each message to the log; always present, without a rate limit."""

    name, title, limited = "log", "log", False

    def send(self, message: Message) -> None:
        """Log a message: failures as errors, an all-clear as information, the rest as warnings."""
        level = max(_LEVELS.get(alert.kind, logging.INFO) for alert in message.alerts)
        _LOG.log(level, "%s\n%s", title(message), text(message).rstrip())
