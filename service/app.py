"""The service: the addresses of OGC API - Features over a catalogue, and what each answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from outputs.attributes import time_text
from outputs.catalogue.search import Reader
from outputs.record import software_version
from service import formats, pages, schemas
from service.access import Access, Guard, Rate
from service.assets import Assets
from service.collections import COLLECTIONS, Collection
from service.formats import CSV, FEATURES, FLATGEOBUF, GEOJSON, HTML, OPENAPI, PAGES, SCHEMA, Format
from service.map import map_routes
from service.parameters import CRS84, ITEMS, search, values
from service.problems import HANDLERS, Problem
from service.reviews import review_routes

_FEATURES_1 = "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf"
_FEATURES_3 = "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf"
_CQL2 = "http://www.opengis.net/spec/cql2/1.0/conf"
CONFORMANCE = (
    *(f"{_FEATURES_1}/{name}" for name in ("core", "oas30", "html", "geojson")),
    *(f"{_FEATURES_3}/{name}" for name in ("filter", "features-filter", "queryables")),
    *(
        f"{_CQL2}/{name}"
        for name in (
            "cql2-text", "cql2-json", "basic-cql2", "advanced-comparison-operators", "case-insensitive-comparison",
            "basic-spatial-functions", "basic-spatial-functions-plus", "spatial-functions", "temporal-functions",
            "property-property",
        )
    ),
)  # fmt: skip
_QUERYABLES = "http://www.opengis.net/def/rel/ogc/1.0/queryables"
Link = dict[str, str]


@dataclass(frozen=True)
class Options:
    """How the service runs: its address for others where it is not that of the requests, and who may use it."""

    url: str | None = None  # without a slash at the end
    access: Access = field(default_factory=Access)
    requests_per_minute: int = 1200
    hosts: frozenset[str] | None = frozenset({"127.0.0.1", "localhost", "::1"})  # None: any
    coastline: Path | None = None  # land polygons of the map; None: those of the package


def make_app(catalogue: Path, options: Options) -> Starlette:
    """The service over a catalogue, which may appear or be replaced later, as an ASGI application."""
    service = _Service(Reader(catalogue), options)
    collection = "/collections/{collection}"
    routes = [
        Route("/", service.landing),
        Route("/conformance", service.conformance),
        Route("/api", service.api),
        Route("/collections", service.collections),
        Route(collection, service.collection),
        Route(f"{collection}/queryables", service.queryables),
        Route(f"{collection}/items", service.items),
        Route(f"{collection}/items/{{feature}}", service.item),
        *map_routes(service.reader, service.address, options.coastline),
        *review_routes(service.reader, service.address, options.access),
        Mount("/static", Assets()),
    ]
    guard = Middleware(Guard, access=options.access, rate=Rate(options.requests_per_minute), hosts=options.hosts)
    app = Starlette(routes=routes, middleware=[guard], exception_handlers=HANDLERS)
    app.router.redirect_slashes = False  # each document has one address
    return app


class _Service:
    def __init__(self, reader: Reader, options: Options) -> None:
        self.reader, self._options = reader, options

    async def landing(self, request: Request) -> Response:
        form = formats.wanted(request, values(request, ("f",)), PAGES)
        document = {
            "title": "Slickwatch",
            "description": "Slicks found in Sentinel-1 radar images, rejected candidates, and the scenes analysed.",
            "links": [
                *self._own(request, form, PAGES),
                self._link(request, "/api", "service-desc", OPENAPI.media_type, "OpenAPI document"),
                self._link(request, "/api?f=html", "service-doc", HTML.media_type, "API"),
                self._link(request, "/conformance", "conformance", "application/json", "Conformance"),
                self._link(request, "/collections", "data", "application/json", "Collections"),
            ],
        }
        return self._answer(request, form, "landing.html", document)

    async def conformance(self, request: Request) -> Response:
        form = formats.wanted(request, values(request, ("f",)), PAGES)
        links = self._own(request, form, PAGES)
        return self._answer(request, form, "conformance.html", {"conformsTo": list(CONFORMANCE), "links": links})

    async def api(self, request: Request) -> Response:
        form = formats.wanted(request, values(request, ("f",)), (OPENAPI, HTML))
        with_tokens = self._options.access.tokens is not None
        document = schemas.openapi(self.address(request), software_version() or "unknown", with_tokens)
        if form is HTML:
            return self._answer(request, form, "api.html", document)
        return JSONResponse(document, media_type=OPENAPI.media_type)

    async def collections(self, request: Request) -> Response:
        form = formats.wanted(request, values(request, ("f",)), PAGES)
        described = [await self._described(request, one) for one in COLLECTIONS.values()]
        document = {"links": self._own(request, form, PAGES), "collections": described}
        return self._answer(request, form, "collections.html", document)

    async def collection(self, request: Request) -> Response:
        form = formats.wanted(request, values(request, ("f",)), PAGES)
        collection = _collection(request)
        document = await self._described(request, collection)
        document["links"] = [*self._own(request, form, PAGES), *document["links"]]
        return self._answer(request, form, "collection.html", document)

    async def queryables(self, request: Request) -> Response:
        form = formats.wanted(request, values(request, ("f",)), (SCHEMA, HTML))
        collection = _collection(request)
        address = f"{self.address(request)}/collections/{collection.id}/queryables"
        document = schemas.queryables(collection, address)
        if form is HTML:
            return self._answer(request, form, "queryables.html", {**document, "collection": collection.id})
        return JSONResponse(document, media_type=SCHEMA.media_type)

    async def items(self, request: Request) -> Response:
        collection = _collection(request)
        given = values(request, (*(one.name for one in ITEMS), "f"))
        form = formats.wanted(request, given, FEATURES)
        asked = search(given, collection.layer)
        page = await run_in_threadpool(self.reader.page, asked)
        links = self._own(request, form, FEATURES)
        steps = [("next", asked.offset + asked.limit)] if page.more else []
        steps += [("prev", max(0, asked.offset - asked.limit))] if asked.offset else []
        for relation, offset in steps:
            address = self._changed(request, {"offset": str(offset) if offset else None, "limit": str(asked.limit)})
            links.append({"href": address, "rel": relation, "type": form.media_type, "title": f"{relation} page"})
        links.append(
            self._link(request, f"/collections/{collection.id}", "collection", "application/json", collection.title)
        )
        members: dict[str, Any] = {
            "links": links,
            "numberReturned": len(page.rows),
            "timeStamp": time_text(datetime.now(UTC)),
        }
        if page.matched is not None:
            members["numberMatched"] = page.matched
        headers = {"Link": _header(links), "Content-Crs": f"<{CRS84}>"}
        if form is HTML:
            rows = [formats.properties(collection.layer, row) for row in page.rows]
            document = {**members, "collection": collection, "rows": rows, "offset": asked.offset, "given": given}
            return self._answer(request, form, "items.html", document, headers)
        return await run_in_threadpool(_features, collection, form, page.rows, members, headers)

    async def item(self, request: Request) -> Response:
        collection = _collection(request)
        form = formats.wanted(request, values(request, ("f",)), FEATURES)
        key = request.path_params["feature"]
        row = await run_in_threadpool(self.reader.row, collection.layer, key)
        if row is None:
            raise Problem(404, f"The collection {collection.id} has no feature of this id.")
        links = self._own(request, form, FEATURES)
        links.append(
            self._link(request, f"/collections/{collection.id}", "collection", "application/json", collection.title)
        )
        headers = {"Link": _header(links), "Content-Crs": f"<{CRS84}>"}
        if form is GEOJSON:
            content = await run_in_threadpool(formats.write_feature, collection.layer, row, {"links": links})
            return Response(content, media_type=GEOJSON.media_type, headers=headers)
        if form is HTML:
            shown = [(one, formats.properties(collection.layer, row)[one.name]) for one in collection.layer.attributes]
            document = {"links": links, "collection": collection, "attributes": shown, "id": key}
            return self._answer(request, form, "item.html", document, headers)
        return await run_in_threadpool(_features, collection, form, [row], {}, headers)

    async def _described(self, request: Request, collection: Collection) -> dict[str, Any]:
        extent = await run_in_threadpool(self.reader.extent, collection.layer)
        base = f"/collections/{collection.id}"
        known: dict[str, Any] = {}
        if extent.bounds is not None:
            known["spatial"] = {"bbox": [list(extent.bounds)], "crs": CRS84}
        if extent.first is not None:
            known["temporal"] = {
                "interval": [[extent.first, extent.last]],
                "trs": "http://www.opengis.net/def/uom/ISO-8601/0/Gregorian",
            }
        return {
            "id": collection.id,
            "title": collection.title,
            "description": collection.description,
            "itemType": "feature",
            "crs": [CRS84],
            **({"extent": known} if known else {}),
            "links": [
                *(
                    self._link(
                        request,
                        f"{base}/items?f={form.name}",
                        "items",
                        form.media_type,
                        f"{collection.title} as {form.title}",
                    )
                    for form in FEATURES
                ),
                self._link(request, f"{base}/queryables", _QUERYABLES, SCHEMA.media_type, "Attributes"),
            ],
        }

    def address(self, request: Request) -> str:
        """Where clients find the service, without a slash at the end."""
        return self._options.url or str(request.base_url).rstrip("/")

    def _link(self, request: Request, path: str, relation: str, media_type: str, title: str) -> Link:
        return {"href": self.address(request) + path, "rel": relation, "type": media_type, "title": title}

    def _changed(self, request: Request, changes: Mapping[str, str | None]) -> str:
        """The address of a request with other parameters; None removes one."""
        kept = {**dict(request.query_params), **changes}
        query = urlencode({name: value for name, value in kept.items() if value is not None})
        return self.address(request) + quote(request.url.path) + (f"?{query}" if query else "")

    def _own(self, request: Request, form: Format, offered: Sequence[Format]) -> list[Link]:
        """The links to a document itself and to its other formats."""
        return [
            {
                "href": self._changed(request, {"f": one.name}),
                "rel": "self" if one is form else "alternate",
                "type": one.media_type,
                "title": "This document" if one is form else f"This document as {one.title}",
            }
            for one in offered
        ]

    def _answer(
        self,
        request: Request,
        form: Format,
        template: str,
        document: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """A document as JSON, or as the page made from it by a template."""
        if form is not HTML:
            return JSONResponse(document, headers=dict(headers or {}))
        text = pages.render(template, {"base": self.address(request), "document": document})
        return Response(text, media_type="text/html", headers=dict(headers or {}))


def _collection(request: Request) -> Collection:
    found = COLLECTIONS.get(request.path_params["collection"])
    if found is None:
        raise Problem(404, f"There is no such collection; there are {', '.join(COLLECTIONS)}.")
    return found


def _features(
    collection: Collection,
    form: Format,
    rows: Sequence[formats.Row],
    members: Mapping[str, Any],
    headers: Mapping[str, str],
) -> Response:
    layer = collection.layer
    named = {"Content-Disposition": f'attachment; filename="{collection.id}.{form.name}"'}
    if form is CSV:
        return Response(formats.write_csv(layer, rows), media_type="text/csv", headers={**headers, **named})
    if form is FLATGEOBUF:
        return Response(formats.write_fgb(layer, rows), media_type=form.media_type, headers={**headers, **named})
    return Response(formats.write_geojson(layer, rows, members), media_type=form.media_type, headers=dict(headers))


def _header(links: Sequence[Link]) -> str:
    return ", ".join(f'<{one["href"]}>; rel="{one["rel"]}"; type="{one["type"]}"' for one in links)
