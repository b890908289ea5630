"""Copernicus Data Space through its S3 store `eodata`: scenes found in its catalogue, read as objects.

The store holds most products as unpacked SAFE folders, a catalogue's `S3Path` being the prefix of their files. `open`
zips them on the fly: members stored uncompressed, sorted by name, with a fixed date, so that the same product always
gives the same bytes. Each file is checked against the MD5 in the product's own manifest instead of the catalogue's
checksum, which is that of another zip.

Such a zip is always sent from its start: its directory, at the end, holds the CRC of every member, so everything
before an offset would have to be read again anyway. A connection cut within an object does not end the stream,
though: reading resumes at the byte reached. Products whose `S3Path` ends in ``.zip`` are one object; they are read
from any offset, and keep the catalogue's checksum.

Facts of the service: https://documentation.dataspace.copernicus.eu/APIs/S3.html. Needs the extra `eodata` (boto3).
"""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from defusedxml import DefusedXmlException, ElementTree

from ingest.credentials import Credentials, find_credentials
from ingest.errors import SourceError, TransientError, UsageError
from ingest.proxies import require_usable_proxies
from ingest.scene import Scene
from ingest.sources.cdse import CATALOGUE_URL, Catalogue
from ingest.sources.http import may_pass, require_encrypted
from ingest.sources.source import ByteStream, Query

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

ENDPOINT_URL = "https://eodata.dataspace.copernicus.eu"
_TITLE = "the S3 store of Copernicus Data Space"
_MANIFEST = "manifest.safe"
_BLOCK = 1 << 18  # bytes
_TRIES = 3  # at one object, without receiving a byte
_NO_ACCESS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "ExpiredToken"}


@dataclass(frozen=True)
class StoredObject:
    """One object of the store; `name` is its name in the zip."""

    bucket: str
    key: str
    name: str
    size: int  # bytes
    etag: str


class EodataStore:
    """The `SceneSource` that finds scenes in the catalogue and reads them from S3; a scene's `key` is its S3Path.

    Without `credentials` they are looked up at once: `SourceError` if there are none, `UsageError` without boto3.
    """

    name = "eodata"

    def __init__(
        self,
        credentials: Credentials | None = None,
        *,
        catalogue_url: str = CATALOGUE_URL,
        endpoint_url: str = ENDPOINT_URL,
        timeout: float = 60.0,
    ) -> None:
        require_encrypted(endpoint_url)
        self._store = _client(credentials or find_credentials("eodata"), endpoint_url, timeout)
        self._catalogue = Catalogue(catalogue_url)

    def find(self, query: Query, published_after: datetime | None) -> Iterator[Scene]:
        """Yield the scenes of a query by publication time, oldest first; raises `SourceError`, `TransientError`."""
        for scene, product in self._catalogue.scenes(query, published_after, self.name):
            if product.s3_path is None:
                continue
            if product.s3_path.endswith(".zip"):
                yield replace(scene, key=product.s3_path)
            else:
                yield replace(scene, key=product.s3_path, checksum=None, size=None)

    @contextmanager
    def open(self, scene: Scene, offset: int) -> Iterator[ByteStream]:
        """Open the scene's archive: at `offset` if the store holds it as one zip, else always at 0.

        Raises `SourceError`, `TransientError`; iteration also does if a file does not match the product's manifest.
        """
        path = PurePosixPath(scene.key or "")
        if len(path.parts) < 3 or path.parts[0] != "/" or ".." in path.parts:
            raise SourceError(scene.id, "has no path in the store", "search the catalogue first")
        bucket, key = path.parts[1], "/".join(path.parts[2:])
        if path.suffix == ".zip":
            archive = self._head(bucket, key, scene.id)
            begin = offset if offset <= archive.size else 0
            yield ByteStream(begin, archive.size, self._read(archive, begin, scene.id))
        else:
            objects = self._list(bucket, f"{key}/", path.name, scene.id)
            yield ByteStream(0, zip_size(objects), self._zip(objects, scene.id))

    def _head(self, bucket: str, key: str, subject: str) -> StoredObject:
        with _store_failures(subject):
            about = self._store.head_object(Bucket=bucket, Key=key)
        return StoredObject(bucket, key, PurePosixPath(key).name, about["ContentLength"], about["ETag"])

    def _list(self, bucket: str, prefix: str, folder: str, subject: str) -> list[StoredObject]:
        """The files below a prefix by name; empty ones ending in a slash stand for folders."""
        with _store_failures(subject):
            pages = self._store.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            found = [each for page in pages for each in page.get("Contents", []) if not each["Key"].endswith("/")]
        objects = [
            StoredObject(
                bucket, each["Key"], f"{folder}/{each['Key'].removeprefix(prefix)}", each["Size"], each["ETag"]
            )
            for each in found
        ]
        if not any(each.name == f"{folder}/{_MANIFEST}" for each in objects):
            raise SourceError(subject, "not in the store", "it may have been withdrawn: search again")
        return sorted(objects, key=lambda each: each.name)

    def _zip(self, objects: list[StoredObject], subject: str) -> Iterator[bytes]:
        sums = self._manifest_sums(objects, subject)
        if missing := sums.keys() - {each.name for each in objects}:
            raise TransientError(f"{subject}: {min(missing)} is not in the store yet")
        sink = _Sink()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
            for each in objects:
                entry = zipfile.ZipInfo(each.name)
                checksum = hashlib.md5(usedforsecurity=False)
                with archive.open(entry, "w", force_zip64=_needs_zip64(each)) as member:
                    for block in self._read(each, 0, subject):
                        checksum.update(block)
                        member.write(block)
                        yield sink.take()
                if sums.get(each.name, checksum.hexdigest()) != checksum.hexdigest():
                    raise TransientError(f"{subject}: {each.name} does not match the manifest's MD5")
        yield sink.take()

    def _manifest_sums(self, objects: list[StoredObject], subject: str) -> dict[str, str]:
        manifest = next(each for each in objects if PurePosixPath(each.name).name == _MANIFEST)
        folder = PurePosixPath(manifest.name).parent
        try:
            root = ElementTree.fromstring(b"".join(self._read(manifest, 0, subject)))
        except (ElementTree.ParseError, DefusedXmlException) as error:
            raise SourceError(subject, "damaged manifest in the store", "use another source") from error
        sums = {}
        for stream in root.iter("byteStream"):
            place, checksum = stream.find("fileLocation"), stream.find("checksum")
            if place is not None and checksum is not None and checksum.get("checksumName") == "MD5":
                sums[str(folder / place.get("href", ""))] = (checksum.text or "").strip().lower()
        return sums

    def _read(self, stored: StoredObject, begin: int, subject: str) -> Iterator[bytes]:
        """The bytes of an object from `begin` to its end, resuming when a connection is cut."""
        reached, failures = begin, 0
        while reached < stored.size:
            before = reached
            try:
                for block in self._blocks(stored, reached, subject):
                    reached += len(block)
                    yield block
                if reached < stored.size:
                    raise _Cut(f"{subject}: {stored.key} ended after {reached} of {stored.size} bytes")
            except _Cut:
                # Without further progress, waiting is left to the caller.
                failures = failures + 1 if reached == before else 0
                if failures == _TRIES:
                    raise

    def _blocks(self, stored: StoredObject, begin: int, subject: str) -> Iterator[bytes]:
        asked = {"Range": f"bytes={begin}-"} if begin else {}
        with _store_failures(subject, _Cut):
            # IfMatch: never resume an object that was replaced meanwhile.
            answer = self._store.get_object(Bucket=stored.bucket, Key=stored.key, IfMatch=stored.etag, **asked)
            with answer["Body"] as body:
                while block := body.read(_BLOCK):
                    yield block

    def close(self) -> None:
        """Close the connections."""
        self._store.close()
        self._catalogue.close()


class _Cut(TransientError):
    """A connection that ended early."""


class _Sink(io.RawIOBase):
    """An unseekable file that passes on what `zipfile` writes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def take(self) -> bytes:
        """What was written since the last call."""
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def _needs_zip64(stored: StoredObject) -> bool:
    return stored.size > zipfile.ZIP64_LIMIT


def zip_size(objects: list[StoredObject]) -> int:
    """Bytes of the zip that `EodataStore.open` makes: headers, members and directory by PKWARE's APPNOTE 4.3."""
    position = directory = 0
    for each in objects:
        name, large = len(each.name.encode()), _needs_zip64(each)
        # A large size takes 2 x 8 bytes in an extra field of 4, a far offset 8 more.
        fields = 2 * large + (position > zipfile.ZIP64_LIMIT)
        directory += 46 + name + (4 + 8 * fields if fields else 0)
        position += 30 + name + 20 * large + each.size + (24 if large else 16)
    many = len(objects) > zipfile.ZIP_FILECOUNT_LIMIT
    far = max(position, directory) > zipfile.ZIP64_LIMIT
    return position + directory + 22 + (76 if many or far else 0)


def _client(credentials: Credentials, endpoint_url: str, timeout: float) -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ModuleNotFoundError as error:
        raise UsageError("eodata", "boto3 is not installed", "run: pip install 'slickwatch[eodata]'") from error
    require_usable_proxies(socks_package="")
    # At DEBUG it logs every signature, including the access key.
    logging.getLogger("botocore").setLevel(logging.INFO)
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint_url,
        aws_access_key_id=credentials.user,
        aws_secret_access_key=credentials.secret.get_secret_value(),
        region_name="default",
        # The caller decides on retries; unlike Amazon, the store addresses buckets by path only.
        config=Config(
            connect_timeout=timeout,
            read_timeout=timeout,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


@contextmanager
def _store_failures(subject: str, cut: type[TransientError] = TransientError) -> Iterator[None]:
    """Turn failures of the store into `TransientError` (or `cut`) and `SourceError`; none of them contains a key."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _error_of(subject, error) from None
    except BotoCoreError as error:
        # Time-outs, cut connections and bodies that end early; wrong settings were reported when the client was made.
        raise cut(f"{subject}: the connection to the store failed ({type(error).__name__})") from None


def _error_of(subject: str, error: ClientError) -> Exception:
    code = error.response.get("Error", {}).get("Code", "")
    about = error.response.get("ResponseMetadata", {})
    status = about.get("HTTPStatusCode", 0)
    if may_pass(status) or code == "SlowDown":
        wait = about.get("HTTPHeaders", {}).get("retry-after", "")
        return TransientError(f"{subject}: HTTP {status} {code} from S3", float(wait) if wait.isdecimal() else None)
    if code == "RequestTimeTooSkewed":
        return SourceError(subject, "the clock of this machine is wrong", "set the clock")
    if code in _NO_ACCESS or status in (401, 403):
        return SourceError(_TITLE, f"access key refused (HTTP {status} {code})", "check the key; keys expire")
    return SourceError(subject, f"HTTP {status} {code} from the store", "it may have been withdrawn: search again")
