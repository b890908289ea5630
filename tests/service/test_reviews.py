"""Reviews over HTTP: the queue, the journal, two reviewers at once, and what is refused."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from typer.testing import CliRunner

from outputs.catalogue import Catalogue
from service.access import Access
from service.app import Options, make_app
from service.reviews import LONGEST_NOTES
from service.tokens import TokenFile
from tests.service.conftest import Client
from tests.support.catalogue_results import FOOTPRINT, SCENE, record, squares, table

SLICKS = "/collections/slicks/items"
P, KM2 = (0.5, 0.9, 1.0, 0.1), (1.0, 30.0, 5.0, 1.0)


@pytest.fixture
def file(tmp_path):
    catalogue = Catalogue.open(tmp_path / "catalogue.gpkg")
    slicks = table("run-1", squares(4)).assign(confidence_mean=P, area_m2=np.array(KM2) * 1e6)
    catalogue.publish(record("run-1", slick_count=4), SCENE, FOOTPRINT, slicks)
    return catalogue.path


@pytest.fixture
def tokens(tmp_path):
    return TokenFile(tmp_path / "tokens.json")


@pytest.fixture
def ask(file, tokens):
    return Client(make_app(file, Options(access=Access(tokens))))


@pytest.fixture
def ada(tokens):
    return {"Authorization": f"Bearer {tokens.add('Ada', 'review')}"}


def journal(ask, slick="s0"):
    return ask(f"{SLICKS}/{slick}/reviews")


def add(ask, headers, review, slick="s0", match=None, **options):
    match = journal(ask, slick).headers["etag"] if match is None else match
    return ask(f"{SLICKS}/{slick}/reviews", {"If-Match": match, **headers}, "POST", **(options or {"json": review}))


def test_the_queue_begins_where_a_label_teaches_most(ask, ada):
    def score(p, km2):
        return (-p * math.log2(p) - (1 - p) * math.log2(1 - p) if p < 1 else 0.0) * math.log2(1 + km2)

    found = ask("/reviews/queue").json()
    wanted = sorted(((score(p, km2), f"s{i}") for i, (p, km2) in enumerate(zip(P, KM2, strict=True))), reverse=True)
    assert [one["id"] for one in found["slicks"]] == [id for _, id in wanted] == ["s1", "s0", "s3", "s2"]
    assert [one["score"] for one in found["slicks"]] == pytest.approx([value for value, _ in wanted], abs=1e-4)
    assert add(ask, ada, {"status": "confirmed"}, "s1").status_code == 201
    left = ask("/reviews/queue?limit=1&offset=1").json()
    assert (left["numberMatched"], [one["id"] for one in left["slicks"]]) == (3, ["s3"])


def test_a_review_reaches_the_catalogue_and_its_command(ask, ada, file):
    done = add(ask, ada, {"status": "rejected", "notes": "low wind, 50 %"})
    assert done.status_code == 201
    assert done.json()["status"] == "rejected"
    assert done.headers["etag"] == journal(ask).headers["etag"]
    (review,) = Catalogue.open(file).reviews("s0")
    assert (review.status, review.reviewer, review.notes) == ("rejected", "Ada", "low wind, 50 %")
    assert Catalogue.open(file).reviewed().id.tolist() == ["s0"], "what retraining learns from"
    from flows.cli import app

    listed = CliRunner().invoke(app, ["slicks", "list", "--catalogue", str(file), "--status", "rejected", "--json"])
    assert listed.exit_code == 0
    assert '"s0"' in listed.output
    assert '"s1"' not in listed.output


def test_undoing_is_another_entry(ask, ada):
    for status in ("confirmed", "rejected", "confirmed", "unreviewed"):
        assert add(ask, ada, {"status": status}).status_code == 201
    entries = journal(ask).json()
    assert [one["status"] for one in entries["reviews"]] == ["confirmed", "rejected", "confirmed", "unreviewed"]
    assert entries["status"] == "unreviewed"


def test_the_second_of_two_reviewers_is_told_of_the_first(ask, ada, tokens):
    grace = {"Authorization": f"Bearer {tokens.add('Grace', 'review')}"}
    seen = journal(ask).headers["etag"]
    assert add(ask, ada, {"status": "confirmed"}, match=seen).status_code == 201
    refused = add(ask, grace, {"status": "rejected"}, match=seen)
    assert refused.status_code == 412
    assert refused.json()["detail"].startswith("Meanwhile Ada has reviewed this slick: confirmed, ")
    assert [one["reviewer"] for one in journal(ask).json()["reviews"]] == ["Ada"]


def test_the_journal_of_one_slick_is_not_that_of_another(ask, ada):
    assert journal(ask, "s0").headers["etag"] != journal(ask, "s1").headers["etag"]
    refused = add(ask, ada, {"status": "confirmed"}, "s1", match=journal(ask, "s0").headers["etag"])
    assert refused.status_code == 412


def test_of_many_at_once_one_is_taken(ask, ada):
    seen = journal(ask).headers["etag"]
    with ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(lambda _: add(ask, ada, {"status": "confirmed"}, match=seen).status_code, range(6)))
    assert sorted(codes) == [201, 412, 412, 412, 412, 412]


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        ({"json": {"status": "perhaps"}}, {}, 422),
        ({"json": {"status": ["confirmed"]}}, {}, 422),
        ({"json": {"status": "confirmed", "notes": "x" * (LONGEST_NOTES + 1)}}, {}, 422),
        ({"json": {"status": "confirmed", "notes": 3}}, {}, 422),
        ({"json": {"status": "confirmed", "notes": "a\0b"}}, {}, 422),
        ({"content": b'{"status": "confirmed", "notes": "\\ud800"}'}, {"Content-Type": "application/json"}, 422),
        ({"json": {"status": "confirmed", "who": "me"}}, {}, 422),
        ({"json": ["confirmed"]}, {}, 422),
        ({"content": b"{"}, {"Content-Type": "application/json"}, 400),
        ({"content": b"\xff"}, {"Content-Type": "application/json"}, 400),
        ({"content": b'{"status": "confirmed"}'}, {"Content-Type": "text/plain"}, 415),
        ({"json": {"status": "confirmed"}}, {"Origin": "http://elsewhere.example"}, 403),
        ({"json": {"status": "confirmed"}}, {"If-Match": "*"}, 412),
        ({"content": b" " * 3_000_000}, {"Content-Type": "application/json"}, 413),
    ],
)
def test_what_is_no_review_is_refused(ask, ada, content, headers, status):
    refused = add(ask, {**ada, **headers}, None, **content)
    assert (refused.status_code, refused.headers["content-type"]) == (status, "application/problem+json")
    assert journal(ask).json() == {"status": "unreviewed", "reviews": []}


def test_a_review_needs_a_token_of_that_scope_a_slick_and_the_journal_seen(ask, ada, tokens):
    reader = {"Authorization": f"Bearer {tokens.add('Joan', 'read')}"}
    assert add(ask, {}, {"status": "confirmed"}).status_code == 401
    assert add(ask, reader, {"status": "confirmed"}).status_code == 403
    assert ask(f"{SLICKS}/s0/reviews", ada, "POST", json={"status": "confirmed"}).status_code == 428
    assert (
        ask(f"{SLICKS}/nothing/reviews", {**ada, "If-Match": '"x"'}, "POST", json={"status": "confirmed"}).status_code
        == 404
    )
    assert ask(f"{SLICKS}/nothing/reviews").status_code == 404
    assert ask(f"{SLICKS}/s0/reviews", ada, "DELETE").status_code == 405
    assert ask("/reviews/queue?limit=0").status_code == 400
