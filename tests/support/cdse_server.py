"""A Copernicus Data Space on loopback: log-in with signed tokens, catalogue, redirect to the zipper, faults at will.

    with CdseServer([product("S1A_IW_GRDH_..._8255.SAFE", content)], faults=[Fault("503", times=2)]) as server:
        CopernicusDataSpace(server.credentials, **server.addresses)

or from a shell: ``python -m tests.support.cdse_server --port 8080 --zips folder --fault 429:0.05 --seed 1``.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote_plus, unquote, urlencode, urlsplit

import jwt
import shapely
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr
from shapely.geometry.base import BaseGeometry

from ingest.credentials import Credentials
from ingest.scene import scene_from_name

REALM = "/auth/realms/CDSE"
TOKEN_PATH = f"{REALM}/protocol/openid-connect/token"
KEYS_PATH = f"{REALM}/protocol/openid-connect/certs"
PRODUCTS_PATH = "/odata/v1/Products"
USER, PASSWORD = "someone@example.org", "pass-word-of-the-test"
STEPS = ("token", "catalogue", "download", "zipper")
STATUSES = {"400": 400, "401": 401, "403": 403, "404": 404, "429": 429, "500": 500, "502": 502, "503": 503, "504": 504}
# Beside the statuses: what a fault does, and the steps at which it can.
KINDS = {
    "slow": STEPS,  # answers after `seconds`
    "stall": ("zipper",),  # half of the body, then nothing for `seconds`
    "cut": ("zipper",),  # half of the body, then the connection ends
    "damage": ("zipper",),  # one byte of the body is another
    "length": ("zipper",),  # a whole answer, announced and sent, with its last 10 bytes missing
    "no_range": ("zipper",),  # answers 200 and everything to a Range
    "wrong_range": ("zipper",),  # answers 206 with other bytes than asked for
    "html": STEPS,  # a page with status 200
    "broken_json": ("token", "catalogue"),
    "checksum": ("catalogue",),  # announces checksums of something else
    "size": ("catalogue",),  # announces another length
    "expired": ("token",),  # gives tokens whose end has passed by the server's clock
    "early": ("token",),  # gives tokens that are not valid before `seconds` from now
    "loop": ("download",),  # redirects to itself
    "foreign": ("download",),  # redirects to `to`
}
_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_BLOCK = 1 << 18


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong: a status or one of `KINDS`, at one step or all that know it, counted or by chance."""

    kind: str
    step: str | None = None
    times: int | None = 1  # None: without end
    probability: float = 1.0
    retry_after: str | None = None
    seconds: float = 0.3
    to: str = ""
    key: str = ""  # only requests whose path holds it

    def __post_init__(self) -> None:
        if self.kind not in STATUSES and self.kind not in KINDS:
            raise ValueError(f"no such fault: {self.kind}")

    def fits(self, step: str, path: str) -> bool:
        steps = STEPS if self.kind in STATUSES else KINDS[self.kind]
        return step in steps and self.step in (None, step) and self.key in path


@dataclass(frozen=True)
class Product:
    """A product of the catalogue; its zip is a file, or bytes in memory."""

    name: str
    content: bytes | Path
    published: datetime
    id: str
    footprint: BaseGeometry
    size: int
    checksums: dict[str, str]
    attributes: dict[str, str | int]
    online: bool = True
    s3_path: str = ""


@dataclass(frozen=True)
class Request:
    """One request as it came; nothing secret is kept."""

    step: str
    method: str
    url: str
    status: int
    fault: str | None
    authorized: bool  # whether there was an Authorization header at all
    range: str | None
    grant: str | None = None


SEA = shapely.box(2.0, 51.0, 4.0, 52.0)


def product(
    name: str,
    content: bytes | Path,
    published: datetime = datetime(2026, 1, 1, 12, tzinfo=UTC),
    footprint: BaseGeometry = SEA,
    *,
    online: bool = True,
    **attributes: str | int,
) -> Product:
    """Describe a product as the catalogue does; attributes come of its name unless given."""
    scene = scene_from_name(name)
    kind = re.sub(r"^S1._([^_]+)_(....)_(.).*", r"\1_\2_\3S", name) + ("-COG" if scene.id.endswith("_COG") else "")
    known: dict[str, str | int] = {
        "productType": kind,
        "operationalMode": scene.mode,
        "polarisationChannels": "&".join(scene.polarisations),
        "relativeOrbitNumber": scene.relative_orbit or 0,
        "orbitNumber": scene.absolute_orbit,
        "orbitDirection": "DESCENDING",
        "timeliness": "Fast-24h",
    }
    size, checksums = _sums(content)
    folder = f"/eodata/Sentinel-1/SAR/{kind}/{scene.acquired_start:%Y/%m/%d}/{scene.id}.SAFE"
    return Product(
        f"{scene.id}.SAFE",
        content,
        published,
        str(uuid.uuid5(uuid.NAMESPACE_URL, scene.id)),
        footprint,
        size,
        checksums,
        known | attributes,
        online,
        folder,
    )


def _sums(content: bytes | Path) -> tuple[int, dict[str, str]]:
    md5, strong, size = hashlib.md5(), blake3(), 0
    for block in _blocks(content, 0):
        md5.update(block)
        strong.update(block)
        size += len(block)
    return size, {"MD5": md5.hexdigest(), "BLAKE3": strong.hexdigest()}


def _blocks(content: bytes | Path, start: int) -> Iterable[bytes]:
    if isinstance(content, bytes):
        yield content[start:]
        return
    with open(content, "rb") as file:
        file.seek(start)
        while block := file.read(_BLOCK):
            yield block


class CdseServer:
    """The service: a context manager with its addresses, its `requests` and a `publish` for products to come."""

    def __init__(
        self,
        products: Sequence[Product] = (),
        faults: Sequence[Fault] = (),
        *,
        seed: int = 0,
        port: int = 0,
        token_life: float = 600.0,
        refresh_life: float = 3600.0,
        largest_skip: int = 10_000,
    ) -> None:
        self._products, self._faults = list(products), [[fault, fault.times] for fault in faults]
        self._random, self._lock = random.Random(seed), threading.Lock()
        self.token_life, self.refresh_life, self.largest_skip = token_life, refresh_life, largest_skip
        self.requests: list[Request] = []
        self.tokens: list[str] = []  # given out, for tests that look where they went
        self._sessions: dict[str, float] = {}
        self._refused: set[str] = set()
        self._servers = [self._server(step, number) for step, number in (("main", port), ("zipper", 0))]
        self.url, self.zipper_url = (f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers)
        self.catalogue_url = self.download_url = f"{self.url}/odata/v1"
        self.token_url = self.url + TOKEN_PATH
        self.credentials = Credentials(USER, SecretStr(PASSWORD))

    @property
    def addresses(self) -> dict[str, str]:
        """Keyword arguments of `CopernicusDataSpace`."""
        return {
            "catalogue_url": self.catalogue_url,
            "download_url": self.download_url,
            "token_url": self.token_url,
            "service_domain": "127.0.0.1",
        }

    def publish(self, *products: Product) -> None:
        """Add products, or replace those with the same Id."""
        with self._lock:
            ids = {each.id for each in products}
            self._products = [each for each in self._products if each.id not in ids] + list(products)

    def fail(self, *faults: Fault) -> None:
        """Switch on further faults."""
        with self._lock:
            self._faults += [[fault, fault.times] for fault in faults]

    def mend(self) -> None:
        """Switch all faults off."""
        with self._lock:
            self._faults.clear()

    def revoke_tokens(self) -> None:
        """Refuse every access token given so far, before its end."""
        with self._lock:
            self._refused.update(self.tokens)

    def forget_sessions(self) -> None:
        """Refuse every refresh token given so far."""
        with self._lock:
            self._sessions.clear()

    def count(self, step: str) -> int:
        """How many requests came to a step."""
        return sum(request.step == step for request in self.requests)

    def __enter__(self) -> CdseServer:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def _server(self, role: str, port: int) -> ThreadingHTTPServer:
        handler = type("Handler", (_Handler,), {"service": self, "role": role})
        server = _Server(("127.0.0.1", port), handler)
        server.daemon_threads = True
        return server

    def fault(self, step: str, path: str) -> Fault | None:
        """Draw the fault of a request, counting it."""
        with self._lock:
            for entry in self._faults:
                fault, left = entry
                if fault.fits(step, path) and left != 0 and self._random.random() < fault.probability:
                    entry[1] = None if left is None else left - 1
                    return fault
        return None

    def new_token(self, fault: Fault | None) -> dict[str, Any]:
        """Sign an access token (RS256) and remember a refresh token."""
        now = time.time()
        begin = now + fault.seconds if fault and fault.kind == "early" else now - 1
        end = now - 10 if fault and fault.kind == "expired" else max(begin, now) + self.token_life
        claims = {"iss": self.url + REALM, "azp": "cdse-public", "sub": "1", "jti": uuid.uuid4().hex}
        claims |= {"nbf": begin, "exp": end}
        access = jwt.encode(claims, _KEY, algorithm="RS256", headers={"kid": "test"})
        refresh = uuid.uuid4().hex
        with self._lock:
            self._sessions[refresh] = now + self.refresh_life
            self.tokens.append(access)
        lives = {"expires_in": self.token_life, "refresh_expires_in": self.refresh_life}
        return {"access_token": access, "refresh_token": refresh, "token_type": "Bearer", **lives}

    def is_granted(self, form: dict[str, str]) -> bool:
        """Whether the log-in is right; a refresh token works once."""
        if form.get("client_id") != "cdse-public":
            return False
        if form.get("grant_type") == "refresh_token":
            with self._lock:
                return self._sessions.pop(form.get("refresh_token", ""), 0.0) > time.time()
        return form.get("grant_type") == "password" and (form.get("username"), form.get("password")) == (USER, PASSWORD)

    def accepts(self, authorization: str | None) -> bool:
        """Whether a token is ours, of now and not revoked."""
        token = (authorization or "").removeprefix("Bearer ")
        try:
            jwt.decode(token, _KEY.public_key(), algorithms=["RS256"], issuer=self.url + REALM)
        except jwt.InvalidTokenError:
            return False
        return token not in self._refused

    def page(self, parameters: dict[str, str], fault: Fault | None) -> dict[str, Any]:
        """Answer a query of the catalogue; `ValueError` for what it does not understand."""
        top, skip = int(parameters.get("$top", 20)), int(parameters.get("$skip", 0))
        if not 0 <= top <= 1000 or not 0 <= skip <= self.largest_skip:
            raise ValueError("Input should be less than or equal to the limit")
        if parameters.get("$orderby") != "PublicationDate asc":
            raise ValueError("this server orders by PublicationDate asc alone")
        with self._lock:
            products = list(self._products)
        found = [each for each in products if is_match(each, parameters.get("$filter", ""))]
        found.sort(key=lambda each: (each.published, each.id))
        values = [_described(each, fault) for each in found[skip : skip + top]]
        answer: dict[str, Any] = {"@odata.context": "$metadata#Products(Attributes())", "value": values}
        if skip + top < len(found) and skip + top <= self.largest_skip:
            query = urlencode(parameters | {"$skip": str(skip + top)}, quote_via=quote_plus)
            answer["@odata.nextLink"] = f"{self.url}{PRODUCTS_PATH}?{query}"
        return answer

    def find(self, key: str) -> Product | None:
        """The product with an Id."""
        with self._lock:
            return next((each for each in self._products if each.id == key), None)


_TEXT = r"'((?:[^']|'')*)'"
_ATOMS = {
    "collection": re.compile(r"Collection/Name eq 'SENTINEL-1'"),
    "online": re.compile(r"Online eq true"),
    "name": re.compile(rf"contains\(Name,{_TEXT}\)"),
    "attribute": re.compile(
        rf"Attributes/(OData\.CSC\.\w+)/any\(att:att/Name eq {_TEXT} and att/\1/Value eq (?:{_TEXT}|(\d+))\)"
    ),
    "area": re.compile(r"OData\.CSC\.Intersects\(area=geography'SRID=4326;([^']*)'\)"),
    "published": re.compile(r"PublicationDate (gt|ge) (\S+?Z)(?=[\s)]|$)"),
}
_TESTS = {
    "collection": lambda each, match: True,
    "online": lambda each, match: each.online,
    "name": lambda each, match: match[1] in each.name,
    "attribute": lambda each, match: str(each.attributes.get(match[2])) == (match[3] or match[4]).replace("''", "'"),
    "area": lambda each, match: each.footprint.intersects(shapely.from_wkt(match[1])),
    "published": lambda each, match: (
        each.published > datetime.fromisoformat(match[2])
        or (match[1] == "ge" and each.published == datetime.fromisoformat(match[2]))
    ),
}


def is_match(each: Product, condition: str) -> bool:
    """Whether a product fulfils a `$filter` of the atoms above, `and`, `or` and brackets; else `ValueError`."""
    for name, pattern in _ATOMS.items():
        condition = pattern.sub(lambda match, test=_TESTS[name]: str(bool(test(each, match))), condition)
    if not re.fullmatch(r"(True|False|and|or|[()\s])+", condition):
        raise ValueError(f"not understood: {condition[:200]}")
    return bool(eval(condition, {}))


def _described(each: Product, fault: Fault | None) -> dict[str, Any]:
    kind = fault.kind if fault else ""
    sums = {name: "0" * len(value) for name, value in each.checksums.items()} if kind == "checksum" else each.checksums
    published = f"{each.published.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    return {
        "@odata.mediaContentType": "application/octet-stream",
        "Id": each.id,
        "Name": each.name,
        "ContentType": "application/octet-stream",
        "ContentLength": each.size + (1 if kind == "size" else 0),
        "PublicationDate": published,
        "ModificationDate": published,
        "Online": each.online,
        "S3Path": each.s3_path,
        "Checksum": [{"Value": value, "Algorithm": name, "ChecksumDate": published} for name, value in sums.items()],
        "GeoFootprint": json.loads(shapely.to_geojson(each.footprint)),
        "Attributes": [
            {"Name": name, "Value": value, "ValueType": "Integer" if isinstance(value, int) else "String"}
            for name, value in each.attributes.items()
        ],
    }


class _Server(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no event."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: CdseServer
    role: str
    form: dict[str, str]
    note: Request | None

    def log_message(self, *_: object) -> None:
        """Requests are kept in `CdseServer.requests`."""

    def do_GET(self) -> None:
        self.form, self.note = {}, None
        address = urlsplit(self.path)
        path = unquote(address.path)
        key = re.fullmatch(rf"{PRODUCTS_PATH}\(([^)]*)\)/\$value", path)
        if self.role == "zipper":
            self._step("zipper", lambda fault: self._archive(key, fault))
        elif key is not None:
            self._step("download", lambda fault: self._redirect(path, fault))
        elif path == PRODUCTS_PATH:
            self._step("catalogue", lambda fault: self._page(address.query, fault))
        elif path == KEYS_PATH:
            own = jwt.algorithms.RSAAlgorithm.to_jwk(_KEY.public_key(), as_dict=True)
            self._json(200, {"keys": [own | {"kid": "test", "alg": "RS256", "use": "sig"}]})
        elif path == f"{REALM}/.well-known/openid-configuration":
            url = self.service.url
            about = {"issuer": url + REALM, "token_endpoint": url + TOKEN_PATH, "jwks_uri": url + KEYS_PATH}
            self._json(200, about)
        else:
            self._json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        self.form = {name: values[0] for name, values in form.items()}
        self._step("token", self._token)

    def _step(self, step: str, answer: Any) -> None:
        fault = self.service.fault(step, self.path)
        kind = fault.kind if fault else None
        if fault and fault.kind == "slow":
            time.sleep(fault.seconds)
            fault = None
        self.note = Request(
            step, self.command, f"{self.role}:{self.path}", 0, kind,
            "Authorization" in self.headers, self.headers.get("Range"), self.form.get("grant_type"),
        )  # fmt: skip
        if fault and fault.kind in STATUSES:
            extra = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            self._json(STATUSES[fault.kind], {"detail": "as told"}, extra)
        elif fault and fault.kind == "html":
            self._body(200, b"<!DOCTYPE html><html><body>Maintenance</body></html>", "text/html; charset=utf-8")
        elif fault and fault.kind == "broken_json":
            self._body(200, b'{"value": [{"Id": 1', "application/json")
        else:
            answer(fault)

    def _token(self, fault: Fault | None) -> None:
        if self.service.is_granted(self.form):
            self._json(200, self.service.new_token(fault))
        else:
            told = {"error": "invalid_grant", "error_description": f"Invalid user credentials of {USER}"}
            self._json(401 if self.form.get("grant_type") == "password" else 400, told)

    def _page(self, query: str, fault: Fault | None) -> None:
        parameters = {name: values[0] for name, values in parse_qs(query).items()}
        try:
            self._json(200, self.service.page(parameters, fault))
        except ValueError as error:
            self._json(422, {"detail": [{"msg": str(error)}]})

    def _redirect(self, path: str, fault: Fault | None) -> None:
        if not self.service.accepts(self.headers.get("Authorization")):
            self._json(401, {"detail": "Expired signature!"})
            return
        to = {"loop": self.service.url, "foreign": fault.to if fault else ""}.get(fault.kind if fault else "")
        self._body(301, b"", "text/plain", {"Location": f"{to or self.service.zipper_url}{path}"})

    def _archive(self, key: re.Match[str] | None, fault: Fault | None) -> None:
        found = self.service.find(key[1]) if key else None
        if not self.service.accepts(self.headers.get("Authorization")):
            self._json(401, {"detail": "Expired signature!"})
        elif found is None:
            self._json(404, {"detail": "Product not found"})
        else:
            self._send(found, fault.kind if fault else "", fault.seconds if fault else 0.0)

    def _send(self, found: Product, kind: str, seconds: float) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked and kind != "no_range" else 0
        if asked and start >= found.size and kind != "no_range":
            self._body(416, b"", "text/plain", {"Content-Range": f"bytes */{found.size}"})
            return
        status = 206 if asked and kind != "no_range" else 200
        start = max(0, start - 1) if kind == "wrong_range" else start
        length = max(0, found.size - start - (10 if kind == "length" else 0))
        headers = {"Content-Range": f"bytes {start}-{start + length - 1}/{found.size}"} if status == 206 else {}
        self._head(status, length, "application/zip", headers | {"Accept-Ranges": "bytes"})
        sent, stop = 0, length // 2 if kind in ("cut", "stall") else length
        for block in _blocks(found.content, start):
            part = bytearray(block[: stop - sent]) if kind == "damage" and sent == 0 else block[: stop - sent]
            if isinstance(part, bytearray) and part:
                part[len(part) // 2] ^= 0xFF
            self.wfile.write(part)
            sent += len(part)
            if sent >= stop:
                break
        if kind == "stall":
            time.sleep(seconds)
        if kind in ("cut", "stall"):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self._body(status, json.dumps(value).encode(), "application/json", headers)

    def _body(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self._head(status, len(body), kind, headers or {})
        self.wfile.write(body)

    def _head(self, status: int, length: int, kind: str, headers: dict[str, str]) -> None:
        # Before the answer is sent: who has the answer may look at once.
        if self.note is not None:
            self.service.requests.append(replace(self.note, status=status))
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()


def from_folder(folder: Path, first: datetime) -> list[Product]:
    """The zips of a folder as products, published a minute after another, by name."""
    zips = sorted(folder.glob("S1*.zip"))
    return [product(path.name, path, first + timedelta(minutes=number)) for number, path in enumerate(zips)]


def _fault(text: str) -> Fault:
    """Read ``kind[@step]:probability``, such as ``429:0.05`` or ``500@token:0.1``."""
    kind, _, probability = text.partition(":")
    kind, _, step = kind.partition("@")
    return Fault(kind, step or None, None, float(probability or 1))


def _main() -> None:
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--zips", type=Path, required=True, help="folder of S1*.zip")
    parser.add_argument("--fault", type=_fault, action="append", default=[], help="kind[@step]:probability")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--token-life", type=float, default=600.0)
    given = parser.parse_args()
    products = from_folder(given.zips, datetime(2026, 1, 1, tzinfo=UTC))
    service = CdseServer(products, given.fault, seed=given.seed, port=given.port, token_life=given.token_life)
    with service:
        print(json.dumps(service.addresses | {"username": USER, "password": PASSWORD}), flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    _main()
