"""The secrets of the channels, from the environment."""

from __future__ import annotations

import os

from pydantic import SecretStr

from ingest.credentials import Credentials
from ingest.errors import UsageError

WEBHOOK_SECRET_VARIABLE = "SLICKWATCH_WEBHOOK_SECRET"
SMTP_USERNAME_VARIABLE = "SLICKWATCH_SMTP_USERNAME"
SMTP_PASSWORD_VARIABLE = "SLICKWATCH_SMTP_PASSWORD"


def webhook_secret() -> SecretStr | None:
    """The key that signs webhook messages; None where it is not set."""
    secret = os.environ.get(WEBHOOK_SECRET_VARIABLE, "")
    return SecretStr(secret) if secret else None


def smtp_credentials() -> Credentials | None:
    """User and password of the mail server; raises `UsageError` where only one of them is set."""
    user, password = os.environ.get(SMTP_USERNAME_VARIABLE, ""), os.environ.get(SMTP_PASSWORD_VARIABLE, "")
    if bool(user) != bool(password):
        problem = f"only one of {SMTP_USERNAME_VARIABLE} and {SMTP_PASSWORD_VARIABLE} is set"
        raise UsageError("alerts: mail", problem, "set both or neither")
    return Credentials(user, SecretStr(password)) if user else None
