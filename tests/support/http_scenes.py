"""A small HTTP server of scenes on loopback that knows Range and can be told to fail, and a source that reads it."""

from __future__ import annotations

import hashlib
import io
import json
import random
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from ingest.scene import Scene, scene_from_name
from ingest.sources.http import body_blocks, content_range, http_client, network_failures, require_success
from ingest.sources.source import ByteStream, Query

FIRST = datetime(2026, 3, 1, 6, tzinfo=UTC)
# Faults that pass: a `cut` ends in mid-body, `flip` changes a byte, `html` is a page with status 200.
PASSING = ("429", "500", "503", "cut", "cut", "flip", "html", "hang up")


@dataclass(frozen=True)
class Request:
    """What was asked and what went out."""

    id: str
    offset: int
    status: int
    sent: int  # bytes of the body
    fault: str | None


@dataclass
class SceneServer:
    """Scenes by id, as bytes or files; `fault` names what goes wrong with a request, None for nothing."""

    archives: dict[str, bytes | Path]
    fault: Callable[[str], str | None] = lambda scene_id: None
    scenes: list[Scene] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    retry_after: str = "7"
    lie: int = 100  # bytes by which the fault `announce more` exaggerates
    address: str = ""
    pause: threading.Event | None = None  # awaited in the middle of each body

    def of(self, scene_id: str) -> list[Request]:
        """The requests for a scene, as they came."""
        return [one for one in self.requests if one.id == scene_id]

    def sent(self, scene_id: str) -> int:
        """Bytes of a scene's archive that went out, over all requests."""
        return sum(one.sent for one in self.requests if one.id == scene_id)


def scene_names(count: int) -> list[str]:
    """Valid names of different Sentinel-1 products."""
    starts = [FIRST + timedelta(minutes=number) for number in range(count)]
    return [
        f"S1A_IW_GRDH_1SDV_{start:%Y%m%dT%H%M%S}_{start + timedelta(seconds=25):%Y%m%dT%H%M%S}_{60000 + number:06d}"
        f"_{number:06X}_{number:04X}"
        for number, start in enumerate(starts)
    ]


def safe_zip(name: str, size: int, seed: int = 0) -> bytes:
    """A zip with a manifest and a random measurement of so many bytes."""
    content = np.random.default_rng([seed, len(name), int(name[-4:], 16)]).bytes(size)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for member, data in (("manifest.safe", b"<xfdu/>"), ("measurement/vv.tiff", content)):
            # A fixed date, for the same bytes at each call.
            file.writestr(zipfile.ZipInfo(f"{name}.SAFE/{member}", (2026, 3, 1, 0, 0, 0)), data)
    return archive.getvalue()


def scene_of(name: str, archive: bytes, number: int = 0, algorithm: str = "md5") -> Scene:
    """The catalogue's record of an archive."""
    checksum = f"md5:{hashlib.md5(archive).hexdigest()}" if algorithm == "md5" else None
    published = FIRST + timedelta(hours=3, minutes=number)
    return replace(
        scene_from_name(name), source="http", size=len(archive), checksum=checksum, published=published, key=name
    )


def small_scenes(count: int, size: int = 20_000) -> tuple[list[Scene], dict[str, bytes | Path]]:
    """So many different scenes and their archives."""
    archives = {name: safe_zip(name, size) for name in scene_names(count)}
    return [scene_of(name, archive, number) for number, (name, archive) in enumerate(archives.items())], {**archives}


@contextmanager
def serving(server: SceneServer) -> Iterator[SceneServer]:
    """Answer on a free port of loopback inside the block."""
    http = _Http(("127.0.0.1", 0), _handler(server))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    server.address = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what the tests are about."""


def faults(share: float, seed: int, kinds: tuple[str, ...] = PASSING) -> Callable[[str], str | None]:
    """Each request fails with this probability, in a way drawn from `kinds`."""
    draw = random.Random(seed)
    return lambda scene_id: draw.choice(kinds) if draw.random() < share else None


def first(*kinds: str | None) -> Callable[[str], str | None]:
    """These faults for the first requests, whatever the scene; then none."""
    left = list(kinds)
    return lambda scene_id: left.pop(0) if left else None


def _handler(server: SceneServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """No lines on stderr."""

        def do_GET(self) -> None:
            name = self.path.strip("/")
            if name == "scenes.json":
                self._answer(200, _catalogue(server.scenes))
            elif name not in server.archives:
                server.requests.append(Request(name, 0, 404, 0, None))
                self._answer(404, b"")
            else:
                self._scene(name, server.archives[name], server.fault(name))

        def _scene(self, name: str, archive: bytes | Path, fault: str | None) -> None:
            size = len(archive) if isinstance(archive, bytes) else archive.stat().st_size
            asked = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
            offset = 0 if fault == "no range" else int(asked)
            if fault == "hang up" or (fault or "").isdigit() or fault == "html":
                server.requests.append(Request(name, offset, int(fault) if fault and fault.isdigit() else 0, 0, fault))
                self._refuse(str(fault))
                return
            if offset >= size:
                server.requests.append(Request(name, offset, 416, 0, fault))
                self._answer(416, b"", {"Content-Range": f"bytes */{size}"})
                return
            stop = offset + (size - offset) // 2 if fault == "cut" else size
            server.requests.append(Request(name, offset, 206 if offset else 200, stop - offset, fault))
            self._head(offset, size + (server.lie if fault == "announce more" else 0))
            self._body(archive, offset, stop, fault)
            self.close_connection = self.close_connection or fault in ("cut", "announce more")

        def _head(self, offset: int, size: int) -> None:
            self.send_response(206 if offset else 200)
            self.send_header("Content-Type", "application/zip")
            self.send_header("Content-Length", str(size - offset))
            if offset:
                self.send_header("Content-Range", f"bytes {offset}-{size - 1}/{size}")
            self.end_headers()

        def _body(self, archive: bytes | Path, offset: int, stop: int, fault: str | None) -> None:
            if isinstance(archive, Path):
                self.wfile.flush()
                with open(archive, "rb") as file:
                    self.connection.sendfile(file, offset, stop - offset)
                return
            body = bytearray(archive[offset:stop])
            if fault == "flip":
                body[len(body) // 2] ^= 0xFF
            half = len(body) // 2 if server.pause else 0
            self.wfile.write(body[:half])
            if server.pause:
                server.pause.wait(30)
            self.wfile.write(body[half:])

        def _refuse(self, fault: str) -> None:
            if fault == "hang up":
                self.close_connection = True
            elif fault == "html":
                self._answer(200, b"<html>under maintenance</html>", {"Content-Type": "text/html"})
            else:
                self._answer(int(fault), b"", {"Retry-After": server.retry_after} if fault == "429" else {})

        def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _catalogue(scenes: list[Scene]) -> bytes:
    rows = [
        {"id": one.id, "size": one.size, "checksum": one.checksum, "published": str(one.published)} for one in scenes
    ]
    return json.dumps(rows).encode()


class HttpScenes:
    """The source that belongs to the server."""

    name = "http"

    def __init__(self, address: str, timeout: float = 20.0) -> None:
        self.address, self.client = address, http_client(timeout)

    def find(self, query: Query, published_after: datetime | None) -> Iterator[Scene]:
        with network_failures(self.name):
            answer = self.client.get(f"{self.address}/scenes.json")
        require_success(answer, self.name)
        for row in answer.json():
            published = datetime.fromisoformat(row["published"])
            if published_after is None or published > published_after:
                facts = {"size": row["size"], "checksum": row["checksum"], "published": published, "key": row["id"]}
                yield replace(scene_from_name(row["id"]), source=self.name, **facts)

    @contextmanager
    def open(self, scene: Scene, offset: int) -> Iterator[ByteStream]:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with (
            network_failures(scene.id),
            self.client.stream("GET", f"{self.address}/{scene.id}", headers=headers) as answer,
        ):
            require_success(answer, scene.id)
            first, total = content_range(answer.headers.get("Content-Range"))
            if first is None:
                first, total = 0, int(answer.headers["Content-Length"])
            yield ByteStream(first, total, body_blocks(answer, scene.id))

    def close(self) -> None:
        self.client.close()
