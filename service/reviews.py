"""Reviews over HTTP: the queue of slicks to review, the journal of a slick, and new entries of it.

Two reviewers never overwrite each other unawares: a new entry names, as If-Match, the journal that its reviewer saw.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ingest.errors import UsageError
from outputs.attributes import time_text
from outputs.catalogue import Catalogue
from outputs.catalogue.layers import SLICKS
from outputs.catalogue.records import STATUSES, Review
from outputs.catalogue.reviews import OtherReview
from outputs.catalogue.search import Reader
from service.access import Access
from service.formats import JSON, wanted
from service.pages import Address
from service.parameters import DEFAULT_LIMIT, LARGEST_LIMIT, LARGEST_OFFSET, QUEUE, count, values
from service.problems import Problem

LONGEST_NOTES = 2000  # characters
_LOCK_TIMEOUT_S = 5.0
_TYPE = "application/json"


def review_routes(reader: Reader, address: Address, access: Access) -> list[Route]:
    """The routes of reviews over the catalogue of a reader."""
    served = _Reviews(reader, address, access)
    journal = "/collections/slicks/items/{slick}/reviews"
    return [
        Route("/reviews/queue", served.queue),
        Route(journal, served.journal, methods=["GET"]),
        Route(journal, served.add, methods=["POST"]),
    ]


class _Reviews:
    def __init__(self, reader: Reader, address: Address, access: Access) -> None:
        self._reader, self._address, self._access = reader, address, access

    async def queue(self, request: Request) -> Response:
        """Slicks without a review, those first whose review teaches most: see `Reader.queue`."""
        given = values(request, (*(one.name for one in QUEUE), "f"))
        wanted(request, given, (JSON,))
        limit = min(count(given, "limit", DEFAULT_LIMIT, 1), LARGEST_LIMIT)
        offset = count(given, "offset", 0, 0, LARGEST_OFFSET)
        waiting = await run_in_threadpool(self._reader.queue)
        shown = [{"id": one.id, "score": round(one.score, 4)} for one in waiting[offset : offset + limit]]
        return JSONResponse({"numberMatched": len(waiting), "numberReturned": len(shown), "slicks": shown})

    async def journal(self, request: Request) -> Response:
        """All reviews of a slick, oldest first; the ETag is what a new one must name."""
        wanted(request, values(request, ("f",)), (JSON,))
        slick = request.path_params["slick"]
        return _answer(slick, await run_in_threadpool(self._entries, slick))

    async def add(self, request: Request) -> Response:
        """Add a review. Answers with the journal."""
        values(request, ())
        token = self._access.require(request.headers, "review")
        self._require_own_page(request)
        given = _content(await request.body(), request.headers.get("content-type", ""))
        expected = request.headers.get("if-match")
        if expected is None:
            raise Problem(428, "Name the journal that you saw: its ETag as the header If-Match.")
        slick = request.path_params["slick"]
        seen = await run_in_threadpool(self._entries, slick)
        if expected != _tag(slick, seen):
            raise _changed(seen)
        assert token is not None  # only reading may go without
        await run_in_threadpool(self._record, slick, given, token.name, seen)
        return _answer(slick, await run_in_threadpool(self._entries, slick), 201)

    def _entries(self, slick: str) -> list[Review]:
        if self._reader.row(SLICKS, slick) is None:
            raise Problem(404, "There is no current slick of this id.")
        return self._reader.reviews(slick)

    def _record(self, slick: str, given: dict[str, str], reviewer: str, seen: list[Review]) -> None:
        catalogue = Catalogue.open(Path(self._reader.path), create=False, lock_timeout_s=_LOCK_TIMEOUT_S)
        try:
            catalogue.review(slick, given["status"], reviewer, given["notes"] or None, expected=len(seen))
        except OtherReview as error:
            raise _changed(self._reader.reviews(slick)) from error
        except UsageError as error:
            raise Problem(409, f"The slick cannot be reviewed: {error.problem}.") from error

    def _require_own_page(self, request: Request) -> None:
        """Raise `Problem` 403 for a request that a page of another site makes in somebody's browser."""
        origin = request.headers.get("origin")
        own = urlsplit(self._address(request))
        if origin is not None and origin.lower() != f"{own.scheme}://{own.netloc}".lower():
            raise Problem(403, "Reviews are taken from pages of this service only.")


def _content(body: bytes, content_type: str) -> dict[str, str]:
    """The status and notes of a body. Raises `Problem`: 415, 400 for malformed JSON, 422 for its content."""
    if content_type.partition(";")[0].strip().lower() != _TYPE:
        raise Problem(415, f"A review is {_TYPE}.")
    try:
        given: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem(400, "The body is not JSON.") from None
    names = ("status", "notes")
    if not isinstance(given, dict) or not set(given) <= set(names):
        raise Problem(422, f"A review is an object of {' and '.join(names)}.")
    if not isinstance(given.get("status"), str) or given["status"] not in STATUSES:
        raise Problem(422, f"status is one of {', '.join(STATUSES)}.")
    notes = "" if given.get("notes") is None else given["notes"]
    if not isinstance(notes, str) or len(notes) > LONGEST_NOTES:
        raise Problem(422, f"notes is a text of at most {LONGEST_NOTES} characters.")
    if "\0" in notes or not _encodable(notes):
        raise Problem(422, "notes has characters that cannot be stored.")
    return {"status": given["status"], "notes": notes}


def _encodable(text: str) -> bool:
    return text.encode(errors="ignore").decode() == text


def _tag(slick: str, entries: list[Review]) -> str:
    """The entity tag of a journal: of this slick and these entries, and of no other."""
    known = json.dumps([slick, *(f"{one.status} {one.reviewer} {time_text(one.reviewed_at)}" for one in entries)])
    return f'"{hashlib.sha256(known.encode(errors="replace")).hexdigest()[:32]}"'


def _changed(entries: list[Review]) -> Problem:
    if not entries:
        return Problem(412, "The journal is not the one that you saw.")
    last = entries[-1]
    who = last.reviewer or "somebody"
    return Problem(412, f"Meanwhile {who} has reviewed this slick: {last.status}, {time_text(last.reviewed_at)}.")


def _answer(slick: str, entries: list[Review], status: int = 200) -> Response:
    shown = [
        {
            "status": one.status,
            "reviewer": one.reviewer,
            "notes": one.notes,
            "reviewed_at": time_text(one.reviewed_at),
        }
        for one in entries
    ]
    content = {"status": entries[-1].status if entries else "unreviewed", "reviews": shown}
    return JSONResponse(content, status, {"ETag": _tag(slick, entries)})
