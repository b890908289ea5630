"""Verifying a downloaded archive against the catalogue: by checksum, or else by size and structure."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import blake3

from ingest.errors import SourceError, UnreadableInput
from ingest.safe.container import open_container
from ingest.scene import Scene

BLOCK = 1 << 20  # bytes


class Digest(Protocol):
    """The interface of `hashlib`; large blocks are hashed without holding the GIL."""

    def update(self, data: bytes, /) -> object: ...
    def hexdigest(self) -> str: ...


DIGESTS: dict[str, Callable[[], Digest]] = {
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "blake3": lambda: blake3.blake3(),
}


def new_digest(scene: Scene) -> Digest | None:
    """The hash that the scene's checksum needs, None if it has none; `SourceError` for an unknown algorithm."""
    if scene.checksum is None:
        return None
    algorithm = scene.checksum.partition(":")[0].lower()
    if algorithm not in DIGESTS:
        problem = f"unknown checksum algorithm {algorithm[:20]!r}"
        raise SourceError(scene.id, problem, f"supported: {', '.join(DIGESTS)}")
    return DIGESTS[algorithm]()


def hash_file(path: Path, digest: Digest | None) -> None:
    """Feed a whole file to a digest."""
    if digest is None:
        return
    with open(path, "rb") as file:
        hashlib.file_digest(file, lambda: digest)  # type: ignore[arg-type,return-value]


def flaw(path: Path, scene: Scene, digest: Digest | None) -> str | None:
    """What is wrong with a downloaded archive whose bytes the digest has seen, or None.

    If the catalogue gives no checksum, the size must match the catalogue's, and every member of the zip,
    ``manifest.safe`` among them, must inflate to its CRC-32.
    """
    size = path.stat().st_size
    if scene.checksum is not None and digest is not None:
        algorithm, _, promised = scene.checksum.partition(":")
        found = digest.hexdigest()
        if found == promised.lower():
            return None
        return f"its {algorithm} is {found}, the catalogue gives {promised}{_size_note(size, scene)}"
    if scene.size is not None and size != scene.size:
        return f"it has {size} bytes, the catalogue gives {scene.size}"
    return _structure_flaw(path)


def verified(path: Path, scene: Scene) -> bool:
    """Whether an existing file is the scene's archive."""
    digest = new_digest(scene)
    hash_file(path, digest)
    return flaw(path, scene, digest) is None


def _size_note(size: int, scene: Scene) -> str:
    return f" ({size} of {scene.size} bytes)" if scene.size not in (None, size) else ""


def _structure_flaw(path: Path) -> str | None:
    try:
        if "manifest.safe" not in open_container(path).members:
            return "it is a zip without a manifest.safe"
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except UnreadableInput as error:
        return error.problem
    except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        return "it is a damaged zip"
    return None if damaged is None else f"its member {damaged!r} is damaged"
