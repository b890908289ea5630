"""Sections of a Markdown document, such as a model's card, as blocks of a report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from outputs.reports.document import Block, Bullets, Paragraph, Table

_ASIDE = re.compile(r"\s*\(\[[^\]]*\]\([^)]*\)\)")  # "([results 8](...))" leads nowhere from a report
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_RULE = re.compile(r"\|[\s:|-]+\|")


def section_blocks(text: str, titles: Sequence[str]) -> list[Block]:
    """The blocks of the sections (`## title`) of these titles, in the order of the document; links become text."""
    sections = re.split(r"^## +", text, flags=re.MULTILINE)[1:]
    return [
        block
        for title, _, body in (section.partition("\n") for section in sections)
        if title.strip() in titles
        for block in _blocks(body)
    ]


def _blocks(text: str) -> Iterator[Block]:
    for part in re.split(r"\n\s*\n", text.strip("\n")):
        lines = [line for line in part.splitlines() if line.strip()]
        if not lines:
            continue
        if lines[0].startswith("|"):
            head, *rows = [_cells(line) for line in lines if not _RULE.fullmatch(line.strip())]
            yield Table(head, tuple(rows))
        elif lines[0].startswith("- "):
            items = re.split(r"^- ", "\n".join(lines), flags=re.MULTILINE)[1:]
            yield Bullets(tuple(map(_plain, items)))
        else:
            yield Paragraph(_plain(re.sub(r"^#+ ", "", part)))


def _cells(line: str) -> tuple[str, ...]:
    return tuple(_plain(cell) for cell in line.strip().strip("|").split("|"))


def _plain(text: str) -> str:
    """A line of text without marks."""
    line = _LINK.sub(r"\1", _ASIDE.sub("", text))
    return " ".join(re.sub(r"[*`]", "", line).split())
