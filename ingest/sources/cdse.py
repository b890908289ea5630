"""Copernicus Data Space: scenes found in its OData catalogue, downloaded as zips with a Keycloak token.

Facts of the service: https://documentation.dataspace.copernicus.eu/APIs/OData.html and .../APIs/Token.html. Its
quotas for a free account are 4 downloads at once and 2000 requests a minute.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from threading import Lock

import httpx
from pydantic import BaseModel, SecretStr, ValidationError

from ingest.credentials import Credentials, find_credentials
from ingest.errors import SourceError, TransientError
from ingest.scene import Scene
from ingest.sources.http import (
    archive_stream,
    base_address,
    follow,
    http_client,
    may_have_credentials,
    network_failures,
    require_encrypted,
    require_success,
    require_type,
    retry_after,
)
from ingest.sources.odata import LARGEST_PAGE, LARGEST_SKIP, Page, Product, filter_text, read_page, scene_of
from ingest.sources.source import ByteStream, Query

CATALOGUE_URL = "https://catalogue.dataspace.copernicus.eu/odata/v1"
DOWNLOAD_URL = "https://download.dataspace.copernicus.eu/odata/v1"
TOKEN_URL = "https://identity.dataspace.copernicus.eu/auth/realms/CDSE/protocol/openid-connect/token"
SERVICE_DOMAIN = "dataspace.copernicus.eu"  # where redirects may lead and the token may be sent
_TITLE = "Copernicus Data Space"
_CLIENT_ID = "cdse-public"
_MARGIN = 30.0  # seconds before its expiry, or a fifth of its life, from which a token is no longer used
# A new token that is refused may be too young for a server whose clock is slow.
_WAIT_FOR_CLOCKS = 5.0  # seconds


class Catalogue:
    """The OData catalogue, which needs no account; `address` ends before ``/Products``."""

    def __init__(
        self, address: str = CATALOGUE_URL, *, page_size: int = LARGEST_PAGE, client: httpx.Client | None = None
    ) -> None:
        self._address = base_address(address, "Products")
        self._page_size = page_size
        self._client = client or http_client()

    def scenes(self, query: Query, published_after: datetime | None, source: str) -> Iterator[tuple[Scene, Product]]:
        """Yield the scenes of a query that are online, by publication time, each with its catalogue entry.

        A scene that comes online after its publication is found by a later query whose `published_after` precedes it.
        """
        for product in self._products(query, published_after):
            scene = None if product.online is False else scene_of(product, source)
            # The catalogue knows the relative orbit better than the name does, and has already filtered by it.
            if scene is not None and replace(query, relative_orbit=None).matches(scene):
                yield scene, product

    def _products(self, query: Query, published_after: datetime | None) -> Iterator[Product]:
        """Yield each product once; beyond the largest `$skip` the query continues from the last publication time.

        It does so inclusively, as several products may share a publication time.
        """
        since, inclusive = published_after, False
        seen: set[str] = set()
        while True:
            walked, before, page = 0, len(seen), Page(value=[])
            for page in self._pages(filter_text(query, since, inclusive=inclusive)):
                walked += len(page.entries)
                for product in page.products:
                    if product.id not in seen:
                        seen.add(product.id)
                        yield product
            if not page.entries or (len(page.entries) < self._page_size and walked < LARGEST_SKIP):
                return
            if len(seen) == before:
                if walked < LARGEST_SKIP:
                    return
                raise SourceError(_TITLE, f"{walked} products have the same publication time", "choose a smaller area")
            published = [product.published for product in page.products if product.published is not None]
            if not published:
                raise SourceError(
                    f"{_TITLE} catalogue", "gives no publication times to continue from", "try again later"
                )
            since, inclusive = published[-1], True

    def _pages(self, condition: str) -> Iterator[Page]:
        address: httpx.URL | None = self._address.copy_merge_params(
            {
                "$filter": condition,
                "$orderby": "PublicationDate asc",
                "$top": str(self._page_size),
                "$expand": "Attributes",
            }
        )
        asked = set()
        while address is not None:
            if str(address) in asked:
                raise SourceError(_TITLE, "the catalogue's pages form a loop", "try again later")
            asked.add(str(address))
            page = self._page(address)
            yield page
            address = self._next_address(page)

    def _page(self, address: httpx.URL) -> Page:
        subject = f"{_TITLE} catalogue"
        with network_failures(subject):
            response = self._client.get(address)
        require_success(response, subject)
        require_type(response, subject, json=True)
        return read_page(response.content, subject)

    def _next_address(self, page: Page) -> httpx.URL | None:
        """The catalogue's own address with the link's query, so that a link can only lead to the next page."""
        if page.next_link is None:
            return None
        with network_failures(f"{_TITLE} catalogue"):
            return self._address.copy_with(query=httpx.URL(page.next_link).query)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class TokenAnswer(BaseModel):
    """The token endpoint's response (RFC 6749, 5.1; Keycloak adds the refresh token's lifetime)."""

    access_token: SecretStr
    expires_in: float
    refresh_token: SecretStr | None = None
    refresh_expires_in: float = 0.0


@dataclass(frozen=True)
class _Held:
    """A token in use; times are monotonic, so a wrongly set clock does not matter."""

    access: SecretStr
    usable_until: float
    refresh: SecretStr | None
    refreshable_until: float


class Token:
    """A Keycloak access token, kept only in memory, refreshed before it expires; thread-safe."""

    def __init__(self, address: str, credentials: Credentials, client: httpx.Client) -> None:
        self._address, self._credentials, self._client = address, credentials, client
        self._held: _Held | None = None
        self._lock = Lock()

    def value(self, refused: SecretStr | None = None) -> SecretStr:
        """A currently valid token: never the one that was `refused`. Raises `SourceError`, `TransientError`."""
        with self._lock:
            held = self._held
            if held is None or held.access == refused or time.monotonic() >= held.usable_until:
                self._held = held = self._fetch(held)
            return held.access

    def _fetch(self, held: _Held | None) -> _Held:
        if held is not None and held.refresh is not None and time.monotonic() < held.refreshable_until:
            grant = {"grant_type": "refresh_token", "refresh_token": held.refresh.get_secret_value()}
            response = self._post(grant)
            if response.status_code not in (400, 401):
                return self._read(response)
            # The session has ended on the server: log in again.
        name, word = self._credentials.user, self._credentials.secret.get_secret_value()
        response = self._post({"grant_type": "password", "username": name, "password": word})
        if response.status_code in (400, 401):
            raise SourceError(
                _TITLE,
                f"login refused (HTTP {response.status_code}{_error_code(response)})",
                "check user name and password; accounts with two-factor authentication do not work",
            )
        return self._read(response)

    def _post(self, grant: dict[str, str]) -> httpx.Response:
        with network_failures(f"{_TITLE} login"):
            return self._client.post(self._address, data={"client_id": _CLIENT_ID, **grant})

    def _read(self, response: httpx.Response) -> _Held:
        subject, now = f"{_TITLE} login", time.monotonic()
        require_success(response, subject)
        require_type(response, subject, json=True)
        try:
            answer = TokenAnswer.model_validate_json(response.content)
        except ValidationError:
            raise SourceError(subject, "the answer contains no token", "try again later") from None
        return _Held(
            answer.access_token,
            now + answer.expires_in - min(_MARGIN, 0.2 * answer.expires_in),
            answer.refresh_token,
            now + answer.refresh_expires_in - min(_MARGIN, 0.2 * answer.refresh_expires_in),
        )


def _error_code(response: httpx.Response) -> str:
    """The error code of RFC 6749, 5.2, from a fixed list; the accompanying description may name the user."""
    match = re.search(rb'"error"\s*:\s*"([a-z_]{1,40})"', response.content[:2000])
    return f" {match[1].decode()}" if match else ""


class CopernicusDataSpace:
    """The `SceneSource` of Copernicus Data Space; a scene's `key` is the product's Id.

    Without `credentials` they are looked up at once: `SourceError` if there are none. All addresses may be
    replaced; the token follows redirects only within `service_domain` and to `download_url`'s own host.
    """

    name = "cdse"

    def __init__(
        self,
        credentials: Credentials | None = None,
        *,
        catalogue_url: str = CATALOGUE_URL,
        download_url: str = DOWNLOAD_URL,
        token_url: str = TOKEN_URL,
        service_domain: str = SERVICE_DOMAIN,
        page_size: int = LARGEST_PAGE,
        timeout: float | None = None,
    ) -> None:
        credentials = credentials or find_credentials("cdse")
        self._download_url = base_address(download_url)
        for address in (download_url, token_url):
            require_encrypted(address)
        self._client = http_client(timeout)
        self._catalogue = Catalogue(catalogue_url, page_size=page_size, client=self._client)
        self._service_domain = service_domain
        self._token = Token(token_url, credentials, self._client)

    def find(self, query: Query, published_after: datetime | None) -> Iterator[Scene]:
        """Yield the scenes of a query by publication time, oldest first; raises `SourceError`, `TransientError`."""
        for scene, _ in self._catalogue.scenes(query, published_after, self.name):
            yield scene

    def open(self, scene: Scene, offset: int) -> AbstractContextManager[ByteStream]:
        """Open the scene's zip at a byte, or at 0 if the server cannot, or holds less than `offset` bytes.

        Raises `SourceError`, and `TransientError` also if a new token is refused: a wrong password would show at
        log-in, so the servers disagree with each other, on their clocks for instance.
        """
        return archive_stream(partial(self._answer, scene), offset, scene.id)

    def _answer(self, scene: Scene, offset: int) -> httpx.Response:
        if scene.key is None:
            raise SourceError(scene.id, "has no product id", "search the catalogue first")
        token = self._token.value()
        response = self._follow(scene, offset, token)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            response.close()
            response = self._follow(scene, offset, self._token.value(refused=token))
        if response.status_code == httpx.codes.UNAUTHORIZED:
            response.close()
            wait = retry_after(response.headers.get("Retry-After")) or _WAIT_FOR_CLOCKS
            raise TransientError(f"{scene.id}: a new token was refused (HTTP 401)", wait)
        return response

    def _follow(self, scene: Scene, offset: int, token: SecretStr) -> httpx.Response:
        address = self._download_url.copy_with(path=f"{self._download_url.path}/Products({scene.key})/$value")
        header = f"Bearer {token.get_secret_value()}"
        return follow(self._client, address, offset, scene.id, lambda at: header if self._is_trusted(at) else None)

    def _is_trusted(self, address: httpx.URL) -> bool:
        own = address.host in (self._download_url.host, self._service_domain)
        return may_have_credentials(address) and (own or address.host.endswith(f".{self._service_domain}"))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
