"""DHuS nodes as a source: sentinelsat against a node on loopback, which also replays recorded answers."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml
from pydantic import SecretStr
from requests.auth import _basic_auth_str
from shapely.geometry import box

from ingest.credentials import Credentials
from ingest.errors import SourceError, TransientError, UsageError
from ingest.scene import Scene, scene_from_name
from ingest.sources import dhus as dhus_module
from ingest.sources.dhus import DhusNode
from ingest.sources.kinds import open_source
from ingest.sources.source import Query

RECORDED = Path(__file__).parents[4] / "shared" / "data" / "s1" / "api" / "dhus-sentinelsat"
needs_sentinelsat = pytest.mark.skipif(
    importlib.util.find_spec("sentinelsat") is None, reason="sentinelsat is not installed (the extra dhus)"
)
needs_recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason="no cassettes in ../shared/data/s1/api")
ZIP = bytes(range(256)) * 300
MD5 = hashlib.md5(ZIP, usedforsecurity=False).hexdigest()
USER, WORD = "marine", "s3cret-w0rd"
FIRST = datetime(2021, 3, 1, tzinfo=UTC)


def name(number: int, kind: str = "IW_GRDH_1SDV") -> str:
    return f"S1B_{kind}_20210228T0500{number:02}_20210228T0501{number:02}_025800_031400_{number:04X}"


@dataclass
class Product:
    """A product of the node; its id is made of its name."""

    name: str
    ingested: datetime
    footprint: str = "MULTIPOLYGON (((9 54, 12 54, 12 56, 9 56, 9 54)))"
    direction: str = "ASCENDING"
    online: bool = True
    md5: str = MD5

    @property
    def uuid(self) -> str:
        digest = hashlib.sha256(self.name.encode()).hexdigest()
        return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"

    def entry(self) -> dict[str, Any]:
        scene = scene_from_name(self.name)
        ingested = self.ingested.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        texts = {
            "identifier": self.name, "footprint": self.footprint, "orbitdirection": self.direction,
            "producttype": scene.product_type, "sensoroperationalmode": scene.mode, "uuid": self.uuid,
        }  # fmt: skip
        return {
            "title": self.name,
            "id": self.uuid,
            "date": [{"name": "ingestiondate", "content": ingested}],
            "int": {"name": "relativeorbitnumber", "content": str(scene.relative_orbit)},
            "str": [{"name": key, "content": value} for key, value in texts.items()],
        }

    def entity(self) -> dict[str, Any]:
        stamp = f"/Date({int(self.ingested.timestamp() * 1000)})/"
        return {
            "__metadata": {"media_src": f"/odata/v1/Products('{self.uuid}')/$value"},
            "Id": self.uuid,
            "Name": self.name,
            "ContentLength": str(len(ZIP)),
            "CreationDate": stamp,
            "IngestionDate": stamp,
            "Online": self.online,
            "ContentDate": {"Start": stamp, "End": stamp},
            "Checksum": {"Algorithm": "MD5", "Value": self.md5.upper()},
            "ContentGeometry": None,
            "Attributes": {},
        }


@dataclass
class Answer:
    """What is sent in place of the node's own answer."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Node:
    """A DHuS node: OpenSearch, OData entities, `Online`, and downloads with Range and basic authentication."""

    products: list[Product] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)  # by the beginning of the path
    asked: list[tuple[str, dict[str, str], str | None]] = field(default_factory=list)  # path, query, Range
    triggered: list[str] = field(default_factory=list)
    can_resume: bool = True
    url: str = ""

    def answer(self, target: str, range_header: str | None, authorization: str | None) -> Answer:
        path, query = unquote(urlsplit(target).path), {k: v[0] for k, v in parse_qs(urlsplit(target).query).items()}
        self.asked.append((path, query, range_header))
        if authorization != _basic_auth_str(USER, WORD):
            page = b"<html><h1>HTTP Status 401 - Unauthorized</h1></html>"
            return Answer(401, page, "text/html", {"WWW-Authenticate": "Basic"})
        given = next((answer for begin, answer in self.answers.items() if path.startswith(begin)), None)
        if given is not None:
            return given
        if path == "/search":
            return self.search(query)
        match = re.fullmatch(r"/odata/v1/Products\('(.+?)'\)(.*)", path)
        product = next((each for each in self.products if match and each.uuid == match[1]), None)
        if match is None or product is None:
            told = {"error": {"message": {"value": "Invalid key (x) to access Products"}}}
            return Answer(404, json.dumps(told).encode())
        if match[2] == "/Online/$value":
            return Answer(200, json.dumps(product.online).encode(), "text/plain")
        return (
            self.value(product, range_header) if match[2] else Answer(body=json.dumps({"d": product.entity()}).encode())
        )

    def search(self, query: dict[str, str]) -> Answer:
        assert query["orderby"] == "ingestiondate asc"
        ordered = sorted(self.products, key=lambda each: each.ingested)
        first, rows = int(query["start"]), int(query["rows"])
        entries = [each.entry() for each in ordered[first : first + rows]]
        feed: dict[str, Any] = {"opensearch:totalResults": str(len(ordered))}
        if entries:
            feed["entry"] = entries if len(entries) > 1 else entries[0]  # a single one is no list
        return Answer(body=json.dumps({"feed": feed}).encode())

    def value(self, product: Product, range_header: str | None) -> Answer:
        if not product.online:
            self.triggered.append(product.uuid)
            return Answer(202)
        if range_header is None or not self.can_resume:
            return Answer(200, ZIP, "application/octet-stream")
        begin = int(range_header.removeprefix("bytes=").split("-")[0])
        if begin >= len(ZIP):
            return Answer(416, b"", "text/plain", {"Content-Range": f"bytes */{len(ZIP)}"})
        told = {"Content-Range": f"bytes {begin}-{len(ZIP) - 1}/{len(ZIP)}"}
        return Answer(206, ZIP[begin:], "application/octet-stream", told)


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = listening.node.answer(self.path, self.headers.get("Range"), self.headers.get("Authorization"))  # type: ignore[attr-defined]
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
            for header in answer.headers.items():
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True).start()
    yield listening
    listening.shutdown()
    listening.server_close()


@pytest.fixture
def node(server: ThreadingHTTPServer) -> Node:
    server.node = Node(url=f"http://127.0.0.1:{server.server_address[1]}/")  # type: ignore[attr-defined]
    return server.node  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def source(node: Node) -> Iterator[DhusNode]:
    opened = DhusNode(node.url, Credentials(USER, SecretStr(WORD)))
    yield opened
    opened.close()


def found(source: DhusNode, query: Query | None = None, after: datetime | None = None) -> list[Scene]:
    return list(source.find(query or Query(), after))


def one(node: Node, source: DhusNode, **properties: Any) -> Scene:
    node.products = [Product(name(1), FIRST, **properties)]
    (scene,) = found(source)
    return scene


# -- finding ---------------------------------------------------------------------------------------------------------


@needs_sentinelsat
def test_products_become_scenes_oldest_first(node: Node, source: DhusNode) -> None:
    node.products = [Product(name(n), FIRST + timedelta(milliseconds=500 * n)) for n in (3, 1, 2)]
    scenes = found(source)
    assert [scene.id for scene in scenes] == [name(1), name(2), name(3)]
    scene, product = scenes[0], node.products[1]
    assert (scene.key, scene.source, scene.published) == (product.uuid, "dhus", product.ingested)
    assert (scene.size, scene.checksum) == (len(ZIP), f"md5:{MD5}")
    assert scene.footprint is not None
    assert scene.footprint.equals(box(9, 54, 12, 56))


@needs_sentinelsat
def test_only_what_was_ingested_later_to_the_millisecond(node: Node, source: DhusNode) -> None:
    node.products = [Product(name(n), FIRST + timedelta(milliseconds=500 * n)) for n in range(4)]
    assert [scene.id for scene in found(source, after=FIRST + timedelta(seconds=0.5))] == [name(2), name(3)]
    # The node itself is asked by whole seconds: too much rather than too little.
    assert 'ingestiondate:["2021-03-01T00:00:00Z" TO *]' in node.asked[0][1]["q"]


@needs_sentinelsat
def test_pages_are_followed_and_each_product_comes_once(
    node: Node, source: DhusNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dhus_module, "PAGE", 2)
    node.products = [Product(name(n), FIRST + timedelta(seconds=n)) for n in range(5)]
    assert [scene.id for scene in found(source)] == [name(n) for n in range(5)]
    assert [asked["start"] for path, asked, _ in node.asked if path == "/search"] == ["0", "2", "4"]
    node.products = []
    assert found(source) == []


@needs_sentinelsat
@pytest.mark.parametrize(
    ("query", "words", "expected"),
    [
        (Query(), ['platformname:"Sentinel-1"', 'producttype:"GRD"', 'sensoroperationalmode:"IW"'], {1, 2, 3}),
        (Query(mode=None), ['producttype:"GRD"'], {1, 2, 3, 4}),
        (Query(mode="EW"), ['sensoroperationalmode:"EW"'], {4}),
        (Query(polarisation="VH"), [], {1, 3}),
        (Query(orbit_direction="descending"), [], {3}),
        (Query(relative_orbit=11), ["relativeorbitnumber:11"], {1, 2, 3}),
        (Query(timeliness="NRT-3h"), [], {1, 2, 3}),  # it tells none, hence excludes none
        (Query(area=box(11.9, 55, 13, 55.1)), ["footprint:", "POLYGON"], {1, 2}),
        (Query(area=box(-179.5, -18, -179, -17)), [], {3}),
    ],
)
def test_query(node: Node, source: DhusNode, query: Query, words: list[str], expected: set[int]) -> None:
    crossing = "POLYGON ((178 -20, -178 -20, -178 -15, 178 -15, 178 -20))"
    node.products = [
        Product(name(1), FIRST),
        Product(name(2, "IW_GRDH_1SSV"), FIRST),
        Product(name(3), FIRST, crossing, "DESCENDING"),
        Product(name(4, "EW_GRDM_1SDH"), FIRST),
        Product(name(5, "IW_SLC__1SDV"), FIRST),
    ]
    assert {int(scene.id[-4:], 16) for scene in found(source, query)} == expected
    assert all(word in node.asked[0][1]["q"] for word in words)


@needs_sentinelsat
def test_area_of_many_corners_is_asked_for_coarsely_and_compared_here(node: Node, source: DhusNode) -> None:
    node.products = [Product(name(1), FIRST), Product(name(2), FIRST, "POLYGON ((9.9 59, 10 59, 10 60, 9 60, 9.9 59))")]
    comb = box(9, 50, 10, 50.5).union(box(9, 54, 9.1, 56))
    for index in range(300):
        comb = comb.union(box(10 + index / 500, 50, 10 + index / 500 + 0.001, 50.5 + index / 1000))
    assert [scene.id for scene in found(source, Query(area=comb.difference(box(9, 56.1, 11, 61))))] == [name(1)]
    assert len(node.asked[0][1]["q"]) < 2000


@needs_sentinelsat
def test_product_without_a_name_and_one_that_went_do_not_stop_the_others(
    node: Node, source: DhusNode, caplog: pytest.LogCaptureFixture
) -> None:
    gone, odd, good = Product(name(1), FIRST), Product(name(2), FIRST), Product(name(3), FIRST, footprint="POLYGON ((")
    node.products = [gone, odd, good]
    strange = odd.entry() | {"title": "x", "str": [{"name": "identifier", "content": "S1A_OPER_AUX"}]}
    feed = {"feed": {"opensearch:totalResults": "3", "entry": [gone.entry(), strange, good.entry()]}}
    node.answers["/search"] = Answer(body=json.dumps(feed).encode())
    node.products.remove(gone)
    with caplog.at_level(logging.WARNING):
        (scene,) = found(source)
    assert (scene.id, scene.footprint) == (name(3), None)
    assert "no longer on the node" in caplog.text
    assert "not a Sentinel-1 product name" in caplog.text


FAILURES = [
    (Answer(503, b"<html>down</html>", "text/html"), TransientError, "HTTP 503"),
    (Answer(429, b"{}", headers={"Retry-After": "7"}), TransientError, "HTTP 429"),
    (Answer(200, b"<html>maintenance</html>", "text/html"), TransientError, "did not answer with data"),
    (Answer(403, b"<html>no</html>", "text/html"), SourceError, "HTTP 403"),
]


@needs_sentinelsat
@pytest.mark.parametrize(("answer", "error", "told"), FAILURES)
@pytest.mark.parametrize("path", ["/search", "/odata"])
def test_failures_of_the_catalogue(
    node: Node, source: DhusNode, answer: Answer, error: type[Exception], told: str, path: str
) -> None:
    node.products, node.answers = [Product(name(1), FIRST)], {path: answer}
    with pytest.raises(error, match=told) as caught:
        found(source)
    assert "\n" not in str(caught.value)
    if isinstance(caught.value, TransientError) and told == "HTTP 429":
        assert caught.value.retry_after == 7


@needs_sentinelsat
def test_answer_of_another_kind_and_nobody_there(node: Node, source: DhusNode) -> None:
    node.products, node.answers = [Product(name(1), FIRST)], {"/odata": Answer(body=b'{"d": {"Id": 1}}')}
    with pytest.raises(SourceError, match="unexpected answer"):
        found(source)
    nobody = DhusNode("http://127.0.0.1:9", Credentials(USER, SecretStr(WORD)))
    with pytest.raises(TransientError, match="the connection failed"):
        found(nobody)
    nobody.close()


# -- downloading -----------------------------------------------------------------------------------------------------


@needs_sentinelsat
@pytest.mark.parametrize("offset", [0, 1, 70_000, len(ZIP)])
def test_zip_streams_from_any_byte(node: Node, source: DhusNode, offset: int) -> None:
    with source.open(one(node, source), offset) as stream:
        assert (stream.offset, stream.total) == (offset, len(ZIP))
        assert b"".join(stream) == ZIP[offset:]
    assert node.asked[-1][2] == (f"bytes={offset}-" if offset else None)


@needs_sentinelsat
def test_archive_that_is_shorter_and_node_that_cannot_resume_begin_anew(node: Node, source: DhusNode) -> None:
    scene = one(node, source)
    with source.open(scene, len(ZIP) + 5) as stream:
        assert (stream.offset, b"".join(stream)) == (0, ZIP)
    node.can_resume = False
    with source.open(scene, 100) as stream:
        assert (stream.offset, stream.total, b"".join(stream)) == (0, len(ZIP), ZIP)


@needs_sentinelsat
def test_product_in_the_archive_is_found_and_asked_for(node: Node, source: DhusNode) -> None:
    scene = one(node, source, online=False)
    assert scene.checksum == f"md5:{MD5}"
    with pytest.raises(TransientError, match="not available yet") as caught, source.open(scene, 0):
        pass
    assert caught.value.retry_after == dhus_module.ARCHIVE_WAIT
    assert node.triggered == [scene.key]
    node.products[0].online = True
    with source.open(scene, 0) as stream:
        assert b"".join(stream) == ZIP


@needs_sentinelsat
@pytest.mark.parametrize(("status", "cause"), [(403, "offline products retrieval quota exceeded"), (503, "busy")])
def test_archive_that_takes_no_more_requests(node: Node, source: DhusNode, status: int, cause: str) -> None:
    scene = one(node, source, online=False)
    value = f"/odata/v1/Products('{scene.key}')/$value"
    node.answers[value] = Answer(status, b"", headers={"cause-message": cause})
    with pytest.raises(TransientError, match="not available yet: the node accepts no more"), source.open(scene, 0):
        pass


@needs_sentinelsat
@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        *(each for each in FAILURES if each[0].status != 200),
        (
            Answer(200, b"<html>log in</html>", "text/html"),
            TransientError,
            "text/html instead of an archive",
        ),
        (Answer(206, b"x", "application/zip", {"Content-Range": "bytes 0-0/9"}), TransientError, "got bytes from 0 on"),
    ],
)
def test_failures_of_a_download(
    node: Node, source: DhusNode, answer: Answer, error: type[Exception], told: str
) -> None:
    scene = one(node, source)
    node.answers[f"/odata/v1/Products('{scene.key}')/$value"] = answer
    with pytest.raises(error, match=told), source.open(scene, 5):
        pass


# -- credentials and options -----------------------------------------------------------------------------------------


@needs_sentinelsat
def test_wrong_password_is_told_and_shows_nowhere(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = DhusNode(node.url, Credentials(USER, SecretStr("wr0ng-w0rd")))
    with pytest.raises(SourceError, match="login refused") as caught:
        found(wrong)
    wrong.close()
    assert "wr0ng-w0rd" not in caplog.text + str(caught.value) + repr(wrong) + repr(vars(wrong))
    assert caught.value.__suppress_context__


@needs_sentinelsat
def test_source_by_its_options(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLICKWATCH_CREDENTIALS", raising=False)
    monkeypatch.setenv("NETRC", "/nowhere")
    for variable in ("USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"SLICKWATCH_DHUS_{variable}", raising=False)
    with pytest.raises(SourceError, match="SLICKWATCH_DHUS_USERNAME"):
        open_source("dhus", {"api_url": node.url})
    monkeypatch.setenv("SLICKWATCH_DHUS_USERNAME", USER)
    monkeypatch.setenv("SLICKWATCH_DHUS_PASSWORD", WORD)
    node.products = [Product(name(1), FIRST)]
    opened = open_source("dhus", {"api_url": node.url, "name": "finland"})
    assert isinstance(opened, DhusNode)
    assert [scene.source for scene in found(opened)] == ["finland"]
    opened.close()


def test_address_is_mandatory_and_encrypted() -> None:
    with pytest.raises(UsageError, match="the option api_url is missing"):
        open_source("dhus")
    with pytest.raises(UsageError, match="unencrypted"):
        DhusNode("http://dhus.example.org/", Credentials(USER, SecretStr(WORD)))


def test_without_sentinelsat_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentinelsat", None)
    with pytest.raises(UsageError, match=r"run: pip install 'slickwatch\[dhus\]'"):
        DhusNode("https://dhus.example.org/", Credentials(USER, SecretStr(WORD)))


# -- recorded answers ------------------------------------------------------------------------------------------------


def recorded(cassette: str, index: int = 0) -> Answer:
    response = yaml.safe_load((RECORDED / f"{cassette}.yaml").read_text())["interactions"][index]["response"]
    kind = response["headers"]["content-type"][0]
    return Answer(response["status"]["code"], response["body"]["string"].encode(), kind)


def replay(node: Node, cassette: str) -> list[dict[str, Any]]:
    """Let the node answer searches from a cassette, and make the entities of what is found."""
    node.answers["/search"] = recorded(cassette)
    entries: list[dict[str, Any]] = json.loads(node.answers["/search"].body)["feed"]["entry"]
    for entry in entries:
        entity = Product(entry["title"], FIRST).entity() | {"Id": entry["id"]}
        node.answers[f"/odata/v1/Products('{entry['id']}')"] = Answer(body=json.dumps({"d": entity}).encode())
    return entries


@needs_sentinelsat
@needs_recorded
@pytest.mark.parametrize("cassette", ["test_footprints_s1", "test_sentinel1_flag", "test_name_search_multiple"])
def test_recorded_search(node: Node, source: DhusNode, cassette: str) -> None:
    entries = replay(node, cassette)
    for mode in ("IW", "SM", None):
        scenes = found(source, Query(mode=mode))
        wanted = [
            each
            for each in entries
            if "_GRD" in each["title"] and mode in (None, properties(each)["sensoroperationalmode"])
        ]
        assert {scene.id for scene in scenes} == {each["title"] for each in wanted}
    by_id = {each["title"]: each for each in entries}
    for scene in scenes:
        told = properties(by_id[scene.id])
        assert scene.key == told["uuid"]
        assert scene.relative_orbit == int(told["relativeorbitnumber"])
        assert scene.published is not None
        assert f"{scene.published:%Y-%m-%dT%H:%M:%S}" == told["ingestiondate"][:19]
        assert scene.footprint is not None
        assert scene.footprint.is_valid


def properties(entry: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["content"] for kind in ("str", "int", "date") for each in entry[kind]}


@needs_sentinelsat
@needs_recorded
def test_recorded_product_without_an_online_property_counts_as_there(node: Node, source: DhusNode) -> None:
    answer = recorded("test_get_product_odata_short_with_missing_online_key")
    entity = json.loads(answer.body)["d"]
    assert "Online" not in entity
    product = Product(entity["Name"], FIRST)
    feed = {"feed": {"opensearch:totalResults": "1", "entry": product.entry() | {"id": entity["Id"]}}}
    node.answers = {"/search": Answer(body=json.dumps(feed).encode()), "/odata": answer}
    (scene,) = found(source, Query(mode="EW"))
    assert (scene.key, scene.size) == (entity["Id"], int(entity["ContentLength"]))
    assert scene.checksum == f"md5:{entity['Checksum']['Value']}"


@needs_sentinelsat
@needs_recorded
def test_recorded_refusal(node: Node, source: DhusNode) -> None:
    node.answers["/search"] = recorded("test_SentinelAPI_wrong_credentials")
    with pytest.raises(SourceError, match="login refused") as caught:
        found(source)
    assert "\n" not in str(caught.value)
