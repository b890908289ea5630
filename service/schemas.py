"""Queryables as JSON Schema, and the OpenAPI document."""

from __future__ import annotations

from typing import Any

from outputs.attributes import Attribute
from outputs.catalogue.records import STATUSES
from service.collections import COLLECTIONS, Collection
from service.filters import GEOMETRY
from service.formats import CSV, FEATURES, FLATGEOBUF, GEOJSON, HTML, JSON, OPENAPI, PAGES, SCHEMA, Format
from service.parameters import ITEMS, QUEUE, Parameter
from service.reviews import LONGEST_NOTES

Document = dict[str, Any]
_TYPES = {"text": "string", "integer": "integer", "real": "number", "flag": "boolean", "time": "string"}
_ABSTRACT = "Slicks found in Sentinel-1 radar images, the candidates that were rejected, and the scenes analysed."
_PROBLEMS = {
    "400": "A parameter is unknown or malformed.",
    "401": "A token is needed, or the one given is not valid.",
    "403": "The token does not allow this.",
    "404": "There is no such collection or feature.",
    "406": "There is no acceptable format.",
    "429": "Too many requests; Retry-After says when to come back.",
    "503": "The catalogue cannot be read now.",
}


def queryables(collection: Collection, address: str) -> Document:
    """The attributes that filters and sorting may use, as a JSON Schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": address,
        "type": "object",
        "title": collection.title,
        "properties": {
            **{one.name: _property(one) for one in collection.layer.attributes},
            GEOMETRY: {"format": "geometry-multipolygon", "x-ogc-role": "primary-geometry", "title": "Outline"},
        },
        "additionalProperties": False,
    }


def _property(attribute: Attribute) -> Document:
    unit = f" ({attribute.unit})" if attribute.unit not in ("", "UTC") else ""
    described = {"title": attribute.name, "description": attribute.description + unit}
    form = {"format": "date-time"} if attribute.kind == "time" else {}
    return {"type": _TYPES[attribute.kind], **form, **described}


def openapi(address: str, version: str, with_tokens: bool) -> Document:
    """The OpenAPI 3.0 document of the service at an address."""
    collection = {
        "name": "collectionId",
        "in": "path",
        "required": True,
        "description": "A collection.",
        "schema": {"type": "string", "enum": list(COLLECTIONS)},
    }
    feature = {
        "name": "featureId",
        "in": "path",
        "required": True,
        "description": "The id of a feature.",
        "schema": {"type": "string"},
    }
    paths = {
        "/": _operation("getLandingPage", "The landing page.", PAGES),
        "/conformance": _operation("getConformance", "The standards that this service meets.", PAGES),
        "/api": _operation("getApi", "This document.", (OPENAPI, HTML)),
        "/collections": _operation("getCollections", "The collections.", PAGES),
        "/collections/{collectionId}": _operation("getCollection", "A collection.", PAGES, [collection]),
        "/collections/{collectionId}/queryables": _operation(
            "getQueryables", "The attributes that filters may use.", (SCHEMA, HTML), [collection]
        ),
        "/collections/{collectionId}/items": _operation(
            "getFeatures", "Features of a collection.", FEATURES, [collection], ITEMS
        ),
        "/collections/{collectionId}/items/{featureId}": _operation(
            "getFeature", "One feature.", FEATURES, [collection, feature]
        ),
    }
    paths["/reviews/queue"] = _operation(
        "getQueue", "Slicks to review, those that teach most first.", (JSON,), [], QUEUE
    )
    journal = "/collections/slicks/items/{featureId}/reviews"
    paths[journal] = _operation("getReviews", "The reviews of a slick; the ETag names them.", (JSON,), [feature])
    paths[journal]["post"] = _review(paths[journal]["get"])
    document: Document = {
        "openapi": "3.0.3",
        "info": {
            "title": "Slickwatch",
            "description": _ABSTRACT,
            "version": version,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "servers": [{"url": address}],
        "paths": paths,
        "components": {
            "schemas": {
                "Problem": {
                    "type": "object",
                    "required": ["type", "title", "status", "detail"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                    },
                },
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
    }
    if with_tokens:
        document["security"] = [{"bearer": []}, {"basic": []}]
    return document


def _operation(
    name: str,
    summary: str,
    formats: tuple[Format, ...],
    path: list[Document] | None = None,
    query: tuple[Parameter, ...] = (),
) -> Document:
    names = [
        *dict.fromkeys(("json", *(one.name for one in formats)) if GEOJSON in formats else (f.name for f in formats))
    ]
    choice = Parameter("f", "Format of the answer; else the header Accept decides.", {"type": "string", "enum": names})
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    content = {one.media_type: {"schema": _content(one)} for one in formats}
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "parameters": [*(path or []), *map(_described, (*query, choice))],
            "responses": {
                "200": {"description": summary, "content": content},
                **{status: {"description": why, "content": problem} for status, why in _PROBLEMS.items()},
            },
        }
    }


def _review(reading: Document) -> Document:
    """The operation that adds a review, from that which reads them."""
    problem = reading["responses"]["400"]["content"]
    status = {"type": "string", "enum": list(STATUSES)}
    notes = {"type": "string", "maxLength": LONGEST_NOTES, "nullable": True}
    review = {
        "type": "object",
        "required": ["status"],
        "properties": {"status": status, "notes": notes},
        "additionalProperties": False,
    }
    match = {
        "name": "If-Match",
        "in": "header",
        "required": True,
        "description": "The ETag of the reviews that the reviewer has seen.",
        "schema": {"type": "string"},
    }
    refusals = {
        **_PROBLEMS,
        "409": "The slick cannot be reviewed.",
        "412": "Somebody else has reviewed it meanwhile.",
        "415": "The body is not application/json.",
        "422": "The review is not valid.",
        "428": "If-Match is missing.",
    }
    return {
        "operationId": "addReview",
        "summary": "Add a review; needs a token of scope review, whose name is the reviewer's.",
        "parameters": [reading["parameters"][0], match],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": review}},
        },
        "responses": {
            "201": reading["responses"]["200"],
            **{code: {"description": why, "content": problem} for code, why in refusals.items()},
        },
        "security": [{"bearer": []}, {"basic": []}],
    }


def _content(form: Format) -> Document:
    if form in (HTML, CSV):
        return {"type": "string"}
    return {"type": "string", "format": "binary"} if form == FLATGEOBUF else {"type": "object"}


def _described(parameter: Parameter) -> Document:
    return {
        "name": parameter.name,
        "in": "query",
        "required": False,
        "description": parameter.description,
        "schema": parameter.schema,
        "style": "form",
        "explode": parameter.explode,
    }
