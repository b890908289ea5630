"""The S3 store of Copernicus Data Space against a real S3 server on loopback: zips made on the way, cut connections."""

from __future__ import annotations

import http.server
import io
import logging
import os
import random
import threading
import traceback
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from ingest.credentials import Credentials
from ingest.errors import SourceError, TransientError
from ingest.safe.product import SafeProduct
from ingest.scene import Scene
from ingest.sources import eodata
from ingest.sources.eodata import EodataStore, StoredObject, zip_size
from ingest.sources.source import Query
from tests.support.cdse_server import CdseServer, product
from tests.support.safe_products import sea_product

boto3 = pytest.importorskip("boto3", reason="needs the extra eodata")
moto_server = pytest.importorskip("moto.server", reason="needs moto, a real S3 server on loopback")

SECRET = "secret-key-of-the-test-0123456789"
CREDENTIALS = Credentials("AKIDOFTHETEST", SecretStr(SECRET))
ZIPPED = "S1A_IW_GRDH_1SDV_20260102T000000_20260102T000025_000002_0ABCDE_0002"
CONTENT = random.Random(3).randbytes(200_000)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sea_product(tmp_path_factory.mktemp("product"), 60, 80)


@pytest.fixture(scope="module")
def prefix(folder: Path) -> str:
    return f"Sentinel-1/SAR/IW_GRDH_1S/2021/01/19/{folder.name}"


@pytest.fixture(scope="module")
def bucket(endpoint: str, folder: Path, prefix: str) -> Any:
    """The bucket `eodata` with one unpacked product and one zip."""
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="x", aws_secret_access_key="y", region_name="us-east-1"
    )
    client.create_bucket(Bucket="eodata")
    for path in folder.rglob("*"):
        if path.is_file():
            client.put_object(Bucket="eodata", Key=f"{prefix}/{path.relative_to(folder)}", Body=path.read_bytes())
    client.put_object(Bucket="eodata", Key=f"{prefix}/measurement/", Body=b"")
    client.put_object(Bucket="eodata", Key=f"zips/{ZIPPED}.SAFE.zip", Body=CONTENT)
    yield client
    client.close()


@contextmanager
def altered(bucket: Any, key: str, content: bytes | None) -> Iterator[None]:
    """Another content of an object, or none, for a while."""
    original = bucket.get_object(Bucket="eodata", Key=key)["Body"].read()
    if content is None:
        bucket.delete_object(Bucket="eodata", Key=key)
    else:
        bucket.put_object(Bucket="eodata", Key=key, Body=content)
    yield
    bucket.put_object(Bucket="eodata", Key=key, Body=original)


@pytest.fixture(scope="module")
def store(endpoint: str, bucket: Any) -> Iterator[EodataStore]:
    with closing(EodataStore(CREDENTIALS, endpoint_url=endpoint, timeout=5)) as opened:
        yield opened


def scene_at(path: str) -> Scene:
    started = datetime(2026, 1, 1, tzinfo=UTC)
    return Scene("a-scene", "S1A", "IW", "GRD", ("VV",), started, started, 1, source="eodata", key=path)


def read(store: EodataStore, path: str, offset: int = 0) -> tuple[int, int | None, bytes]:
    with store.open(scene_at(path), offset) as stream:
        return stream.offset, stream.total, b"".join(stream)


def test_a_product_becomes_a_zip_that_is_the_product(
    store: EodataStore, folder: Path, prefix: str, tmp_path: Path
) -> None:
    offset, total, content = read(store, f"/eodata/{prefix}")
    assert (offset, total) == (0, len(content))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        expected = sorted(f"{folder.name}/{path.relative_to(folder)}" for path in folder.rglob("*") if path.is_file())
        assert archive.namelist() == expected
        assert all(archive.read(name) == (folder.parent / name).read_bytes() for name in expected)
    path = tmp_path / f"{folder.name}.zip"
    path.write_bytes(content)
    zipped, unpacked = SafeProduct.open(path), SafeProduct.open(folder)
    assert replace(zipped.scene, size=0) == replace(unpacked.scene, size=0)


def test_the_zip_is_always_the_same_and_begins_at_0(store: EodataStore, prefix: str) -> None:
    first = read(store, f"/eodata/{prefix}")
    assert read(store, f"/eodata/{prefix}", 1000) == first


@pytest.mark.parametrize("offset", [0, 1, 131_072, len(CONTENT)])
def test_a_product_stored_as_a_zip_is_read_from_any_byte(offset: int, store: EodataStore) -> None:
    path = f"/eodata/zips/{ZIPPED}.SAFE.zip"
    assert read(store, path, offset) == (offset, len(CONTENT), CONTENT[offset:])


def test_beyond_its_end_a_zip_is_begun_anew(store: EodataStore) -> None:
    assert read(store, f"/eodata/zips/{ZIPPED}.SAFE.zip", len(CONTENT) + 1)[0] == 0


def test_scenes_come_from_the_catalogue(endpoint: str) -> None:
    unpacked = product(ZIPPED.replace("0002_0ABCDE_0002", "0001_0ABCDE_0001"), b"abc")
    zipped = product(ZIPPED, b"abc")
    object.__setattr__(zipped, "s3_path", f"{zipped.s3_path}.zip")
    with (
        CdseServer([unpacked, zipped]) as server,
        closing(EodataStore(CREDENTIALS, catalogue_url=server.catalogue_url, endpoint_url=endpoint)) as store,
    ):
        found = {scene.id: scene for scene in store.find(Query(), None)}
    # The catalogue's checksum and size are those of its own zip, not of one that is made on the way.
    one = found[unpacked.name.removesuffix(".SAFE")]
    assert (one.key, one.checksum, one.size, one.source) == (unpacked.s3_path, None, None, "eodata")
    other = found[ZIPPED]
    assert (other.key, other.checksum, other.size) == (zipped.s3_path, f"blake3:{zipped.checksums['BLAKE3']}", 3)


def test_a_changed_file_does_not_pass(store: EodataStore, bucket: Any, folder: Path, prefix: str) -> None:
    name = next(path.relative_to(folder) for path in folder.glob("annotation/*.xml"))
    content = (folder / name).read_bytes()
    with (
        altered(bucket, f"{prefix}/{name}", content[:-1] + b"x"),
        pytest.raises(TransientError, match=f"{name} does not match the manifest"),
    ):
        read(store, f"/eodata/{prefix}")


def test_a_product_that_is_not_whole_does_not_pass(store: EodataStore, bucket: Any, folder: Path, prefix: str) -> None:
    name = next(path.relative_to(folder) for path in folder.glob("measurement/*"))
    with altered(bucket, f"{prefix}/{name}", None), pytest.raises(TransientError, match="is not in the store yet"):
        read(store, f"/eodata/{prefix}")


@pytest.mark.parametrize(
    "manifest",
    [b"<XFDU>", b"", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'],
)
def test_a_damaged_manifest(manifest: bytes, store: EodataStore, bucket: Any, prefix: str) -> None:
    with (
        altered(bucket, f"{prefix}/manifest.safe", manifest),
        pytest.raises(SourceError, match="damaged manifest in the store"),
    ):
        read(store, f"/eodata/{prefix}")


@pytest.mark.parametrize("path", ["/eodata/none/NONE.SAFE", "/eodata/none/NONE.SAFE.zip", "/nobody/x/X.SAFE"])
def test_a_product_that_is_not_there(path: str, store: EodataStore) -> None:
    with pytest.raises(SourceError, match=r"not in the store|HTTP 404"):
        read(store, path)


@pytest.mark.parametrize("path", ["", "/", "/eodata", "eodata/x/y", "/eodata/../x"])
def test_a_path_that_is_none(path: str, store: EodataStore) -> None:
    with pytest.raises(SourceError, match="no path in the store"):
        read(store, path)


# Failures on the way: a real server between the store and its reader, which can be told to fail.


class Unsteady:
    """Hands requests on to the store, after failures: a status, or how much of a body comes before the cut."""

    def __init__(self, endpoint: str) -> None:
        self.failures: list[int | float] = []
        self.ranges: list[str | None] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def passed_on(self) -> urllib.request.Request:
                kept = {
                    name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")
                }
                return urllib.request.Request(endpoint + self.path, headers=kept, method=self.command)

            def do_HEAD(self) -> None:
                with urllib.request.urlopen(self.passed_on()) as answer:
                    self.send_response(200)
                    for name in ("ETag", "Content-Length"):
                        self.send_header(name, answer.headers[name])
                    self.end_headers()

            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                is_object = "list-type" not in self.path
                failure = outer.failures.pop(0) if is_object and outer.failures else None
                outer.ranges += [asked] if is_object else []
                if isinstance(failure, int):
                    code = b"AccessDenied" if failure in (401, 403) else b"SlowDown"
                    self.answer(failure, {"Retry-After": "9"}, b"<Error><Code>" + code + b"</Code></Error>")
                    return
                with urllib.request.urlopen(self.passed_on()) as answer:
                    body = answer.read()
                    kept = {"ETag", "Content-Type", "Last-Modified", "Content-Range"} & set(answer.headers)
                    headers = {name: answer.headers[name] for name in kept}
                self.answer(answer.status, headers, body, 1.0 if failure is None else failure)

            def answer(self, status: int, headers: dict[str, str], body: bytes, share: float = 1.0) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body[: int(share * len(body))])
                self.close_connection = share < 1

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Unsteady:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def unsteady(endpoint: str, bucket: Any) -> Iterator[Unsteady]:
    with Unsteady(endpoint) as running:
        yield running


@pytest.fixture
def shaky(unsteady: Unsteady) -> Iterator[EodataStore]:
    with closing(EodataStore(CREDENTIALS, endpoint_url=unsteady.url, timeout=5)) as opened:
        yield opened


def test_a_cut_in_the_middle_of_an_object_is_read_on(unsteady: Unsteady, shaky: EodataStore) -> None:
    unsteady.failures = [0.9, 0.0, 0.99]
    assert read(shaky, f"/eodata/zips/{ZIPPED}.SAFE.zip")[2] == CONTENT
    assert unsteady.ranges == [None, "bytes=180000-", "bytes=180000-", "bytes=199800-"]


def test_cuts_leave_the_zip_the_same(unsteady: Unsteady, shaky: EodataStore, store: EodataStore, prefix: str) -> None:
    expected = read(store, f"/eodata/{prefix}")
    unsteady.failures = [0.5, 0.9, 0.0]
    assert read(shaky, f"/eodata/{prefix}") == expected


@pytest.mark.parametrize("status", [429, 503])
def test_what_may_pass(status: int, unsteady: Unsteady, shaky: EodataStore, prefix: str) -> None:
    unsteady.failures = [status]
    with pytest.raises(TransientError, match=f"HTTP {status}") as caught:
        read(shaky, f"/eodata/{prefix}")
    assert caught.value.retry_after == 9


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_final(status: int, unsteady: Unsteady, shaky: EodataStore, prefix: str) -> None:
    unsteady.failures = [status]
    with pytest.raises(SourceError, match="access key refused"):
        read(shaky, f"/eodata/{prefix}")


def test_cuts_without_a_byte_gained_are_transient(unsteady: Unsteady, shaky: EodataStore, prefix: str) -> None:
    unsteady.failures = [0.5, 0.0, 0.0, 0.0]
    with pytest.raises(TransientError, match=r"failed|ended after"):
        read(shaky, f"/eodata/{prefix}")


def test_nobody_listens(prefix: str) -> None:
    with (
        closing(EodataStore(CREDENTIALS, endpoint_url="http://127.0.0.1:9", timeout=1)) as store,
        pytest.raises(TransientError, match="connection to the store failed"),
    ):
        read(store, f"/eodata/{prefix}")


def test_no_secret_shows_anywhere(
    unsteady: Unsteady, shaky: EodataStore, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shown = [repr(vars(shaky)), repr(CREDENTIALS)]
    for failures in ([403], [500], [0.5, 0.0, 0.0, 0.0]):
        unsteady.failures = list(failures)
        with pytest.raises((SourceError, TransientError)) as caught:
            read(shaky, f"/eodata/{prefix}")
        shown += traceback.format_exception(caught.value)
    assert any(record.name.startswith("urllib3") for record in caplog.records), "its log was read"
    text = "\n".join([*shown, caplog.text])
    assert SECRET not in text
    assert CREDENTIALS.user not in text


def test_missing_credentials_fail_before_any_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("SLICKWATCH_", "AWS_", "NETRC")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SourceError, match="SLICKWATCH_EODATA_ACCESS_KEY"):
        EodataStore()


# The size of a zip before it is made


@given(
    st.dictionaries(st.text("aé/", min_size=1, max_size=9), st.integers(0, 40), max_size=12),
    st.integers(0, 120),
    st.integers(1, 12),
)
def test_the_size_is_known_before(sizes: dict[str, int], limit: int, count_limit: int) -> None:
    """Against what `zipfile` writes, with the limits of ZIP64 lowered so that all its forms come up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zipfile, "ZIP64_LIMIT", limit)
        patch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", count_limit)
        sink = eodata._Sink()
        with zipfile.ZipFile(sink, "w") as archive:
            for name, size in sizes.items():
                with archive.open(zipfile.ZipInfo(name), "w", force_zip64=size > limit) as member:
                    member.write(bytes(size))
        objects = [StoredObject("b", name, name, size, "") for name, size in sizes.items()]
        assert zip_size(objects) == len(sink.take())
