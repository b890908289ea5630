"""A report as PDF: A4 with page numbers, its text selectable and in any script that the fonts know."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import matplotlib
from reportlab import rl_config
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import registerFont, registerFontFamily
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Image, KeepTogether, ListFlowable, SimpleDocTemplate, Spacer
from reportlab.platypus import Paragraph as Text
from reportlab.platypus import Table as Grid

from ingest.files import write_bytes
from outputs.reports.document import Block, Bullets, Document, Gallery, Heading, Paragraph, Picture, Table

_FONT, _BOLD = "DejaVuSans", "DejaVuSans-Bold"  # those of matplotlib, which is there
_MARGIN, _FOOT = 16 * mm, 18 * mm
_PADDING = 6  # points, of a frame of reportlab
_WIDTH, _HEIGHT = A4[0] - 2 * _MARGIN, A4[1] - _MARGIN - _FOOT
_COLUMNS, _GAP = 3, 4 * mm  # of a gallery
_NAMES = 46 * mm  # the column of names where a table has no headers
_INK, _GREY, _RULE = HexColor("#1d2730"), HexColor("#51606b"), HexColor("#d5dde3")
_TONES = {"found": ("#e31a1c", "#fdf0f0"), "clean": ("#1a9850", "#eef8f1"), "unseen": ("#8a97a0", "#f2f5f7")}
_STYLES: dict[str, dict[str, Any]] = {
    "title": {"fontName": _BOLD, "fontSize": 13, "leading": 17},
    "documentname": {"fontName": _BOLD, "fontSize": 9, "leading": 13},
    "subtitle": {"fontSize": 9, "leading": 13, "textColor": _GREY},
    "verdict": {"fontName": _BOLD, "fontSize": 11, "leading": 15},
    "heading": {
        "fontName": _BOLD, "fontSize": 11, "leading": 15, "spaceBefore": 10, "spaceAfter": 3, "keepWithNext": 1,
    },
    "text": {"fontSize": 9, "leading": 12.5, "spaceAfter": 3},
    "lead": {"fontSize": 9, "leading": 12.5, "spaceAfter": 3, "keepWithNext": 1},
    "cell": {"fontSize": 7.5, "leading": 10},
    "number": {"fontSize": 7.5, "leading": 10, "alignment": 2},
    "head": {"fontName": _BOLD, "fontSize": 7.5, "leading": 10},
    "numberhead": {"fontName": _BOLD, "fontSize": 7.5, "leading": 10, "alignment": 2},
    "name": {"fontSize": 8.5, "leading": 11.5, "textColor": _GREY},
    "value": {"fontSize": 8.5, "leading": 11.5},
    "caption": {"fontSize": 7.5, "leading": 9.5, "textColor": _GREY},
}  # fmt: skip


def write_pdf(document: Document, path: Path) -> None:
    """Write a report as PDF. Raises `StorageError`."""
    _set_up()
    content = io.BytesIO()
    template = SimpleDocTemplate(
        content, pagesize=A4, leftMargin=_MARGIN - _PADDING, rightMargin=_MARGIN - _PADDING, topMargin=_MARGIN,
        bottomMargin=_FOOT,
        title=document.heading, author="Slickwatch", subject=document.verdict, creator="Slickwatch", lang="en",
    )  # fmt: skip
    template.build([*_head(document), *_body(document.blocks)], canvasmaker=_numbered(document))
    write_bytes(path, content.getvalue())


@cache
def _set_up() -> None:
    rl_config.useA85 = 0  # images as bytes, not as text, which takes most of the time
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name in (_FONT, _BOLD):
        registerFont(TTFont(name, str(folder / f"{name}.ttf")))
    registerFontFamily(_FONT, normal=_FONT, bold=_BOLD, italic=_FONT, boldItalic=_BOLD)


@cache
def _style(name: str) -> ParagraphStyle:
    options: dict[str, Any] = {"fontName": _FONT, "textColor": _INK, **_STYLES[name]}
    return ParagraphStyle(name, **options)


def _text(text: str, style: str) -> Text:
    return Text(escape(text), _style(style))


def _head(document: Document) -> Iterator[Flowable]:
    yield _text(document.title, "title")
    yield _text(document.name, "documentname")
    yield _text(document.subtitle, "subtitle")
    edge, ground = map(HexColor, _TONES[document.tone])
    style: list[Any] = [("BACKGROUND", (0, 0), (-1, -1), ground), ("LINEBEFORE", (0, 0), (0, -1), 4, edge)]
    yield Spacer(0, 6)
    padding: list[Any] = [(f"{side}PADDING", (0, 0), (-1, -1), 7) for side in ("TOP", "BOTTOM", "LEFT", "RIGHT")]
    yield Grid([[_text(document.verdict, "verdict")]], colWidths=[_WIDTH], style=[*style, *padding])
    yield Spacer(0, 6)


def _body(blocks: tuple[Block, ...]) -> Iterator[Flowable]:
    for block, following in zip(blocks, (*blocks[1:], None), strict=True):
        match block:
            case Heading():
                yield _text(block.text, "heading")
            case Paragraph():
                yield _text(block.text, "lead" if isinstance(following, Table | Bullets) else "text")
            case Bullets():
                items: list[Any] = [_text(one, "text") for one in block.items]
                yield ListFlowable(items, bulletType="bullet", start="•", leftIndent=10, bulletFontName=_FONT)
            case Picture():
                yield _picture(block, _WIDTH, 0.8 * _HEIGHT)
            case Gallery():
                yield _gallery(block)
            case Table():
                yield from _table(block)


def _picture(picture: Picture, width: float, height: float) -> Flowable:
    scale = min(width / picture.size[0], height / picture.size[1])
    image = Image(io.BytesIO(picture.jpeg), picture.size[0] * scale, picture.size[1] * scale)
    image.hAlign, image.spaceAfter = "LEFT", 4
    return KeepTogether([image, _text(picture.caption, "caption")]) if picture.caption else image


def _gallery(gallery: Gallery) -> Flowable:
    side = (_WIDTH - (_COLUMNS - 1) * _GAP) / _COLUMNS
    cells = [[_picture_cell(one, side)] for one in gallery.pictures]
    cells += [[] for _ in range(-len(cells) % _COLUMNS)]
    rows = [cells[first : first + _COLUMNS] for first in range(0, len(cells), _COLUMNS)]
    style: list[Any] = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("RIGHTPADDING", (0, 0), (-1, -1), 0), ("BOTTOMPADDING", (0, 0), (-1, -1), 6),
    ]  # fmt: skip
    return Grid(rows, colWidths=[side + _GAP] * (_COLUMNS - 1) + [side], style=style, hAlign="LEFT")


def _picture_cell(picture: Picture, side: float) -> list[Flowable]:
    image = Image(io.BytesIO(picture.jpeg), side, side * picture.size[1] / picture.size[0])
    image.hAlign = "LEFT"
    return [image, Spacer(0, 2), _text(picture.caption, "caption")]


def _table(table: Table) -> Iterator[Flowable]:
    rules: list[Any] = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"), ("LINEBELOW", (0, 0), (-1, -1), 0.4, _RULE),
        ("LEFTPADDING", (0, 0), (-1, -1), 0), ("RIGHTPADDING", (0, 0), (-1, -1), 5),
        ("TOPPADDING", (0, 0), (-1, -1), 1.5), ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
    ]  # fmt: skip
    if not table.headers:
        pairs = [[_text(name, "name"), _text(value, "value")] for name, value in table.rows]
        yield Grid(pairs, colWidths=[_NAMES, _WIDTH - _NAMES], style=rules, hAlign="LEFT", spaceAfter=6)
        return
    numeric = table.numeric
    head = [_text(one, "numberhead" if right else "head") for one, right in zip(table.headers, numeric, strict=True)]
    rows = [
        [_text(cell, "number" if right else "cell") for cell, right in zip(row, numeric, strict=True)]
        for row in table.rows
    ]
    style = [*rules, ("LINEBELOW", (0, 0), (-1, 0), 0.8, _GREY)]
    yield Grid([head, *rows], colWidths=_widths(table), style=style, repeatRows=1, hAlign="LEFT", spaceAfter=6)


def _widths(table: Table) -> list[float]:
    """Of the columns, in proportion to their longest cells, but wide enough for each word of up to 14 letters."""
    columns = list(zip(table.headers, *table.rows, strict=True))
    wanted = [min(max(map(len, column)), 60) + 2.0 for column in columns]
    words = [max(min(len(word), 14) for cell in column for word in (*cell.split(), "")) for column in columns]
    least = [5.2 * longest + 9.0 for longest in words]
    unit = min(4.6, _WIDTH / sum(wanted))
    widths = [max(unit * want, low) for want, low in zip(wanted, least, strict=True)]
    return [width * min(1.0, _WIDTH / sum(widths)) for width in widths]


def _numbered(document: Document) -> type[Canvas]:
    """A canvas that writes "page 2 of 5" once it knows how many there are."""

    class Numbered(Canvas):
        pages: list[dict[str, Any]]

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.pages = []

        def showPage(self) -> None:
            self.pages.append(dict(self.__dict__))
            self._startPage()  # type: ignore[attr-defined]

        def save(self) -> None:
            for number, page in enumerate(self.pages, start=1):
                self.__dict__.update(page)
                self.setFont(_FONT, 7.5)
                self.setFillColor(_GREY)
                self.drawString(_MARGIN, 9 * mm, f"{document.footer}. Contains modified Copernicus Sentinel data.")
                self.drawRightString(A4[0] - _MARGIN, 9 * mm, f"page {number} of {len(self.pages)}")
                super().showPage()
            super().save()

    return Numbered
