"""Alerts by webhook: one POST of JSON, signed if there is a key."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
from pydantic import SecretStr

from ingest.errors import SourceError
from ingest.retries import RetryPolicy, retrying
from ingest.sources.http import http_client, network_failures, require_success
from outputs.alerting.records import Message
from outputs.alerting.render import payload

SIGNATURE_HEADER = "X-Slickwatch-Signature"
RETRIES = RetryPolicy(attempts=4, seconds=60.0, first_wait=1.0, longest_wait=15.0)


class Webhook:
    """A channel that posts each message to one address; `title` and errors show only its host."""

    limited = True

    def __init__(
        self,
        url: str,
        secret: SecretStr | None,
        timeout_s: float,
        *,
        retries: RetryPolicy = RETRIES,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url, self._secret, self._timeout_s = SecretStr(url), secret, timeout_s
        self._retries, self._sleep = retries, sleep
        self.title = f"webhook at {httpx.URL(url).host}"
        self.name = f"webhook {hashlib.sha256(url.encode()).hexdigest()[:12]}"

    def send(self, message: Message) -> None:
        """Post a message; retry time-outs, 408, 425, 429 and 5xx; raises `TransientError`, `SourceError`."""
        body = json.dumps(payload(message), ensure_ascii=False).encode()
        with http_client(self._timeout_s) as client, _unlogged():
            for attempt in retrying(self._retries, self._sleep):
                with attempt:
                    self._post(client, message.id, body)

    def _post(self, client: httpx.Client, message_id: str, body: bytes) -> None:
        headers = {"Content-Type": "application/json", "Idempotency-Key": message_id}
        if self._secret is not None:
            headers[SIGNATURE_HEADER] = signature(self._secret, body, int(time.time()))
        with (
            network_failures(self.title),
            # Streamed, so that the body of the answer, which may be long, is never read.
            client.stream("POST", self._url.get_secret_value(), content=body, headers=headers) as response,
        ):
            if response.is_redirect:
                # Following it could disclose the alert and its signature to a third party.
                problem = f"HTTP {response.status_code}: redirects are not followed"
                raise SourceError(self.title, problem, "configure the final address")
            require_success(response, self.title)


def signature(secret: SecretStr, body: bytes, timestamp: int) -> str:
    """``t=TIMESTAMP,v1=HEX``: HMAC-SHA256 of ``TIMESTAMP.BODY``, so that old messages cannot be replayed."""
    signed = str(timestamp).encode() + b"." + body
    return f"t={timestamp},v1={hmac.new(secret.get_secret_value().encode(), signed, hashlib.sha256).hexdigest()}"


@contextmanager
def _unlogged() -> Iterator[None]:
    """Silence the client's own log: it shows full addresses, which for chat services are secret."""
    thread, logger = threading.get_ident(), logging.getLogger("httpx")

    def other_threads(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger.addFilter(other_threads)
    try:
        yield
    finally:
        logger.removeFilter(other_threads)
