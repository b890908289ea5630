"""A report as one HTML page that needs nothing else: images and style are inside."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Template

from ingest.files import write_bytes
from outputs.reports.document import Document
from outputs.templates import page_templates


def write_page(document: Document, path: Path) -> None:
    """Write a report as HTML. Raises `StorageError`."""
    write_bytes(path, _template().render(document=document).encode())


@cache
def _template() -> Template:
    environment = page_templates(Path(__file__).with_name("templates"))
    environment.filters["kind"] = lambda block: type(block).__name__
    return environment.get_template("report.html")
