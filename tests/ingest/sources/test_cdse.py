"""Copernicus Data Space against a real server on loopback: catalogue, tokens, downloads, and everything that fails."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import jwt
import pytest
import shapely
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from ingest.credentials import Credentials
from ingest.errors import SlickwatchError, SourceError, TransientError, UsageError
from ingest.scene import Scene
from ingest.sources.cdse import TOKEN_URL, CopernicusDataSpace
from ingest.sources.http import content_range, retry_after
from ingest.sources.odata import filter_text, read_page, scene_of
from ingest.sources.source import Query
from tests.support.cdse_server import PASSWORD, SEA, USER, CdseServer, Fault, Product, is_match, product

RECORDED = Path(__file__).parents[4] / "shared/data/s1/api"
BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)
CONTENT = random.Random(5).randbytes(300_000)


def name(number: int, kind: str = "IW_GRDH", polarisation: str = "DV") -> str:
    """A product name of its own for each number."""
    start = BEGIN + timedelta(minutes=number)
    return f"S1A_{kind}_1S{polarisation}_{start:%Y%m%dT%H%M%S}_{start:%Y%m%dT%H%M%S}_{number:06d}_0ABCDE_{number:04X}"


def some(count: int) -> list[Product]:
    return [product(name(n), b"%d" % n, BEGIN + timedelta(minutes=n)) for n in range(1, count + 1)]


@pytest.fixture
def server() -> Iterator[CdseServer]:
    with CdseServer([product(name(1), CONTENT)]) as running:
        yield running


@pytest.fixture
def source(server: CdseServer) -> Iterator[CopernicusDataSpace]:
    with closing(CopernicusDataSpace(server.credentials, **server.addresses, timeout=5)) as opened:
        yield opened


def only(source: CopernicusDataSpace) -> Scene:
    (scene,) = source.find(Query(), None)
    return scene


def fetch(source: CopernicusDataSpace, scene: Scene, offset: int = 0) -> tuple[int, int | None, bytes]:
    with source.open(scene, offset) as stream:
        return stream.offset, stream.total, b"".join(stream)


def collect(source: CopernicusDataSpace, scene: Scene, got: bytearray) -> None:
    """Fetch into `got`, which keeps what came before a failure."""
    with source.open(scene, 0) as stream:
        for block in stream:
            got += block


# The catalogue


def test_a_product_becomes_a_scene(server: CdseServer, source: CopernicusDataSpace) -> None:
    scene = only(source)
    assert (scene.id, scene.source, scene.published) == (name(1), "cdse", BEGIN)
    assert scene.size == len(CONTENT)
    assert scene.checksum == f"blake3:{blake3(CONTENT).hexdigest()}"
    assert scene.footprint is not None
    assert scene.footprint.equals(SEA)
    assert scene.key == product(name(1), CONTENT).id
    assert server.count("token") == 0, "the catalogue asks for no account"


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 8, 1000])
def test_pages_are_followed_to_the_end(page_size: int) -> None:
    with CdseServer(some(7)) as server, opened(server, page_size=page_size) as source:
        scenes = list(source.find(Query(), None))
    assert [scene.id for scene in scenes] == [name(n) for n in range(1, 8)]


def opened(server: CdseServer, **options: int) -> closing[CopernicusDataSpace]:
    return closing(CopernicusDataSpace(server.credentials, **server.addresses, **options))


@pytest.mark.parametrize(("page_size", "largest_skip"), [(2, 4), (3, 3), (1, 3), (4, 8)])
def test_beyond_the_largest_skip_the_search_goes_on(page_size: int, largest_skip: int) -> None:
    # Three share a publication time at which the links end, for some of the sizes.
    minutes = [1, 2, 3, 4, 5, 5, 5, 6, 7, 8, 9, 9, 10]
    products = [product(name(n), b"", BEGIN + timedelta(minutes=each)) for n, each in enumerate(minutes)]
    with CdseServer(products, largest_skip=largest_skip) as server, opened(server, page_size=page_size) as source:
        found = [scene.id for scene in source.find(Query(), None)]
    assert sorted(found) == sorted(each.name.removesuffix(".SAFE") for each in products)
    assert len(set(found)) == len(found)


def test_too_many_of_one_publication_time_is_an_error_and_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.sources.cdse.LARGEST_SKIP", 2)
    products = [product(name(n), b"", BEGIN) for n in range(9)]
    with (
        CdseServer(products, largest_skip=2) as server,
        opened(server, page_size=2) as source,
        pytest.raises(SourceError, match="products have the same publication time"),
    ):
        list(source.find(Query(), None))


def test_only_what_was_published_after_the_watermark() -> None:
    products = some(5)
    with CdseServer(products) as server, opened(server) as source:
        assert [scene.published for scene in source.find(Query(), products[2].published)] == [
            products[3].published,
            products[4].published,
        ]
        # Microseconds count: one published just after is new.
        just_before = products[2].published - timedelta(microseconds=1)
        assert len(list(source.find(Query(), just_before))) == 3
        assert list(source.find(Query(), products[4].published)) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(), {1, 2, 3, 5, 7}),
        (Query(mode="EW"), {4}),
        (Query(mode="SM"), {6}),
        (Query(mode=None), {1, 2, 3, 4, 5, 6, 7}),
        (Query(polarisation="VV"), {1, 2, 5, 7}),
        (Query(polarisation="VH"), {1, 5, 7}),
        (Query(polarisation="HV"), {3}),
        (Query(product_type="SLC"), {8}),
        (Query(orbit_direction="ascending"), {5}),
        (Query(timeliness="NRT-3h"), {7}),
        (Query(timeliness="o'clock"), set()),
        (Query(relative_orbit=105), {2}),
        (Query(area=shapely.box(3.9, 51.9, 6, 53)), {1, 2, 3, 5}),
        (Query(area=shapely.box(178, -20, 180, -10).union(shapely.box(-180, -20, -178, -10))), {7}),
        (Query(area=shapely.Point(3, 51.5)), {1, 2, 3, 5}),
    ],
)
def test_queries(query: Query, expected: set[int]) -> None:
    fiji = shapely.MultiPolygon([shapely.box(179, -19, 180, -17), shapely.box(-180, -19, -179.5, -17)])
    products = [
        product(name(1), b""),
        product(name(2, polarisation="SV"), b"", relativeOrbitNumber=105),
        product(name(3, polarisation="DH"), b""),
        product(name(4, "EW_GRDM", "DH"), b""),
        product(name(5) + "_COG.SAFE", b"", orbitDirection="ASCENDING"),
        product(name(6, "S3_GRDF", "SV"), b"", footprint=shapely.box(50, 0, 51, 1)),
        product(name(7), b"", footprint=fiji, timeliness="NRT-3h", polarisationChannels="VH&VV"),
        product(name(8, "IW_SLC_"), b""),
        product(name(9), b"", online=False),
    ]
    with CdseServer(products) as server, opened(server) as source:
        assert {int(scene.id.removesuffix("_COG")[-4:], 16) for scene in source.find(query, None)} == expected


def test_a_long_coast_is_asked_for_by_a_wider_area_and_narrowed_afterwards() -> None:
    # A ring whose outline has far too many corners for an address; its hull covers the hole.
    ring = shapely.Point(3, 51.5).buffer(2, quad_segs=500).difference(shapely.Point(3, 51.5).buffer(1.5))
    products = [
        product(name(1), b"", footprint=shapely.box(2.9, 51.4, 3.1, 51.6)),
        product(name(2), b"", footprint=shapely.box(4.6, 51.4, 4.9, 51.6)),
    ]
    with CdseServer(products) as server, opened(server) as source:
        assert [scene.id for scene in source.find(Query(area=ring), None)] == [name(2)]
        assert len(server.requests[0].url) < 8000
    assert all(is_match(each, filter_text(Query(area=ring), None)) for each in products)


COORDINATES = st.tuples(st.floats(-170, 170), st.floats(-80, 80))


@given(st.lists(COORDINATES, min_size=1, max_size=60), st.lists(COORDINATES, min_size=1, max_size=4))
def test_what_is_asked_for_is_never_less_than_the_area(
    corners: list[tuple[float, float]], more: list[tuple[float, float]]
) -> None:
    parts = [shapely.MultiPoint(each).convex_hull.buffer(0.1, quad_segs=30) for each in (corners, more)]
    area = shapely.union_all(parts)
    inside = product(name(1), b"", footprint=area.representative_point())
    assert is_match(inside, filter_text(Query(area=area), None))


@pytest.mark.parametrize("query", [Query(mode="XX"), Query(product_type="XYZ"), Query(polarisation="XX")])
def test_a_query_for_what_does_not_exist(query: Query) -> None:
    with pytest.raises(UsageError, match="choose one of"):
        filter_text(query, None)


def test_an_empty_area_is_refused() -> None:
    with pytest.raises(UsageError, match="is empty"):
        filter_text(Query(area=shapely.Polygon()), None)


def test_recorded_pages_are_read_whole(caplog: pytest.LogCaptureFixture) -> None:
    folder = RECORDED / "cdse-odata-cdsetool"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data/s1/api, the recorded answers of the catalogue")
    pages = [read_page((folder / f"odata_page_{n}.json").read_bytes(), "recorded") for n in range(1, 6)]
    assert [len(page.products) for page in pages] == [10, 10, 10, 10, 7]
    assert [page.next_link is None for page in pages] == [False, False, False, False, True]
    first = pages[0].products[0]
    assert (first.id, first.length) == ("67360f3a-f36b-11ef-9d3f-0050561a7772", 728976)
    assert first.s3_path is not None
    assert first.s3_path.endswith("S1A_AUX_INS_V20140406T010000_G20140409T142540.SAFE.zip")
    # Auxiliary files are no scenes; each is passed over aloud.
    assert [scene_of(each, "cdse") for page in pages for each in page.products] == [None] * 47
    assert len(caplog.records) == 47


def test_recorded_attributes_hold_all_that_is_asked_for() -> None:
    path = RECORDED / "cdse-odata-cdsetool/attributes.json"
    if not path.is_file():
        pytest.skip("needs ../shared/data/s1/api, the recorded answers of the catalogue")
    kinds = {each["Name"]: each["ValueType"] for each in json.loads(path.read_text())}
    text = filter_text(Query(SEA, "IW", "GRD", "VV", 8, "ascending", "NRT-3h"), BEGIN)
    asked = dict.fromkeys(part.split("'")[0] for part in text.split("att:att/Name eq '")[1:] for part in [part])
    asked_kinds = {each: "Integer" if f"'{each}' and att/OData.CSC.Integer" in text else "String" for each in asked}
    assert asked_kinds
    assert asked_kinds == {each: kinds[each] for each in asked_kinds}


def test_a_recorded_scene_of_the_same_service() -> None:
    path = RECORDED / "eodag/cop_dataspace_search.json"
    if not path.is_file():
        pytest.skip("needs ../shared/data/s1/api, the recorded answers of the catalogue")
    (first, *_) = read_page(path.read_bytes(), "recorded").products
    # The recording is of Sentinel-2: all but the name is as for Sentinel-1.
    scene = scene_of(first.model_copy(update={"name": f"{name(1)}.SAFE"}), "cdse")
    assert scene is not None
    assert scene.checksum == "blake3:2f787caed527ffeb3245594a465abd127da5ee7eaeb974f9a9ab4342f2fba7cf"
    assert scene.size == 224105657
    assert scene.footprint is not None
    assert scene.footprint.bounds == pytest.approx((142.323, 13.472, 142.944, 14.225), abs=0.04)


ENTRY = {
    "Id": "1", "Name": f"{name(1)}.SAFE", "PublicationDate": "2026-01-01T12:00:00.000000Z", "Online": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"Checksum": [{"Algorithm": "MD5", "Value": "AB"}]}, "md5:ab"),
        ({"Checksum": [{"Algorithm": "MD5", "Value": "ab"}, {"Algorithm": "BLAKE3", "Value": "cd"}]}, "blake3:cd"),
        ({"Checksum": [{}]}, None),
        ({"Checksum": None}, None),
        ({"Checksum": [{"Algorithm": "SHA3-256", "Value": "ef"}]}, None),
    ],
)
def test_checksums(change: dict[str, object], expected: str | None) -> None:
    page = read_page(json.dumps({"value": [ENTRY | change]}).encode(), "a page")
    scene = scene_of(page.products[0], "cdse")
    assert scene is not None
    assert (scene.checksum, scene.size, scene.footprint) == (expected, None, None)


def test_an_unreadable_footprint_costs_no_scene() -> None:
    entry = ENTRY | {"GeoFootprint": {"type": "Polygon", "coordinates": 5}, "ContentLength": 0}
    scene = scene_of(read_page(json.dumps({"value": [entry]}).encode(), "a page").products[0], "cdse")
    assert scene is not None
    assert (scene.footprint, scene.size) == (None, None)


@pytest.mark.parametrize(
    "page",
    [
        "[]", "{}", "5", '{"value": 5}', '{"value": [{"Id"', "", '{"value": null}',
        json.dumps({"value": [], "@odata.nextLink": 5}),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_as_agreed(page: str) -> None:
    with pytest.raises(SourceError, match="unexpected answer") as caught:
        read_page(page.encode(), "the catalogue")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("odd", [{"Id": None}, {"Name": None}, {"Name": 5}, {}])
def test_an_entry_that_is_no_product_is_passed_over_aloud(
    odd: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    entry = ENTRY | odd if odd else odd
    page = read_page(json.dumps({"value": [entry, ENTRY | {"Id": "2"}, None]}).encode(), "the catalogue")
    assert [product.id for product in page.products] == ["2"]
    assert len(page.entries) == 3, "pages end by the number of entries, not of products"
    assert len(caplog.records) == 2


# Downloads


def test_download(server: CdseServer, source: CopernicusDataSpace) -> None:
    assert fetch(source, only(source)) == (0, len(CONTENT), CONTENT)
    assert [request.step for request in server.requests] == ["catalogue", "token", "download", "zipper"]
    assert all(request.authorized for request in server.requests if request.step in ("download", "zipper"))


@pytest.mark.parametrize("offset", [1, 65_536, len(CONTENT) - 1])
def test_resume(offset: int, server: CdseServer, source: CopernicusDataSpace) -> None:
    assert fetch(source, only(source), offset) == (offset, len(CONTENT), CONTENT[offset:])
    assert server.requests[-1].range == f"bytes={offset}-"
    assert server.requests[-1].status == 206


def test_nothing_is_left_of_a_whole_file(server: CdseServer, source: CopernicusDataSpace) -> None:
    assert fetch(source, only(source), len(CONTENT)) == (len(CONTENT), len(CONTENT), b"")


def test_a_file_that_is_too_long_is_begun_anew(source: CopernicusDataSpace) -> None:
    assert fetch(source, only(source), len(CONTENT) + 1) == (0, len(CONTENT), CONTENT)


def test_a_server_without_ranges_begins_at_0(server: CdseServer, source: CopernicusDataSpace) -> None:
    server.fail(Fault("no_range"))
    assert fetch(source, only(source), 1000) == (0, len(CONTENT), CONTENT)


def test_other_bytes_than_asked_for_are_refused(server: CdseServer, source: CopernicusDataSpace) -> None:
    server.fail(Fault("wrong_range"))
    with pytest.raises(TransientError, match="asked for bytes from 1000 on, got bytes from 999 on"):
        fetch(source, only(source), 1000)


def test_a_cut_is_transient_and_the_rest_follows(server: CdseServer, source: CopernicusDataSpace) -> None:
    server.fail(Fault("cut"))
    scene, got = only(source), bytearray()
    with pytest.raises(TransientError, match="connection failed"):
        collect(source, scene, got)
    assert CONTENT.startswith(got)
    assert len(got) <= len(CONTENT) // 2
    assert got + fetch(source, scene, len(got))[2] == CONTENT


def test_leaving_a_download_halfway_leaves_the_source_usable(source: CopernicusDataSpace) -> None:
    scene = only(source)
    for _ in range(6):
        with source.open(scene, 0) as stream:
            next(iter(stream))
    assert fetch(source, scene)[2] == CONTENT


@pytest.mark.parametrize("step", ["token", "catalogue", "download", "zipper"])
@pytest.mark.parametrize("status", ["429", "500", "503"])
def test_what_may_pass(step: str, status: str, server: CdseServer, source: CopernicusDataSpace) -> None:
    server.fail(Fault(status, step, retry_after="7"))
    with pytest.raises(TransientError, match=f"HTTP {status}") as caught:
        fetch(source, only(source))
    assert caught.value.retry_after == 7
    # Nothing is left behind of the failure.
    assert fetch(source, only(source))[2] == CONTENT


@pytest.mark.parametrize("step", ["catalogue", "download", "zipper"])
@pytest.mark.parametrize("status", ["403", "404"])
def test_what_stays(step: str, status: str, server: CdseServer, source: CopernicusDataSpace) -> None:
    server.fail(Fault(status, step))
    with pytest.raises(SourceError, match=f"HTTP {status}"):
        fetch(source, only(source))


@pytest.mark.parametrize("step", ["token", "catalogue", "download", "zipper"])
def test_a_page_in_place_of_data(step: str, server: CdseServer, source: CopernicusDataSpace) -> None:
    server.fail(Fault("html", step))
    with pytest.raises(TransientError, match="answered with text/html"):
        fetch(source, only(source))


@pytest.mark.parametrize("step", ["token", "catalogue"])
def test_broken_json(step: str, server: CdseServer, source: CopernicusDataSpace) -> None:
    server.fail(Fault("broken_json", step))
    with pytest.raises(SourceError, match=r"no token|unexpected answer"):
        fetch(source, only(source))


@pytest.mark.parametrize("step", ["token", "catalogue", "download", "zipper"])
def test_a_time_out(step: str, server: CdseServer) -> None:
    with opened(server, timeout=0.3) as source:
        server.fail(Fault("slow", step, seconds=1.0))
        with pytest.raises(TransientError, match="no answer in time"):
            fetch(source, only(source))


def test_a_stalled_body(server: CdseServer) -> None:
    with opened(server, timeout=0.3) as source:
        server.fail(Fault("stall", seconds=1.0))
        with pytest.raises(TransientError, match="no answer in time"):
            fetch(source, only(source))


def test_nobody_listens() -> None:
    with CdseServer() as server:
        addresses, credentials = server.addresses, server.credentials
    with (
        closing(CopernicusDataSpace(credentials, **addresses)) as source,
        pytest.raises(TransientError, match="the connection failed"),
    ):
        list(source.find(Query(), None))


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/odata", "http://[::1/odata", "127.0.0.1"])
def test_an_impossible_address(address: str) -> None:
    with pytest.raises(SourceError, match="invalid address"):
        find_at(address)


def find_at(address: str) -> None:
    with closing(CopernicusDataSpace(Credentials("a", SecretStr("b")), catalogue_url=address)) as source:
        list(source.find(Query(), None))


def test_what_is_announced_and_what_comes_can_differ(server: CdseServer, source: CopernicusDataSpace) -> None:
    """The faults that only whoever verifies can see: the source tells what it was told."""
    server.fail(Fault("checksum"), Fault("length"))
    scene = only(source)
    assert scene.checksum == "blake3:" + "0" * 64
    assert fetch(source, scene) == (0, len(CONTENT) - 10, CONTENT[:-10])
    server.fail(Fault("size"), Fault("damage"))
    scene = only(source)
    assert scene.size == len(CONTENT) + 1
    damaged = fetch(source, scene)[2]
    assert sum(one != other for one, other in zip(damaged, CONTENT, strict=True)) == 1


# Tokens


def test_one_token_serves_many_requests(server: CdseServer, source: CopernicusDataSpace) -> None:
    scene = only(source)
    for _ in range(3):
        fetch(source, scene)
    assert server.count("token") == 1


def test_downloads_at_once_share_one_token(server: CdseServer, source: CopernicusDataSpace) -> None:
    scene = only(source)
    for expected in (1, 2):
        with ThreadPoolExecutor(4) as pool:
            assert all(got[2] == CONTENT for got in pool.map(lambda _: fetch(source, scene), range(8)))
        assert server.count("token") == expected
        server.revoke_tokens()


def test_a_token_is_refreshed_before_it_ends() -> None:
    # A life of 4 s is used for 3.2 s; what is left is for a busy machine.
    with CdseServer([product(name(1), CONTENT)], token_life=4.0) as server, opened(server) as source:
        scene = only(source)
        fetch(source, scene)
        time.sleep(3.25)
        assert fetch(source, scene)[2] == CONTENT
        first, *later = [request.grant for request in server.requests if request.step == "token"]
        assert (first, set(later)) == ("password", {"refresh_token"})
        assert all(request.status != 401 for request in server.requests), "no request went out with an old token"


def test_a_token_refused_in_mid_download_is_replaced_on_reopening(
    server: CdseServer, source: CopernicusDataSpace
) -> None:
    server.fail(Fault("cut"))
    scene, got = only(source), bytearray()
    with pytest.raises(TransientError, match="connection failed"):
        collect(source, scene, got)
    server.revoke_tokens()
    assert got + fetch(source, scene, len(got))[2] == CONTENT
    assert [request.grant for request in server.requests if request.step == "token"] == ["password", "refresh_token"]


def test_a_session_that_has_ended_is_begun_anew() -> None:
    with CdseServer([product(name(1), CONTENT)], refresh_life=0.0) as server, opened(server) as source:
        scene = only(source)
        fetch(source, scene)
        server.revoke_tokens()
        assert fetch(source, scene)[2] == CONTENT
        assert [request.grant for request in server.requests if request.step == "token"] == ["password", "password"]
        # Likewise where the server has forgotten the session that it said would last.
        server.refresh_life = 100.0
        server.revoke_tokens()
        fetch(source, scene)
        server.forget_sessions()
        server.revoke_tokens()
        assert fetch(source, scene)[2] == CONTENT
        grants = [request.grant for request in server.requests if request.step == "token"]
        assert grants[2:] == ["password", "refresh_token", "password"]


@pytest.mark.parametrize("kind", ["expired", "early"])
def test_clocks_that_differ(kind: str, server: CdseServer, source: CopernicusDataSpace) -> None:
    scene = only(source)
    server.fail(Fault(kind, times=1, seconds=60))
    assert fetch(source, scene)[2] == CONTENT, "one bad token is replaced"
    server.revoke_tokens()
    server.fail(Fault(kind, times=1, seconds=60))
    with pytest.raises(TransientError, match="a new token was refused") as caught:
        fetch(source, scene)
    assert caught.value.retry_after == 5
    assert fetch(source, scene)[2] == CONTENT, "and later it goes on"


def test_a_wrong_password_is_final(server: CdseServer) -> None:
    wrong = Credentials(USER, SecretStr("wrong-word"))
    with closing(CopernicusDataSpace(wrong, **server.addresses)) as source:
        scene = only(source)
        with pytest.raises(SourceError, match=r"login refused \(HTTP 401 invalid_grant") as caught:
            fetch(source, scene)
    assert USER not in str(caught.value)


def test_missing_credentials_fail_before_any_request(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("SLICKWATCH_CDSE_USERNAME", "SLICKWATCH_CDSE_PASSWORD", "SLICKWATCH_CREDENTIALS", "NETRC"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with CdseServer() as server:
        with pytest.raises(SourceError, match="SLICKWATCH_CDSE_USERNAME and SLICKWATCH_CDSE_PASSWORD"):
            CopernicusDataSpace(**server.addresses)
        assert server.requests == []


# Secrets


def test_a_token_never_follows_to_a_foreign_host(server: CdseServer) -> None:
    with CdseServer([product(name(1), CONTENT)]) as stranger, opened(server) as source:
        scene = only(source)
        server.fail(Fault("foreign", to=stranger.zipper_url.replace("127.0.0.1", "localhost")))
        with pytest.raises(TransientError, match="401"):
            fetch_with_one_try(source, scene, server)
        (request,) = stranger.requests
        assert not request.authorized
    assert any(each.authorized for each in server.requests if each.step == "download")


def fetch_with_one_try(source: CopernicusDataSpace, scene: Scene, server: CdseServer) -> None:
    """Fetch, with every answer of the server's own download host failing after the first."""
    server.fail(Fault("401", "download", times=None))
    fetch(source, scene)


@pytest.mark.parametrize(
    ("host", "trusted"),
    [
        ("https://zipper.dataspace.copernicus.eu/x", True),
        ("https://download.dataspace.copernicus.eu/x", True),
        ("https://dataspace.copernicus.eu/x", True),
        ("http://zipper.dataspace.copernicus.eu/x", False),
        ("https://evil-dataspace.copernicus.eu/x", False),
        ("https://dataspace.copernicus.eu.example.org/x", False),
        ("https://example.org/dataspace.copernicus.eu", False),
        ("https://dataspace.copernicus.eu@example.org/x", False),
    ],
)
def test_who_is_trusted(host: str, trusted: bool) -> None:
    with closing(CopernicusDataSpace(Credentials("a", SecretStr("b")))) as source:
        assert source._is_trusted(httpx.URL(host)) is trusted


def test_redirects_in_a_circle_end(server: CdseServer, source: CopernicusDataSpace) -> None:
    server.fail(Fault("loop", times=None))
    with pytest.raises(SourceError, match="more than 5 redirects"):
        fetch(source, only(source))


def test_no_secret_shows_anywhere(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """Everything at DEBUG, every kind of failure with its traceback, every URL: none holds a password or a token."""
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    with CdseServer([product(name(1), CONTENT)]) as server, opened(server, timeout=0.5) as source:
        scene = only(source)
        failing: list[Callable[[], object]] = [lambda: fetch(source, scene), lambda: list(source.find(Query(), None))]
        for kind in ("401", "403", "429", "500", "html", "broken_json", "slow", "cut", "early", "loop", "wrong_range"):
            server.fail(Fault(kind, times=3, seconds=1.0))
            for attempt in failing * 3:
                try:
                    attempt()
                except (SlickwatchError, TransientError) as error:
                    shown += traceback.format_exception(error)
            server.mend()
            server.revoke_tokens()
        fetch(source, scene)
        shown += [repr(vars(source)), repr(vars(source._token)), repr(server.credentials)]
        shown += [request.url for request in server.requests]
        secrets = [PASSWORD, *server.tokens]
    assert len(server.tokens) > 5
    assert any("HTTP Request" in record.getMessage() for record in caplog.records), "the client's own log was read"
    assert sum("Traceback" in text for text in shown) > 5
    captured = capfd.readouterr()
    text = "\n".join([*shown, caplog.text, captured.out, captured.err])
    for secret in secrets:
        assert secret not in text
        assert secret.split(".")[-1] not in text


# The parts


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), ("5", 5.0), (" 12 ", 12.0), ("soon", None), ("", None), ("-3", None),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0), ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
    ],
)  # fmt: skip
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, BEGIN) == seconds


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, (None, None)), ("bytes 5-9/10", (5, 10)), ("bytes 5-9/*", (5, None)), ("bytes */10", (None, 10)),
        ("items 1-2/3", (None, None)), ("bytes 5-9", (None, None)),
    ],
)  # fmt: skip
def test_content_range(value: str | None, expected: tuple[int | None, int | None]) -> None:
    assert content_range(value) == expected


def test_the_server_speaks_openid_connect(server: CdseServer) -> None:
    """What the tests stand on: its tokens verify with the published keys, as those of the real service do."""
    with httpx.Client() as client:
        about = client.get(f"{server.url}/auth/realms/CDSE/.well-known/openid-configuration").json()
        form = {"client_id": "cdse-public", "grant_type": "password", "username": USER, "password": PASSWORD}
        answer = client.post(about["token_endpoint"], data=form).json()
        (key,) = client.get(about["jwks_uri"]).json()["keys"]
    claims = jwt.decode(answer["access_token"], jwt.PyJWK(key).key, algorithms=["RS256"], issuer=about["issuer"])
    assert claims["azp"] == "cdse-public"
    recorded = RECORDED / "cdse-odata-cdsetool/openid-configuration.json"
    if recorded.is_file():
        real = json.loads(recorded.read_text())
        assert about.keys() <= real.keys()
        assert real["token_endpoint"] == TOKEN_URL


def test_the_servers_checksums_are_those_of_the_content() -> None:
    described = product(name(1), CONTENT)
    assert described.checksums["MD5"] == hashlib.md5(CONTENT).hexdigest()
