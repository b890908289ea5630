"""Items of a STAC API: the product an item describes, which file is its zip, and its checksum.

The item extensions sar, sat and file: https://stac-extensions.github.io.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import unquote, urljoin, urlsplit

from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError

from ingest.areas import read_footprint
from ingest.errors import UnreadableInput
from ingest.scene import Scene, scene_from_name
from ingest.sources.lenient import EmptyIfOdd, Lenient

_PUBLISHED = ("published", "created", "updated")
_ZIP_ASSETS = ("product", "safe", "archive", "zip", "download")
_ZIP_TYPES = ("application/zip", "application/x-zip-compressed")
_NO_TYPES = ("", "application/octet-stream")
# https://github.com/multiformats/multicodec: code -> name and bytes of the digest
_MULTIHASHES = {0xD5: ("md5", 16), 0x1E: ("blake3", 32)}

_log = logging.getLogger(__name__)


class Asset(BaseModel):
    """One file of an item."""

    href: str
    title: Lenient[str] = None
    type: Lenient[str] = None
    alternate: Lenient[dict[str, dict[str, Any]]] = None
    size: Lenient[int] = Field(default=None, alias="file:size")
    checksum: Lenient[str] = Field(default=None, alias="file:checksum")
    local_path: Lenient[str] = Field(default=None, alias="file:local_path")


class Item(BaseModel):
    """One item, as far as a scene needs it."""

    id: str
    geometry: Lenient[dict[str, Any]] = None
    properties: Annotated[dict[str, Any], EmptyIfOdd] = {}
    assets: Annotated[dict[str, Lenient[Asset]], EmptyIfOdd] = {}
    links: Lenient[list[dict[str, Any]]] = None


@dataclass(frozen=True)
class Archive:
    """The zip that an item offers."""

    address: str
    asset: Asset


def read_item(document: dict[str, Any]) -> Item | None:
    """Parse and validate an item; None, with a warning in the log, if it is not one."""
    try:
        return Item.model_validate(document)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
        name = document.get("id") if isinstance(document, dict) else None
        _log.warning("Skipped item %.100r: invalid STAC, see its %s", name, where)
        return None


def scene_of(item: Item, source: str, published_property: str | None) -> Scene | None:
    """The scene of an item; None, with a warning in the log, if nothing in it contains a product's full name."""
    scene = _named(item)
    if scene is None:
        _log.warning("Skipped item %.100r: it contains no product name", item.id)
        return None
    archive = archive_of(item)
    return replace(
        scene,
        relative_orbit=_integer(item.properties.get("sat:relative_orbit")) or scene.relative_orbit,
        footprint=read_footprint(json.dumps(item.geometry)) if item.geometry else None,
        source=source,
        size=archive.asset.size if archive else None,
        checksum=checksum_of(archive.asset.checksum) if archive else None,
        published=published(item, published_property) or scene.acquired_end,
        key=item.id,
    )


def published(item: Item, published_property: str | None) -> datetime | None:
    """When an item was published, by the first property that says so; None if none does."""
    times = (_datetime(item.properties.get(name)) for name in (published_property, *_PUBLISHED) if name)
    return next((time for time in times if time is not None), None)


def archive_of(item: Item) -> Archive | None:
    """The product zip that an item offers over HTTP, identified by its type, or else by its name."""
    zips = [(key, asset) for key, asset in item.assets.items() if asset is not None and _is_zip(key, asset)]
    for _, asset in sorted(zips, key=lambda each: each[0].lower() not in _ZIP_ASSETS):
        for href in (asset.href, *(str(other.get("href", "")) for other in (asset.alternate or {}).values())):
            address = _joined(_own_address(item), href)
            if urlsplit(address).scheme in ("http", "https"):
                return Archive(address, asset)
    return None


def _is_zip(key: str, asset: Asset) -> bool:
    kind = (asset.type or "").split(";")[0].strip().lower()
    path = urlsplit(_joined("", asset.href)).path.lower()
    by_name = kind in _NO_TYPES and (path.endswith(".zip") or (key.lower() in _ZIP_ASSETS and path.endswith("$value")))
    return kind in _ZIP_TYPES or by_name


def _joined(address: str, href: str) -> str:
    """Where a reference leads from an address; empty if nowhere."""
    try:
        joined = urljoin(address, href)
        urlsplit(joined)
        return joined
    except ValueError:
        return ""


def _own_address(item: Item) -> str:
    return next((str(link.get("href", "")) for link in item.links or [] if link.get("rel") == "self"), "")


def checksum_of(multihash: str | None) -> str | None:
    """An MD5 or BLAKE3 in the form of `Scene.checksum`; None for other hashes and invalid multihashes.

    A multihash is a code and a length, both unsigned varints, and the digest (https://multiformats.io/multihash).
    """
    try:
        content = bytes.fromhex(multihash or "")
    except ValueError:
        return None
    code, rest = _varint(content)
    length, digest = _varint(rest)
    name, size = _MULTIHASHES.get(code, ("", -1))
    return f"{name}:{digest.hex()}" if length == size == len(digest) else None


def _varint(content: bytes) -> tuple[int, bytes]:
    value = 0
    for index, byte in enumerate(content[:9]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, content[index + 1 :]
    return -1, b""


def _named(item: Item) -> Scene | None:
    """The scene, from the item's id or whatever else in the item contains the product's full name."""
    names = [item.id, item.properties.get("title"), item.properties.get("s1:product_identifier")]
    if archive := archive_of(item):
        names += [archive.asset.title, archive.asset.local_path]
        names += reversed(unquote(urlsplit(archive.address).path).split("/"))
    for name in names:
        try:
            return scene_from_name(str(name).rsplit("/", 1)[-1])
        except UnreadableInput:
            continue
    return None


def _datetime(value: object) -> datetime | None:
    try:
        return TypeAdapter(AwareDatetime).validate_python(value) if isinstance(value, str) else None
    except ValidationError:
        return None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
