"""STAC APIs as a source: the same catalogue on a real server without extensions, and on two with them."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import blake3
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from shapely.geometry import box, shape

from ingest.areas import read_areas
from ingest.errors import SourceError, TransientError, UsageError
from ingest.ledger.ledger import Ledger
from ingest.scene import Scene, scene_from_name
from ingest.sources import stac as stac_module
from ingest.sources.kinds import open_source
from ingest.sources.source import Query
from ingest.sources.stac import StacCatalogue
from ingest.sources.stac_items import checksum_of, read_item, scene_of

RECORDED = Path(__file__).parents[4] / "shared" / "data" / "s1" / "api" / "stac-items"
COLLECTION = "sentinel-1-grd"
ZIP = bytes(range(256)) * 300  # 77 kB that stand for a product
MD5 = hashlib.md5(ZIP, usedforsecurity=False).hexdigest()
TOKEN = "s3cret-t0ken"


def name(letter: str, day: int, kind: str = "IW_GRDH_1SDV", end: str = "") -> str:
    unique = letter * 4
    return f"S1A_{kind}_202602{day:02}T050000_202602{day:02}T050025_060001_07D0F0_{unique}{end}"


A, B = name("A", 28), name("B", 28, "EW_GRDM_1SDH")
C, D = name("C", 28, end="_COG"), name("D", 10, "IW_GRDH_1SSV")
E, F = name("E", 27), name("F", 28)
BALTIC, FIJI = box(9, 54, 12, 56), read_areas("178,-20,-178,-15")[0].geometry


def item(
    name: str, address: str, area: Any = BALTIC, assets: dict[str, Any] | None = None, **properties: Any
) -> dict[str, Any]:
    acquired = scene_from_name(name).acquired_start.isoformat().replace("+00:00", "Z")
    default = {"product": {"href": f"{address}/zip/{name}", "type": "application/zip"}}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": COLLECTION,
        "geometry": json.loads(json.dumps(area.__geo_interface__)),
        "bbox": list(area.bounds),
        "properties": {"datetime": acquired, "sar:instrument_mode": name[4:6], **properties},
        "assets": default if assets is None else assets,
        "links": [],
    }


def catalogue(address: str) -> list[dict[str, Any]]:
    href, kind = f"{address}/zip", "application/zip"
    tiff = {"vv": {"href": f"{address}/vv.tiff", "type": "image/tiff; application=geotiff"}}
    orbit = {"sat:relative_orbit": 44, "sat:orbit_state": "ascending"}
    blake = f"1e20{blake3.blake3(ZIP).hexdigest()}"
    product = {"href": f"{href}/{A}", "type": kind, "file:size": len(ZIP), "file:checksum": f"d50110{MD5}"}
    on_s3 = {"href": f"s3://eodata/{C}.zip", "type": kind, "alternate": {"https": {"href": f"{href}/{C}"}}}
    return [
        item(A, address, assets=tiff | {"product": product}, created="2026-03-01T12:00:00Z", **orbit),
        item(B, address, created="2026-03-01T12:30:00Z"),
        item(C, address, FIJI, {"PRODUCT": on_s3 | {"file:checksum": blake}}, created="2026-03-01T06:00:00.5Z"),
        item(
            D, address, assets={"data": {"href": f"{href}/{D}", "type": kind, "file:checksum": "1220" + "00" * 32}},
            created="2026-03-02T00:00:00Z",
            **{"sat:orbit_state": "descending", "product:timeliness_category": "NRT-3h"},
        ),
        item(E, address, assets={"safe": {"href": f"{href}/{E}.zip"}}),
        item(F, address, assets=tiff, created="2026-03-01T12:00:00Z"),
    ]  # fmt: skip


# -- servers on loopback ---------------------------------------------------------------------------------------------


class Provider:
    """A server of zips; with `conforms` also a STAC API with extensions, which evaluates what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conforms: list[str] = []
        self.items: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.sent: list[tuple[str, str | None]] = []  # host and Authorization of each request for a zip
        self.answer: Callable[[Request], Response | None] = lambda request: None
        self.address = ""
        self.app = FastAPI()
        self.app.get("/zip/{product}")(self.archive)
        self.app.get("/moved/{product}")(self.moved)
        self.app.get("/stac")(self.landing)
        self.app.post("/stac/search")(self.search)

    def archive(self, request: Request, product: str) -> Response:
        self.sent.append((request.url.hostname or "", request.headers.get("Authorization")))
        path = self.folder / "product.zip"
        path.write_bytes(ZIP)
        return self.answer(request) or FileResponse(path, media_type="application/zip")

    def moved(self, request: Request, product: str) -> Response:
        self.sent.append((request.url.hostname or "", request.headers.get("Authorization")))
        return RedirectResponse(f"{self.address.replace('127.0.0.1', 'localhost')}/zip/{product}", 302)

    def landing(self, request: Request) -> Response:
        links = [{"rel": "search", "href": f"{self.address}/stac/search", "method": "POST", "type": "application/json"}]
        core = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
        landing = {
            "type": "Catalog", "id": "test", "stac_version": "1.0.0", "description": "test",
            "conformsTo": core + [f"https://api.stacspec.org/v1.0.0/item-search#{each}" for each in self.conforms],
            "links": [{"rel": "self", "href": f"{self.address}/stac"}, *links],
        }  # fmt: skip
        return self.answer(request) or Response(json.dumps(landing), media_type="application/json")

    async def search(self, request: Request) -> Response:
        asked = await request.json()
        self.asked.append(asked)
        answer = self.answer(request)
        if answer is not None:
            return answer
        fitting = [each for each in self.items if matches(each, asked)]
        first, limit = int(asked.get("token", 0)), int(asked["limit"])
        further = {"rel": "next", "method": "POST", "href": str(request.url), "body": asked | {"token": first + limit}}
        page = {
            "type": "FeatureCollection",
            "features": fitting[first : first + limit],
            "links": [further] if first + limit < len(fitting) else [],
        }
        return Response(json.dumps(page), media_type="application/geo+json")


def matches(item: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Item search of STAC API 1.0 as far as it is used here, with CQL2 JSON or Query."""
    properties = item["properties"]
    since = asked.get("datetime", "0/..").split("/")[0]
    return (
        item["collection"] in asked["collections"]
        and item["id"] in asked.get("ids", [item["id"]])
        and properties["datetime"] >= since
        and ("intersects" not in asked or shape(asked["intersects"]).intersects(shape(item["geometry"])))
        and ("filter" not in asked or cql2(asked["filter"], properties))
        and all(
            compare(properties.get(key), *each) for key, ops in asked.get("query", {}).items() for each in ops.items()
        )
    )


def compare(value: Any, op: str, other: Any) -> bool:
    return value is not None and {"eq": value == other, "gt": value > other if op == "gt" else False}[op]


def cql2(node: dict[str, Any], properties: dict[str, Any]) -> bool:
    op, arguments = node["op"], node["args"]
    if op in ("and", "or"):
        return {"and": all, "or": any}[op](cql2(each, properties) for each in arguments)
    value = properties.get(arguments[0]["property"])
    return value is None if op == "isNull" else compare(value, {"=": "eq", ">": "gt"}[op], arguments[1])


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    provider = Provider(tmp_path_factory.mktemp("zips"))
    with listening(provider.app) as provider.address:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    running.conforms, running.asked, running.sent = [], [], []
    running.items, running.answer = catalogue(running.address), lambda request: None
    return running


@pytest.fixture(scope="module")
def rustac(running: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real STAC API server with the catalogue in its memory; it knows item search, and no extension."""
    program = shutil.which("rustac", path=str(Path(sys.executable).parent)) or shutil.which("rustac")
    if program is None:
        pytest.skip("rustac is not installed (pip install rustac)")
    folder = tmp_path_factory.mktemp("rustac")
    collection = {
        "type": "Collection", "id": COLLECTION, "stac_version": "1.0.0", "description": "test", "license": "other",
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        "links": [],
    }  # fmt: skip
    (folder / "collection.json").write_text(json.dumps(collection))
    features = {"type": "FeatureCollection", "features": catalogue(running.address)}
    (folder / "items.json").write_text(json.dumps(features))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "serve", "--addr", f"127.0.0.1:{port}", "collection.json", "items.json"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, "rustac ended"
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(params=["rustac", "item search", "filter", "query"])
def url(request: pytest.FixtureRequest, provider: Provider) -> str:
    if request.param == "rustac":
        return str(request.getfixturevalue("rustac"))
    provider.conforms = [] if request.param == "item search" else [request.param]
    return f"{provider.address}/stac"


OPENED: list[Any] = []


def source(url: str, **options: Any) -> StacCatalogue:
    OPENED.append(StacCatalogue(url, COLLECTION, **options))
    return OPENED[-1]  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


def ids(url: str, query: Query | None = None, after: datetime | None = None, **options: Any) -> list[str]:
    return [scene.id for scene in source(url, **options).find(query or Query(), after)]


# -- finding ---------------------------------------------------------------------------------------------------------


def test_items_become_scenes_in_order_of_publication(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        scenes = list(source(url).find(Query(), None))
    assert [scene.id for scene in scenes] == [E, C, A, D]
    without_end, cog, plain, other = scenes
    assert plain == replace(
        scene_from_name(A), relative_orbit=44, footprint=plain.footprint, source="stac", size=len(ZIP),
        checksum=f"md5:{MD5}", published=datetime(2026, 3, 1, 12, tzinfo=UTC), key=A,
    )  # fmt: skip
    assert plain.footprint is not None
    assert plain.footprint.equals(BALTIC)
    assert cog.checksum == f"blake3:{blake3.blake3(ZIP).hexdigest()}"
    assert cog.footprint is not None
    assert cog.footprint.symmetric_difference(FIJI).area == pytest.approx(0)
    assert (other.checksum, other.size) == (None, None)  # SHA-256 is no checksum that is known here
    assert without_end.published == without_end.acquired_end
    assert [record.getMessage() for record in caplog.records] == [f"{F}: skipped, {COLLECTION} offers no zip of it"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(mode="EW"), {B}),
        (Query(mode=None), {A, B, C, D, E}),
        (Query(polarisation="VH"), {A, C, E}),
        (Query(polarisation="HH"), set()),
        (Query(product_type="SLC"), set()),
        (Query(relative_orbit=44), {A}),
        (Query(orbit_direction="DESCENDING"), {C, D, E}),  # what tells no direction may be of this one
        (Query(orbit_direction="ascending"), {A, C, E}),
        (Query(timeliness="NRT-3h"), {A, C, D, E}),
        (Query(timeliness="Fast-24h"), {A, C, E}),
        (Query(area=box(10, 55, 10.1, 55.1)), {A, D, E}),
        (Query(area=read_areas("179.5,-18,-179.5,-17")[0].geometry), {C}),
        (Query(area=box(-179, -18, -178.5, -17)), {C}),
        (Query(area=box(0, 0, 1, 1)), set()),
    ],
)
def test_query(url: str, query: Query, expected: set[str]) -> None:
    found = ids(url, query)
    assert set(found) == expected
    assert len(found) == len(expected)


@pytest.mark.parametrize("published_property", [None, "created"])
def test_only_what_was_published_later(
    url: str, published_property: str | None, request: pytest.FixtureRequest
) -> None:
    def later(*time: int, **options: Any) -> list[str]:
        after = datetime(*time, tzinfo=UTC)  # type: ignore[misc, arg-type]
        return ids(url, after=after, published_property=published_property, **options)

    # E tells no time of publication and comes for as long as it may be new; Query cannot ask for such items.
    untold = [] if "query" in request.node.callspec.id and published_property else [E]
    assert later(2026, 3, 1, 6) == [*untold, C, A, D]
    assert later(2026, 3, 1, 12) == [*untold, D]
    assert later(2026, 3, 2) == untold
    assert later(2026, 3, 2, lateness=timedelta(days=1)) == []


def test_server_is_asked_for_as_much_as_it_understands(provider: Provider) -> None:
    after = datetime(2026, 3, 1, tzinfo=UTC)
    url, query = f"{provider.address}/stac", Query(relative_orbit=44)
    ids(url, query, after, published_property="created")
    assert provider.asked[-1]["datetime"] == "2026-01-30T00:00:00.000000Z/.."
    provider.conforms = ["query"]
    ids(url, query, after, published_property="created")
    assert provider.asked[-1]["query"] == {
        "sar:instrument_mode": {"eq": "IW"}, "created": {"gt": "2026-03-01T00:00:00.000000Z"},
    }  # fmt: skip
    assert "datetime" not in provider.asked[-1]
    provider.conforms = ["filter"]
    ids(url, query, after, published_property="created")
    text = json.dumps(provider.asked[-1]["filter"])
    assert all(part in text for part in ("sat:relative_orbit", "44", "created", "2026-03-01", "isNull"))
    assert "datetime" not in provider.asked[-1]
    ids(url, query, after)
    assert provider.asked[-1]["datetime"] == "2026-01-30T00:00:00.000000Z/.."


def test_pages_are_followed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stac_module, "PAGE", 2)
    assert ids(url, Query(mode=None)) == [E, C, A, B, D]


def test_name_in_the_title_or_the_address_and_items_that_are_none(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    titled, addressed, nameless, broken, odd = (
        item(A, provider.address, created="2026-03-01T12:00:00Z") for _ in range(5)
    )
    titled |= {"id": "a", "properties": titled["properties"] | {"title": f"{C}.SAFE"}}
    addressed |= {
        "id": "b",
        "assets": {"x": {"href": f"{provider.address}/odata/{D}.SAFE.zip?x=1", "type": "application/zip"}},
    }
    nameless |= {"id": "c", "assets": {"x": {"href": f"{provider.address}/1.zip"}}}
    broken |= {"id": "d", "assets": None}
    odd |= {"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}}
    provider.items = [titled, addressed, nameless, broken, odd]
    with caplog.at_level(logging.WARNING):
        found = {scene.id: scene for scene in source(f"{provider.address}/stac").find(Query(), None)}
    assert found.keys() == {C, D, A}
    assert (found[C].key, found[D].key, found[A].footprint) == ("a", "b", None)
    told = [record.getMessage() for record in caplog.records]
    assert sorted(message.split(":")[0] for message in told) == ["Skipped item 'c'", "Skipped item 'd'"]


def test_collection_without_zips_is_a_clear_error(provider: Provider) -> None:
    provider.items = [each for each in provider.items if each["id"] == F]
    with pytest.raises(SourceError, match=rf"no zip of {F} over HTTP \(its assets: vv\); choose a provider") as caught:
        ids(f"{provider.address}/stac")
    assert "\n" not in str(caught.value)
    provider.items = []
    assert ids(f"{provider.address}/stac") == []


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (Response(status_code=503), TransientError, "HTTP 503"),
        (Response(status_code=429), TransientError, "HTTP 429"),
        (Response(status_code=404), SourceError, "HTTP 404"),
        (HTMLResponse("<html>maintenance</html>"), TransientError, "the answer is not JSON"),
        (Response('{"type": "Unknown"}', media_type="application/json"), SourceError, "not a STAC API"),
    ],
)
@pytest.mark.parametrize("path", ["/stac", "/stac/search"])
def test_failures_of_the_catalogue(
    provider: Provider, answer: Response, error: type[Exception], told: str, path: str
) -> None:
    if path == "/stac/search" and told == "not a STAC API":
        answer, told, error = Response("[]", media_type="application/json"), "not a STAC API", SourceError
    provider.answer = lambda request: answer if request.url.path == path else None
    with pytest.raises(error, match=told):
        ids(f"{provider.address}/stac")


def test_nobody_there_and_no_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(TransientError, match="no answer"):
        ids(f"http://127.0.0.1:{port}")
    with pytest.raises(SourceError, match="invalid address"):
        source("ftp://x")


# -- downloading -----------------------------------------------------------------------------------------------------


def first(provider: Provider, **options: Any) -> tuple[StacCatalogue, Scene]:
    catalogue = source(f"{provider.address}/stac", **options)
    return catalogue, next(scene for scene in catalogue.find(Query(), None) if scene.id == A)


def test_zip_streams_from_any_byte(url: str) -> None:
    catalogue = source(url)
    for scene, offset in zip(catalogue.find(Query(), None), [0, 1, 70_000, len(ZIP)], strict=True):
        with catalogue.open(scene, offset) as stream:
            assert (stream.offset, stream.total) == (offset, len(ZIP))
            assert b"".join(stream) == ZIP[offset:]


def test_archive_that_is_shorter_than_what_came_begins_anew(provider: Provider) -> None:
    catalogue, scene = first(provider)
    with catalogue.open(scene, len(ZIP) + 5) as stream:
        assert (stream.offset, b"".join(stream)) == (0, ZIP)


def test_item_that_went_is_told(provider: Provider) -> None:
    catalogue, scene = first(provider)
    provider.items = []
    with pytest.raises(SourceError, match="no longer in the collection"), catalogue.open(scene, 0):
        pass


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (Response(status_code=429, headers={"Retry-After": "7"}), TransientError, "HTTP 429"),
        (Response(status_code=500), TransientError, "HTTP 500"),
        (Response(status_code=403), SourceError, "HTTP 403"),
        (HTMLResponse("<html>log in</html>"), TransientError, "text/html"),
        (Response(b"x", 206, {"Content-Range": "bytes 0-0/9"}, "application/zip"), TransientError, "from 0"),
        (RedirectResponse("/zip/loop"), SourceError, "more than 5 redirects"),
    ],
)  # fmt: skip
def test_failures_of_a_download(provider: Provider, answer: Response, error: type[Exception], told: str) -> None:
    catalogue, scene = first(provider)
    provider.answer = lambda request: answer if request.url.path.startswith("/zip") else None
    with pytest.raises(error, match=told) as caught, catalogue.open(scene, 5):
        pass
    if told == "HTTP 429":
        assert isinstance(caught.value, TransientError)
        assert caught.value.retry_after == 7


def test_token_goes_to_the_catalogues_host_alone(provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    catalogue, scene = first(provider, authorization=lambda: SecretStr(f"Bearer {TOKEN}"))
    for each in provider.items:
        if each["id"] == A:
            each["assets"]["product"]["href"] = f"{provider.address}/moved/{A}"
    with catalogue.open(scene, 0) as stream:
        assert b"".join(stream) == ZIP
    assert provider.sent == [("127.0.0.1", f"Bearer {TOKEN}"), ("localhost", None)]
    trusting = source(
        f"{provider.address}/stac", authorization=lambda: SecretStr(f"Bearer {TOKEN}"), trusted_hosts=["localhost"]
    )
    with trusting.open(scene, 0):
        assert provider.sent[-1] == ("localhost", f"Bearer {TOKEN}")
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(vars(catalogue))


def test_token_that_ran_out_is_asked_for_anew(provider: Provider) -> None:
    tokens = iter(["old", "new", "new"])
    catalogue, scene = first(provider, authorization=lambda: SecretStr(next(tokens)))
    provider.answer = lambda request: (
        Response(status_code=401) if request.headers.get("Authorization") == "old" else None
    )
    with catalogue.open(scene, 0) as stream:
        assert b"".join(stream) == ZIP
    provider.answer = lambda request: Response(status_code=401) if request.url.path.startswith("/zip") else None
    tokens = iter(["old", "old"])
    with pytest.raises(SourceError, match="HTTP 401"), catalogue.open(scene, 0):
        pass


def test_source_by_its_options(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"url": f"{provider.address}/stac", "collection": COLLECTION, "name": "mirror", "lateness_days": "5"}
    opened = open_source("stac", options)
    OPENED.append(opened)
    assert {scene.source for scene in opened.find(Query(), None)} == {"mirror"}
    with pytest.raises(SourceError, match="MY_TOKEN is not set"):
        open_source("stac", options | {"token_variable": "MY_TOKEN"})
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    OPENED.append(open_source("stac", options | {"token_variable": "MY_TOKEN"}))
    with OPENED[-1].open(next(opened.find(Query(), None)), 0):
        assert provider.sent[-1][1] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("ftp", {}, "ftp: unknown source; choose one of inbox, cdse, eodata, stac, dhus"),
        ("stac", {"url": "https://x"}, "stac: the option collection is missing"),
        ("inbox", {"folder": "x", "colour": 1}, "inbox: unknown option colour; choose one of folder"),
        ("inbox", {"folder": "x", "settle": "soon"}, "inbox: an option has the wrong type"),
    ],
)
def test_wrong_options_are_one_line(kind: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_source(kind, options)
    assert str(caught.value).startswith(told)


# -- checksums and recorded items ------------------------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_multihashes_of_md5_and_blake3(content: bytes) -> None:
    md5, blake = hashlib.md5(content, usedforsecurity=False).hexdigest(), blake3.blake3(content).hexdigest()
    assert checksum_of(f"d50110{md5}") == f"md5:{md5}"
    assert checksum_of(f"1E20{blake.upper()}") == f"blake3:{blake}"
    assert checksum_of(f"d50110{md5[:-2]}") is None
    assert checksum_of(f"1e10{blake[:32]}") is None
    assert checksum_of(f"1220{blake}") is None


@given(st.none() | st.text(max_size=40) | st.binary(max_size=60).map(bytes.hex))
def test_anything_else_is_no_checksum(text: str | None) -> None:
    known = checksum_of(text)
    assert known is None or (text is not None and text.lower().startswith(("d50110", "1e20")))


@pytest.mark.skipif(not RECORDED.is_dir(), reason="no recorded items in ../shared/data/s1/api/stac-items")
@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("cdse.json", "S1D_IW_GRDH_1SDV_20260730T185910_20260730T185937_003907_00710E_0863_COG"),
        (
            "S1A_IW_GRDH_1SDV_20241113T170607_stac.json",
            "S1A_IW_GRDH_1SDV_20241113T170607_20241113T170632_056539_06EEA8_B145",
        ),
        (
            "S1A_IW_GRDH_1SDV_20210809T173953_20210809T174018_039156_049F13.json",
            "S1A_IW_GRDH_1SDV_20210809T173953_20210809T174018_039156_049F13_6FF8",
        ),
        ("planetary_computer.json", None),  # without the last part of the name, and without a zip
        ("earth_search.json", None),
    ],
)  # fmt: skip
def test_recorded_items(file: str, expected: str | None, provider: Provider) -> None:
    document = json.loads((RECORDED / file).read_text())
    recorded = read_item(document)
    assert recorded is not None
    scene = scene_of(recorded, "stac", None)
    assert (scene and scene.id) == expected
    if scene is not None:
        assert scene.footprint is not None
        assert scene.footprint.equals(shape(document["geometry"]))
        assert scene.relative_orbit == document["properties"].get("sat:relative_orbit", scene.relative_orbit)
    provider.items = [document | {"collection": COLLECTION}]
    with pytest.raises(SourceError, match="offers no zip"):
        ids(f"{provider.address}/stac", Query(mode=None))


def test_pages_that_overlap_give_each_scene_once(tmp_path):
    """Each item comes again on the next page, where one has a footprint with heights at some points only."""
    app = FastAPI()
    there = "https://zips.example"
    far = item(E, there, box(100, 1, 101, 2))
    far["geometry"]["coordinates"][0] = [[100, 1, 0], [101, 1], [101, 2], [100, 1, 0]]

    @app.get("/")
    def root(request: Request) -> dict[str, Any]:
        url = f"{request.base_url}search"
        link = {"rel": "search", "href": url, "type": "application/geo+json", "method": "POST"}
        conforms = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
        described = {"type": "Catalog", "id": "x", "stac_version": "1.0.0", "description": "x"}
        return {**described, "conformsTo": conforms, "links": [link]}

    @app.post("/search")
    async def search(request: Request) -> dict[str, Any]:
        url = f"{request.base_url}search"
        if (await request.json()).get("token") == "2":
            return {"type": "FeatureCollection", "features": [item(A, there), item(F, there), far], "links": []}
        following = {"rel": "next", "href": url, "method": "POST", "body": {"token": "2"}, "merge": True}
        features = [item(A, there), item(F, there, assets={})]
        return {"type": "FeatureCollection", "features": features, "links": [following]}

    with listening(app) as address, Ledger.open(str(tmp_path / "ledger.sqlite")) as ledger:
        found = list(StacCatalogue(f"{address}/", COLLECTION).find(Query(area=BALTIC), None))
        assert {scene.id for scene in found} == {A, F}
        assert {record.id for record in ledger.record_found("stac", "w", found)} == {A, F}
        assert ledger.record_found("stac", "w", found) == []
