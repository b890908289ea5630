"""Field types of settings: paths, areas, times, cron schedules, URLs.

Relative paths are resolved in the folder of the settings file, so that they do not depend on the working folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime, time
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from outputs.alerting.options import LINK_FIELDS, mailbox

_FOLDER: ContextVar[Path | None] = ContextVar("folder of the settings being read", default=None)
_BOX = re.compile(r"[-+.,\deE\s]+")
_GEOMETRY = re.compile(r"\{|(SRID=\d+;)?\s*((MULTI)?(POLYGON|POINT|LINESTRING)|GEOMETRYCOLLECTION)\b", re.I)
# `5L` means the last Friday to some cron parsers and is an error in Prefect.
_LAST_WEEKDAY = re.compile(r"\dL", re.I)


class Section(BaseModel):
    """A table of the settings file: frozen, without unknown keys, with strict types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def setting(default: Any, description: str, unit: str | None = None, example: Any = None, **constraints: Any) -> Any:
    """A key with its description in the example file; `example` is the value shown there if the default is None."""
    extra = {"unit": unit, "example": example}
    return Field(default, description=description, json_schema_extra=extra, validate_default=True, **constraints)


@contextmanager
def relative_to(folder: Path) -> Iterator[None]:
    """Resolve relative paths that are validated inside the block in `folder`."""
    token = _FOLDER.set(folder.absolute())
    try:
        yield
    finally:
        _FOLDER.reset(token)


def absolute(path: Path) -> Path:
    """The path with `~` expanded, a relative one resolved in the folder of the settings file."""
    folder = _FOLDER.get()
    expanded = Path(os.path.expanduser(path))
    return expanded if folder is None else folder / expanded


def _absolute_text(text: str) -> str:
    return str(absolute(Path(text)))


def _area(text: str) -> str:
    """Boxes, WKT and GeoJSON unchanged; anything else is a file name."""
    stripped = text.strip()
    if not stripped:
        raise ValueError("should be a box, WKT, GeoJSON or a file")
    return text if _BOX.fullmatch(stripped) or _GEOMETRY.match(stripped) else _absolute_text(stripped)


def _name_or_folder(text: str) -> str:
    if not text.strip():
        raise ValueError("should not be empty")
    return _absolute_text(text) if "/" in text or text.startswith("~") else text


def _ledger(text: str) -> str:
    address = text.removeprefix("sqlite:///")
    if "://" not in address and address.strip():
        return _absolute_text(address)
    if not address.startswith(("postgresql://", "postgresql+psycopg://", "postgres://")):
        raise ValueError("should be a file, sqlite:///FILE or postgresql://USER@HOST/DATABASE")
    return address


def _database(text: str) -> str:
    if not text.startswith("postgresql+asyncpg://"):
        raise ValueError("should be postgresql+asyncpg://USER@HOST/DATABASE")
    return text


def _time(value: object) -> datetime:
    """A date and time, or a date meaning its midnight; UTC unless it has a zone."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            value = None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise ValueError("should be a time such as 2026-11-01T00:00:00Z")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _cron(text: str) -> str:
    """Checked without Prefect: its first import fixes its own settings."""
    from cronsim import CronSim, CronSimError

    try:
        CronSim(text, datetime(2026, 1, 1))
        is_valid = len(text.split()) == 5 and not _LAST_WEEKDAY.search(text)
    except CronSimError:
        is_valid = False
    if not is_valid:
        raise ValueError("should be a cron schedule: minute hour day month weekday, such as */15 * * * *")
    return text


def _timezone(text: str) -> str:
    try:
        _ = text == "UTC" or ZoneInfo(text)  # UTC needs no time zone database
    except (OSError, ValueError, KeyError):
        raise ValueError("should be a time zone such as UTC or Europe/Oslo") from None
    return text


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and text.isprintable() and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError("should be a URL that starts with https:// or http://")
    return text


def _mailbox(text: str) -> str:
    mailbox(text)
    return text


def _link(text: str) -> str:
    try:
        parts = [part for part in Formatter().parse(text) if part[1] is not None]
    except ValueError:
        raise ValueError("should have matching { and }") from None
    # Other fields of a format string could read attributes of its arguments.
    if any(name not in LINK_FIELDS or spec or conversion for _, name, spec, conversion in parts):
        raise ValueError("should contain no fields except {scene_id} and {slick_id}")
    return _web_address(text)


Value = TypeVar("Value")
Several = Annotated[tuple[Value, ...], Field(strict=False)]
Place = Annotated[Path, Field(strict=False), AfterValidator(absolute)]
Area = Annotated[str, AfterValidator(_area)]
NameOrFolder = Annotated[str, AfterValidator(_name_or_folder)]
LedgerAddress = Annotated[str, AfterValidator(_ledger)]
DatabaseAddress = Annotated[str, AfterValidator(_database)]
Time = Annotated[datetime, BeforeValidator(_time)]
Cron = Annotated[str, AfterValidator(_cron)]
TimeZone = Annotated[str, AfterValidator(_timezone)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
Mailbox = Annotated[str, AfterValidator(_mailbox)]
Link = Annotated[str, AfterValidator(_link)]
