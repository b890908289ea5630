"""Nodes of ESA's Data Hub Software (DHuS) as a source, through sentinelsat (GPLv3+, the extra `dhus`).

National mirrors and archives run such nodes; ESA's own hub is closed, so there is no default address.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import requests
import shapely
from shapely.geometry.base import BaseGeometry

from ingest.areas import read_footprint
from ingest.credentials import Credentials
from ingest.errors import SourceError, TransientError, UnreadableInput, UsageError
from ingest.proxies import require_usable_proxies
from ingest.scene import Scene, scene_from_name
from ingest.sources.http import archive_stream, base_address, require_encrypted, require_success
from ingest.sources.sessions import ignore_netrc
from ingest.sources.source import ByteStream, Query

PAGE = 100  # products, the most a node returns at once
BLOCK = 1 << 16  # bytes
# A node takes hours to a day to fetch from its tape archive: this scene waits without blocking others.
ARCHIVE_WAIT = 6 * 3600.0  # seconds
_WITHDRAWN = "no longer on the node"

_log = logging.getLogger(__name__)


class DhusNode:
    """The `SceneSource` of one DHuS node; a scene's `key` is the product's UUID.

    Raises `UsageError` without sentinelsat and for an address that would send the password unencrypted, `SourceError`
    for an invalid one. Products in the node's long-term archive are found like all others; `open` requests their
    retrieval, and raises `TransientError` until they are there.
    """

    def __init__(self, api_url: str, credentials: Credentials, *, name: str = "dhus", timeout: float = 60.0) -> None:
        require_encrypted(api_url)
        require_usable_proxies("socks")
        self.name, self._url = name, str(base_address(api_url))
        self._sentinelsat = _sentinelsat()
        word = credentials.secret.get_secret_value()
        self._api = self._sentinelsat.SentinelAPI(credentials.user, word, self._url, show_progressbars=False)
        ignore_netrc(self._api.session)
        # sentinelsat's own `timeout` has no effect: requests has no session-wide time-out.
        self._api.session.request = functools.partial(self._api.session.request, timeout=timeout)

    def find(self, query: Query, published_after: datetime | None) -> Iterator[Scene]:
        """Yield the scenes of a query by ingestion time, oldest first; raises `SourceError`, `TransientError`.

        Size and MD5 are requested scene by scene, as each is yielded.
        """
        keywords = self._keywords(query, published_after)
        seen: set[str] = set()
        for offset in range(0, 1 << 30, PAGE):
            with self._failures(self._url):
                page = self._api.query(**keywords, order_by="ingestiondate", limit=PAGE, offset=offset)
            for uuid in [each for each in page if each not in seen]:
                seen.add(uuid)
                scene = _scene_of(uuid, page[uuid], self.name)
                if scene is not None and _matches(scene, page[uuid], query, published_after):
                    yield from self._with_size_and_checksum(scene)
            if len(page) < PAGE:
                return

    def open(self, scene: Scene, offset: int) -> AbstractContextManager[ByteStream]:
        """Open the scene's zip at a byte, or at 0 if the node cannot; raises `SourceError`, `TransientError`."""
        return archive_stream(functools.partial(self._answer, scene), offset, scene.id)

    def close(self) -> None:
        """Close the connections."""
        self._api.session.close()

    def _keywords(self, query: Query, published_after: datetime | None) -> dict[str, Any]:
        keywords: dict[str, Any] = {
            "platformname": "Sentinel-1",
            "producttype": query.product_type,
            "sensoroperationalmode": query.mode,
            "relativeorbitnumber": query.relative_orbit,
            # Fractions of a second are dropped, so it asks for slightly too much.
            "ingestiondate": (published_after, None) if published_after else None,
        }
        keywords = {name: value for name, value in keywords.items() if value is not None}
        return keywords | ({} if query.area is None else {"area": self._area_text(query.area, keywords)})

    def _area_text(self, area: BaseGeometry, keywords: dict[str, Any]) -> str:
        """The area as WKT, coarser and larger if the node would refuse its length; `find` filters the answers."""
        text = ""
        for coarser in (area, shapely.convex_hull(area), shapely.box(*area.bounds)):
            text = shapely.to_wkt(coarser, rounding_precision=4)
            if self._api.check_query_length(self._api.format_query(area=text, **keywords)) <= 1:
                break
        return text

    def _with_size_and_checksum(self, scene: Scene) -> Iterator[Scene]:
        try:
            with self._failures(scene.id):
                facts = self._api.get_product_odata(scene.key)
        except SourceError as error:
            if error.problem != _WITHDRAWN:
                raise
            _log.warning("%s: skipped, %s", scene.id, error.problem)
            return
        md5 = facts.get("md5")
        if not facts.get("Online", True):
            _log.info("%s: in the node's long-term archive, not available yet", scene.id)
        yield replace(scene, size=facts.get("size"), checksum=f"md5:{md5.lower()}" if md5 else None)

    def _answer(self, scene: Scene, offset: int) -> httpx.Response:
        if scene.key is None:
            raise SourceError(scene.id, "has no product id", "search the node first")
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
        with self._failures(scene.id):
            try:
                return _answer(self._api.get_stream(scene.key, headers=headers), scene.id)
            except self._sentinelsat.SentinelAPIError as error:
                refused: requests.Response | None = getattr(error, "response", None)
                if refused is None or refused.status_code != httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                    raise
                return _answer(refused, scene.id)

    @contextmanager
    def _failures(self, subject: str) -> Iterator[None]:
        """Classify the node's failures. Only the kind is reported: a node's message may be a page, or name the user."""
        known = self._sentinelsat
        try:
            yield
        except known.UnauthorizedError:
            remedy = "check SLICKWATCH_DHUS_USERNAME and SLICKWATCH_DHUS_PASSWORD"
            raise SourceError(subject, "login refused", remedy) from None
        except known.InvalidKeyError:
            raise SourceError(subject, _WITHDRAWN, "search again") from None
        except known.exceptions.LTATriggered:
            problem = "not available yet: requested from the node's long-term archive"
            raise TransientError(f"{subject}: {problem}", ARCHIVE_WAIT) from None
        except known.exceptions.LTAError:
            problem = "not available yet: the node accepts no more requests to its long-term archive for now"
            raise TransientError(f"{subject}: {problem}", ARCHIVE_WAIT) from None
        except known.SentinelAPIError as error:
            raise _known(error, subject) from None
        except (requests.exceptions.MissingSchema, requests.exceptions.InvalidURL):
            raise SourceError(subject, "invalid address", "give one as https://host/path") from None
        except requests.RequestException as error:
            raise TransientError(f"{subject}: the connection failed ({type(error).__name__})") from None
        except (KeyError, TypeError, ValueError, AttributeError):
            raise SourceError(subject, "unexpected answer", "check that this is a DHuS node") from None


def _sentinelsat() -> Any:
    try:
        return importlib.import_module("sentinelsat")
    except ModuleNotFoundError as error:
        raise UsageError("dhus", "sentinelsat is not installed", "run: pip install 'slickwatch[dhus]'") from error


def _known(error: Any, subject: str) -> TransientError | SourceError:
    response: requests.Response | None = getattr(error, "response", None)
    if response is not None and response.status_code >= 400:
        try:
            require_success(_answer(response, subject), subject)
        except (TransientError, SourceError) as known:
            return known
    return TransientError(f"{subject}: the node did not answer with data")


def _answer(response: requests.Response, subject: str) -> httpx.Response:
    """Convert a response to sentinelsat, which uses requests, for the shared HTTP layer."""
    return httpx.Response(response.status_code, headers=response.headers, stream=_Body(response, subject))


class _Body(httpx.SyncByteStream):
    def __init__(self, response: requests.Response, subject: str) -> None:
        self._response, self._subject = response, subject

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._response.iter_content(BLOCK)
        except requests.RequestException as error:
            raise TransientError(f"{self._subject}: the connection failed ({type(error).__name__})") from None

    def close(self) -> None:
        self._response.close()


def _scene_of(uuid: str, properties: dict[str, Any], source: str) -> Scene | None:
    try:
        scene = scene_from_name(str(properties.get("identifier") or properties.get("title")))
        orbit = properties.get("relativeorbitnumber")
        return replace(
            scene,
            relative_orbit=orbit if isinstance(orbit, int) else scene.relative_orbit,
            footprint=read_footprint(properties.get("footprint")),
            source=source,
            published=properties["ingestiondate"].replace(tzinfo=UTC),
            key=uuid,
        )
    except (UnreadableInput, KeyError, AttributeError, TypeError) as error:
        reason = str(error) if isinstance(error, UnreadableInput) else "it has no ingestion date"
        _log.warning("Skipped product %s of a DHuS node: %s", uuid, reason)
        return None


def _matches(scene: Scene, properties: dict[str, Any], query: Query, published_after: datetime | None) -> bool:
    """Whether a product matches: the node was asked with fewer conditions than the query, or for a larger area."""
    is_new = published_after is None or scene.published is None or scene.published > published_after
    timeliness = [properties["timeliness"]] if properties.get("timeliness") else []
    # The node has already filtered by relative orbit.
    return is_new and replace(query, relative_orbit=None).matches(scene, properties.get("orbitdirection"), timeliness)
