"""What HTTP sources share: a client, and failures sorted into transient and permanent ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address

import httpx

from ingest.errors import SourceError, TransientError, UsageError
from ingest.proxies import require_usable_proxies
from ingest.sources.source import ByteStream

REDIRECTS = 5
_TIMEOUT = httpx.Timeout(60.0, connect=20.0)  # seconds
# RFC 9110: 408 and 425 ask for another try; RFC 6585: 429 too many requests.
_PASSING = {408, 425, 429}
_REMEDIES = {
    400: "this is a bug: report it with the command you ran",
    401: "check the user name and the password",
    403: "check that the account may use the service",
    404: "check the address; a product may have been withdrawn",
    410: "the product has been withdrawn",
    422: "this is a bug: report it with the command you ran",
}
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


def http_client(timeout: float | None = None) -> httpx.Client:
    """A client that keeps connections, does not follow redirects itself and requests uncompressed bytes.

    Raises `UsageError` for proxies or certificates of the environment that cannot be used.
    """
    require_usable_proxies()
    return httpx.Client(
        timeout=_TIMEOUT if timeout is None else httpx.Timeout(timeout),
        headers={"User-Agent": "slickwatch", "Accept-Encoding": "identity"},
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=8),
    )


def base_address(address: str, *parts: str) -> httpx.URL:
    """An address with further path segments; raises `SourceError` if it is not an HTTP address."""
    with network_failures(address):
        url = httpx.URL("/".join([address.rstrip("/"), *parts]))
        if url.scheme not in ("http", "https") or not url.host:
            raise httpx.UnsupportedProtocol("neither http nor https")
        return url


def may_have_credentials(address: httpx.URL) -> bool:
    """Whether nobody else can read what is sent to an address: it is encrypted, or this machine."""
    return address.scheme == "https" or is_loopback(address.host)


def require_encrypted(address: str) -> None:
    """Raise `UsageError` for an address that credentials would go to in the clear, `SourceError` for an invalid one."""
    if not may_have_credentials(base_address(address)):
        raise UsageError(address, "credentials would be sent unencrypted", "give an https:// address")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, so that nothing sent to it leaves it."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def network_failures(subject: str) -> Iterator[None]:
    """Turn time-outs and cut connections into `TransientError`, an invalid address into `SourceError`.

    `subject` names the service or the scene. Only the kind of the failure is reported: an exception of the
    client contains the request, and the request a token.
    """
    try:
        yield
    except httpx.TimeoutException as error:
        raise TransientError(f"{subject}: no answer in time ({_kind(error)})") from None
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise SourceError(subject, f"invalid address ({_kind(error)})", "give one as https://host/path") from None
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise TransientError(f"{subject}: the connection failed ({_kind(error)})") from None


def _kind(error: Exception) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()


def may_pass(status: int) -> bool:
    """Whether a request that failed with this status may succeed if repeated."""
    return status in _PASSING or status >= 500


def require_success(response: httpx.Response, subject: str) -> None:
    """Let 2xx pass; 408, 425, 429 and 5xx raise `TransientError` with their Retry-After, others `SourceError`."""
    status = response.status_code
    if response.is_success:
        return
    problem = f"HTTP {status} {response.reason_phrase}".rstrip()
    if may_pass(status):
        raise TransientError(f"{subject}: {problem}", retry_after(response.headers.get("Retry-After")))
    raise SourceError(subject, problem, _REMEDIES.get(status, "check the address and the account"))


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds to wait from a Retry-After header, in seconds or as a date; None without a meaningful one."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())


def require_type(response: httpx.Response, subject: str, *, json: bool) -> None:
    """Raise `TransientError` if a page came instead of data: JSON is wanted, or anything but a page or JSON.

    Services under maintenance, gateways and captive portals answer 200 with HTML; this is temporary.
    """
    kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
    is_json = kind == "application/json" or kind.endswith("+json")
    if (json and not is_json) or (not json and (is_json or kind == "text/html")):
        wanted = "JSON" if json else "an archive"
        raise TransientError(f"{subject}: answered with {kind or 'data of unknown type'} instead of {wanted}")


def content_range(value: str | None) -> tuple[int | None, int | None]:
    """First byte and total size from a Content-Range header; None for what it does not say."""
    match = _CONTENT_RANGE.fullmatch(value.strip()) if value else None
    if match is None:
        return None, None
    first, _, total = match.groups()
    return (None if first is None else int(first)), (None if total == "*" else int(total))


def body_blocks(response: httpx.Response, subject: str) -> Iterator[bytes]:
    """Yield the body of a response; a cut connection raises `TransientError`."""
    with network_failures(subject):
        # Raw: a body compressed in transit would no longer match its range.
        yield from response.iter_raw()


def follow(
    client: httpx.Client,
    address: httpx.URL,
    offset: int,
    subject: str,
    authorization: Callable[[httpx.URL], str | None],
) -> httpx.Response:
    """Send a streamed GET from a byte on and follow redirects; each host gets its own `authorization`."""
    for _ in range(REDIRECTS + 1):
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        if (given := authorization(address)) is not None:
            headers["Authorization"] = given
        with network_failures(subject):
            response = client.send(client.build_request("GET", address, headers=headers), stream=True)
            if not response.has_redirect_location:
                return response
            response.close()
            address = response.url.join(response.headers["Location"])
    raise SourceError(subject, f"more than {REDIRECTS} redirects", "try again later")


@contextmanager
def archive_stream(answer: Callable[[int], httpx.Response], offset: int, subject: str) -> Iterator[ByteStream]:
    """Stream what `answer`, a streamed GET from a byte on, gives from `offset` on, or from 0 where it has no such byte.

    At the archive's end nothing is left to stream. Raises `SourceError` and `TransientError`.
    """
    response = answer(offset)
    if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
        response.close()
        _, total = content_range(response.headers.get("Content-Range"))
        if offset == total:
            yield ByteStream(total, total, ())
            return
        offset = 0
        response = answer(offset)
    try:
        yield _body(response, offset, subject)
    finally:
        response.close()


def _body(response: httpx.Response, offset: int, subject: str) -> ByteStream:
    require_success(response, subject)
    require_type(response, subject, json=False)
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        length = response.headers.get("Content-Length", "")
        return ByteStream(0, int(length) if length.isdecimal() else None, body_blocks(response, subject))
    first, total = content_range(response.headers.get("Content-Range"))
    if first != offset:
        raise TransientError(f"{subject}: asked for bytes from {offset} on, got bytes from {first} on")
    return ByteStream(offset, total, body_blocks(response, subject))
