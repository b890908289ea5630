"""What `.netrc` holds goes to no server unasked, and no credentials go unencrypted to another machine."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from ingest.credentials import Credentials
from ingest.errors import SlickwatchError, TransientError, UsageError
from ingest.sources.cdse import CopernicusDataSpace
from ingest.sources.dhus import DhusNode
from ingest.sources.eodata import EodataStore
from ingest.sources.http import http_client
from ingest.sources.source import Query
from ingest.sources.stac import StacCatalogue

LOGIN = Credentials("own", SecretStr("word"))
Sent = list[tuple[str, str | None]]  # host and Authorization of each request


class _Server(ThreadingHTTPServer):
    sent: Sent


class _Handler(BaseHTTPRequestHandler):
    """A STAC API without items; every other path but the one it leads to leads to it by another of the host's names."""

    server: _Server

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        host, port = self.headers["Host"].split(":")
        self.server.sent.append((host, self.headers.get("Authorization")))
        if host == "127.0.0.1":
            self.send_response(307)
            self.send_header("Location", f"http://localhost:{port}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        conforms = [f"https://api.stacspec.org/v1.0.0/{name}" for name in ("core", "item-search")]
        search = {"rel": "search", "href": f"http://127.0.0.1:{port}/search", "type": "application/geo+json"}
        root = {"type": "Catalog", "id": "x", "stac_version": "1.0.0", "description": "x", "conformsTo": conforms}
        found = {"type": "FeatureCollection", "features": [], "links": []}
        document = found if self.path.startswith("/search") else {**root, "links": [search | {"method": "POST"}]}
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as running:
        running.sent = []
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(autouse=True, params=["default", "machine 127.0.0.1", "machine localhost"])
def entry(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".netrc"
    path.write_text(f"{request.param} login somebody password other-service\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", os.fspath(path))


def test_a_stac_api_is_sent_no_login(server: _Server) -> None:
    source = StacCatalogue(f"http://127.0.0.1:{server.server_port}/", "sentinel-1-grd")
    assert list(source.find(Query(), None)) == []
    source.close()
    assert server.sent == [("127.0.0.1", None), ("localhost", None)] * 2


def test_a_dhus_node_is_sent_its_own_login_and_no_other_host_any(server: _Server) -> None:
    source = DhusNode(f"http://127.0.0.1:{server.server_port}/", LOGIN)
    with suppress(SlickwatchError, TransientError):  # this is no DHuS node
        list(source.find(Query(), None))
    source.close()
    assert ("localhost", None) in server.sent
    assert {login for host, login in server.sent if host == "127.0.0.1"} == {"Basic b3duOndvcmQ="}
    assert {login for host, login in server.sent if host == "localhost"} == {None}


def test_our_own_client_is_sent_no_login(server: _Server) -> None:
    with http_client() as client:
        client.get(f"http://localhost:{server.server_port}/")
    assert server.sent == [("localhost", None)]


def test_no_credentials_go_unencrypted_to_another_machine() -> None:
    for name in ("token_url", "download_url"):
        with pytest.raises(UsageError, match="unencrypted"):
            CopernicusDataSpace(LOGIN, **{name: "http://example.org/x"})
    with pytest.raises(UsageError, match="unencrypted"):
        DhusNode("http://example.org/", LOGIN)
    with pytest.raises(UsageError, match="unencrypted"):
        EodataStore(LOGIN, endpoint_url="http://example.org/")
    CopernicusDataSpace(LOGIN, token_url="http://127.0.0.2/", download_url="http://[::1]/").close()
