"""The identity of a set of labelled images, without decoding or simulating them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from ingest.errors import UnreadableInput
from models.datasets.folder import ImageMaskFolder
from models.datasets.osd import OSDImages
from models.datasets.pairs import LabelledImages, Selection
from models.datasets.simulated import SimulatedChips
from models.datasets.views import Reduced


@runtime_checkable
class _Hashed(Protocol):
    """A data set that keeps hashes of its contents."""

    def fingerprint(self) -> str: ...


def fingerprint(images: LabelledImages) -> str:
    """Return a SHA-256 over names and contents of all images and labels, in their order.

    Contents are the bytes of files, since times and sizes miss a change in place; the seeds and sizes of simulated
    chips; the recorded hashes of synthetic pairs; else the images themselves. The code that reads or simulates the
    images is not covered. Raises `UnreadableInput` for a missing file.
    """
    if isinstance(images, _Hashed):
        return images.fingerprint()
    digest = hashlib.sha256()
    for index in range(len(images)):
        for part in _parts(images, index):
            digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def _parts(images: LabelledImages, index: int) -> Iterator[bytes]:
    """Yield what image `index` depends on: its kind, its name, its contents."""
    match images:
        case Selection():
            yield from _parts(images.images, images.indices[index])
        case Reduced():
            yield f"mean of {images.factor}".encode()
            yield from _parts(images.images, index)
        case ImageMaskFolder():
            kind = f"oil {images.table or ''}".strip()
            yield from _named(kind, images.name(index), images.images[index], images.masks[index])
        case OSDImages():
            kind = "colours" if images.coloured[index] else "indices"
            yield from _named(kind, images.name(index), images.images[index], images.labels[index])
        case SimulatedChips():
            yield repr(("simulated", images.first_seed + index, images.size, images.margin)).encode()
        case _:
            grey, labels = images.grey(index)
            yield from (images.name(index).encode(), repr(grey.shape).encode(), grey.tobytes(), labels.tobytes())


def _named(kind: str, name: str, *paths: Path) -> Iterator[bytes]:
    yield from (kind.encode(), name.encode())
    for path in paths:
        try:
            yield path.suffix.lower().encode()
            yield path.read_bytes()
        except OSError as error:
            raise UnreadableInput(path, f"cannot be read ({error.strerror or error})", "put it back") from error
