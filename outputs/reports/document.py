"""The content of a report, before it becomes a page or a PDF."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from PIL import Image

_NUMBER = re.compile(r"[-+−]?\d[\d,.]*|–|")
UNKNOWN = "–"
_QUALITY = 82  # of JPEG


@dataclass(frozen=True)
class Heading:
    """The heading of a section."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of remarks."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows under headers; columns of nothing but numbers are set to the right. Without headers: names and values."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether a column holds nothing but numbers."""
        return tuple(all(_NUMBER.fullmatch(cell) for cell in column) for column in zip(*self.rows, strict=True))


@dataclass(frozen=True)
class Picture:
    """An image as JPEG, with its size in pixels; `alt` is what it shows, for those who do not see it."""

    jpeg: bytes
    size: tuple[int, int]
    alt: str
    caption: str = ""

    @property
    def data_url(self) -> str:
        """The image as an address that holds it."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode()}"


@dataclass(frozen=True)
class Gallery:
    """Small pictures in rows."""

    pictures: tuple[Picture, ...]


Block = Heading | Paragraph | Bullets | Table | Picture | Gallery


@dataclass(frozen=True)
class Document:
    """A report: what it is, of what, when and how that was seen, one sentence of result, its tone, and the rest."""

    title: str
    name: str
    subtitle: str
    verdict: str
    tone: str  # "found", "clean" or "unseen"
    made_at: datetime
    blocks: tuple[Block, ...]

    @property
    def heading(self) -> str:
        """The title of the file."""
        return f"{self.title}: {self.name}"

    @property
    def footer(self) -> str:
        """The line at the foot of each page."""
        return f"Slickwatch, {self.made_at:%Y-%m-%d %H:%M} UTC"


def facts(pairs: Sequence[tuple[str, str]]) -> Table:
    """Names and values."""
    return Table((), tuple(pairs))


def picture_of(image: Image.Image, alt: str, caption: str = "") -> Picture:
    """An image as a picture of a report."""
    content = io.BytesIO()
    image.convert("RGB").save(content, "JPEG", quality=_QUALITY, subsampling=0)
    return Picture(content.getvalue(), image.size, alt, caption)


def picture_from(path: Path, alt: str, longest: int = 1600) -> Picture:
    """An image file as a picture of at most `longest` pixels a side."""
    with Image.open(path) as image:
        image.thumbnail((longest, longest))
        return picture_of(image, alt)
