"""Proxies of the environment: never asked about this machine, and refused in one line where they cannot be used."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.errors import UsageError
from ingest.proxies import require_usable_proxies, without_proxy
from ingest.sources.http import http_client

NAMES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy")
WORD = "hunter2"
DEAD = "http://127.0.0.1:9"
# Port 9 refuses connections, as does a name that does not exist.
PROXIES = ["", DEAD, "127.0.0.1:9", f"http://me:{WORD}@127.0.0.1:9", f"http://me:{WORD}@h:x", "socks5://127.0.0.1:9"]
PROXIES += ["socks4://a", "ftp://a", "://", "http://", "http://[::1", "a b", "é"]
EXEMPT = ["", "*", "localhost", "127.0.0.1", "::1", "[::1]", "10.0.0.0/8", "::1/128", "*.a", "a:b", "a,,b", "x\ty", "é"]


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def here() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


environments = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(EXEMPT if "no" in name.lower() else PROXIES) for name in NAMES}
)


@given(environments)
@example({"HTTP_PROXY": DEAD})
@example({"ALL_PROXY": DEAD, "NO_PROXY": "example.org"})
@settings(max_examples=12, deadline=None)
def test_this_machine_is_reached_whatever_the_environment_says_or_one_line_says_why(
    here: str, environment: dict[str, str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        for name, value in without_proxy().items():
            patch.setenv(name, value)
        refusal = ""
        try:
            with http_client() as client:
                assert client.get(here).status_code == 204
        except UsageError as error:
            refusal = str(error)
    assert refusal.split(":")[0] in {"", *map(str.upper, NAMES)}
    assert WORD not in refusal


def test_socks_matters_only_to_clients_that_leave_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")
    require_usable_proxies(None)
    with pytest.raises(UsageError, match="ALL_PROXY: names a SOCKS proxy"):
        require_usable_proxies("")


def test_without_proxies_nothing_is_set_and_what_was_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert without_proxy() == {}
    monkeypatch.setenv("NO_PROXY", "example.org, localhost")
    assert without_proxy() == {}
    monkeypatch.setenv("HTTP_PROXY", DEAD)
    exempt = without_proxy("127.0.0.2")
    assert exempt["NO_PROXY"] == exempt["no_proxy"] == "127.0.0.1,localhost,::1,127.0.0.2,example.org"
    monkeypatch.setenv("NO_PROXY", "*")
    assert without_proxy() == {}


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_read(
    name: str, content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "certificates.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv(name, os.fspath(path))
    with pytest.raises(UsageError, match=f"{name}: {path} "):
        http_client()
