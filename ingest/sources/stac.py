"""STAC APIs as a source: scenes found by item search, downloaded as the zip an item offers.

STAC API 1.0 with its extensions Filter and Query: https://api.stacspec.org/v1.0.0/item-search.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Any

import httpx
import pystac
from pydantic import SecretStr
from pystac_client import Client, ConformanceClasses
from pystac_client.errors import ClientTypeError
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from shapely.geometry import mapping

from ingest.errors import SourceError, TransientError
from ingest.proxies import require_usable_proxies
from ingest.scene import Scene
from ingest.sources.http import (
    archive_stream,
    base_address,
    follow,
    http_client,
    may_have_credentials,
    may_pass,
    network_failures,
)
from ingest.sources.sessions import ignore_netrc
from ingest.sources.source import ByteStream, Query, time_text
from ingest.sources.stac_items import Archive, Item, archive_of, published, read_item, scene_of

PAGE = 100  # items
LATENESS = timedelta(days=30)
_TIMELINESS = ("product:timeliness_category", "s1:product_timeliness")

_log = logging.getLogger(__name__)
Authorization = Callable[[], SecretStr]  # the value of the header, such as "Bearer ..." or "Basic ..."


class StacCatalogue:
    """The `SceneSource` of one collection of a STAC API; a scene's `key` is the item's id.

    The item is looked up again before each download, so that signed, expiring addresses are fresh.
    `authorization` gives the header for downloads; it is called for each, and sent only to the catalogue's own host
    and `trusted_hosts` (and their subdomains), and only over HTTPS.

    `published_property` names the time that the server is asked by (the extension Query then leaves out items without
    it). Without a name, or where the server knows neither Filter nor Query, it is asked for all that was acquired up
    to `lateness` before, and what an item tells of ``published``, ``created`` or ``updated`` is compared here. An item
    that tells none counts as published when its acquisition ended, and comes again for as long.
    """

    def __init__(
        self,
        url: str,
        collection: str,
        *,
        published_property: str | None = None,
        authorization: Authorization | None = None,
        trusted_hosts: Iterable[str] = (),
        lateness: timedelta = LATENESS,
        name: str = "stac",
        timeout: float = 60.0,
    ) -> None:
        require_usable_proxies("socks")
        self.name = name
        self._url, self._collection, self._timeout = str(base_address(url)), collection, timeout
        self._published_property, self._lateness = published_property, lateness
        self._authorization = authorization
        self._trusted_hosts = (base_address(url).host, *trusted_hosts)
        # Our own retries wait as the server asks; pystac-client's would be added to them.
        self._io = StacApiIO(timeout=timeout, max_retries=None)
        ignore_netrc(self._io.session)

    @cached_property
    def _http(self) -> httpx.Client:
        return http_client(self._timeout)

    def find(self, query: Query, published_after: datetime | None) -> Iterator[Scene]:
        """Yield the scenes of a query by publication time, oldest first; raises `SourceError`, `TransientError`.

        The server filters as far as it can, and every item is also compared with the query here. Properties that
        an item lacks do not exclude it. Raises `SourceError` if there are items but none has a zip.
        """
        with self._failures():
            items = [read_item(each) for each in self._search(**self._conditions(query, published_after))]
        found: list[Scene] = []
        without: list[tuple[Item, Scene | None]] = []
        for item in filter(None, items):
            scene = scene_of(item, self.name, self._published_property)
            if scene is not None and not self._is_wanted(item, scene, query, published_after):
                continue
            if archive_of(item) is None:
                without.append((item, scene))
            elif scene is not None:
                found.append(scene)
        if without and not found:
            raise self._no_zip(without[0][0])
        for item, scene in without:
            if scene is not None:  # else it was said that it has no name
                _log.warning("%.100s: skipped, %s offers no zip of it", item.id, self._collection)
        yield from sorted(found, key=lambda scene: (scene.published or scene.acquired_end, scene.id))

    def open(self, scene: Scene, offset: int) -> AbstractContextManager[ByteStream]:
        """Open the scene's zip at a byte, or at 0 if the server cannot; raises `SourceError`, `TransientError`."""
        return archive_stream(partial(self._answer, scene, self._archive(scene)), offset, scene.id)

    def close(self) -> None:
        """Close the connections."""
        if "_http" in vars(self):
            self._http.close()
        self._io.session.close()

    def _conditions(self, query: Query, published_after: datetime | None) -> dict[str, Any]:
        """The search parameters, in a filter language the server supports."""
        with self._failures():
            api = self._api
        asked: dict[str, Any] = {}
        if query.area is not None:
            asked["intersects"] = mapping(query.area)
        after = published_after if self._published_property else None
        if api.conforms_to(ConformanceClasses.FILTER):
            asked |= _filter(query, self._published_property, after)
        elif api.conforms_to(ConformanceClasses.QUERY):
            asked |= _query(query, self._published_property, after)
        else:
            after = None
        if published_after is not None and after is None:
            asked["datetime"] = f"{time_text(published_after - self._lateness)}/.."
        return asked

    @cached_property
    def _api(self) -> Client:
        return Client.open(self._url, stac_io=self._io)

    def _search(self, **asked: Any) -> list[dict[str, Any]]:
        search = self._api.search(collections=[self._collection], limit=PAGE, max_items=None, **asked)
        return list(search.items_as_dicts())

    def _is_wanted(self, item: Item, scene: Scene, query: Query, published_after: datetime | None) -> bool:
        if not _matches(item, scene, query):
            return False
        if published_after is None:
            return True
        came = published(item, self._published_property)
        # No publication time: yield it again and again until it can hardly be new.
        return came > published_after if came else scene.acquired_end > published_after - self._lateness

    def _archive(self, scene: Scene) -> Archive:
        with self._failures():
            items = [read_item(each) for each in self._search(ids=[scene.key])]
        item = next((each for each in items if each is not None and each.id == scene.key), None)
        if item is None:
            raise SourceError(scene.id, f"no longer in the collection {self._collection}", "search again")
        archive = archive_of(item)
        if archive is None:
            raise self._no_zip(item)
        return archive

    def _no_zip(self, item: Item) -> SourceError:
        assets = ", ".join(list(item.assets)[:6]) or "none"
        problem = f"offers no zip of {item.id} over HTTP (its assets: {assets})"
        return SourceError(f"{self._url}, {self._collection}", problem, "choose a provider that offers SAFE zips")

    def _answer(self, scene: Scene, archive: Archive, offset: int) -> httpx.Response:
        given = self._authorization() if self._authorization else None
        response = self._follow(scene, archive.address, offset, given)
        if response.status_code == httpx.codes.UNAUTHORIZED and self._authorization and given is not None:
            again = self._authorization()
            if again != given:  # it has been renewed since
                response.close()
                response = self._follow(scene, archive.address, offset, again)
        return response

    def _follow(self, scene: Scene, address: str, offset: int, given: SecretStr | None) -> httpx.Response:
        with network_failures(scene.id):
            at = httpx.URL(address)
        header = None if given is None else given.get_secret_value()
        return follow(self._http, at, offset, scene.id, lambda host: header if self._is_trusted(host) else None)

    def _is_trusted(self, address: httpx.URL) -> bool:
        trusted = any(address.host == host or address.host.endswith(f".{host}") for host in self._trusted_hosts)
        return trusted and may_have_credentials(address)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Classify the catalogue's failures; the server's message is left out, since it may repeat the request."""
        try:
            with warnings.catch_warnings():
                # It is asked for what it declares to support; the rest is compared here.
                warnings.simplefilter("ignore")
                yield
        except APIError as error:
            status = getattr(error, "status_code", None)
            if status is None or may_pass(status):
                problem = "no answer" if status is None else f"HTTP {status}"
                raise TransientError(f"{self._url}: {problem}") from None
            raise SourceError(self._url, f"HTTP {status}", f"check the address and {self._collection}") from None
        except (pystac.STACError, ClientTypeError, KeyError, TypeError, AttributeError, NotImplementedError):
            raise SourceError(self._url, "not a STAC API with item search", "give the URL of the API's root") from None
        except ValueError:
            raise TransientError(f"{self._url}: the answer is not JSON") from None


def _matches(item: Item, scene: Scene, query: Query) -> bool:
    timeliness = {item.properties[name] for name in _TIMELINESS if name in item.properties}
    return query.matches(scene, item.properties.get("sat:orbit_state"), timeliness)


def _filter(query: Query, published_property: str | None, after: datetime | None) -> dict[str, Any]:
    """The query in CQL2 JSON; null passes, since a missing optional property proves nothing."""
    conditions = [("=", {"property": name}, value) for name, value in _properties(query) if value is not None]
    if after is not None and published_property:
        conditions.append((">", {"property": published_property}, time_text(after)))
    if not conditions:
        return {}
    parts = [
        {"op": "or", "args": [{"op": op, "args": [name, value]}, {"op": "isNull", "args": [name]}]}
        for op, name, value in conditions
    ]
    return {"filter": parts[0] if len(parts) == 1 else {"op": "and", "args": parts}, "filter_lang": "cql2-json"}


def _query(query: Query, published_property: str | None, after: datetime | None) -> dict[str, Any]:
    """The query in the Query extension, which cannot express "or null": only properties that every SAR item has."""
    asked: dict[str, Any] = {} if query.mode is None else {"sar:instrument_mode": {"eq": query.mode}}
    if after is not None and published_property:
        asked[published_property] = {"gt": time_text(after)}
    return {"query": asked} if asked else {}


def _properties(query: Query) -> list[tuple[str, str | int | None]]:
    direction = query.orbit_direction.lower() if query.orbit_direction else None
    return [
        ("sar:instrument_mode", query.mode),
        ("sat:relative_orbit", query.relative_orbit),
        ("sat:orbit_state", direction),
    ]
