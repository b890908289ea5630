"""The kinds of values that settings are, beyond numbers and texts: places, areas, times, schedules, addresses.

What is relative is of the folder of the settings file, so that a worker that was started elsewhere means the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime, time
from email.utils import parseaddr
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from outputs.alerting.options import LINK_FIELDS

SECRET = re.compile(r"pass(word|wd|phrase)?$|secret|token|credential|(api|access|private)_?key|signature$|^sig$", re.I)

_FOLDER: ContextVar[Path | None] = ContextVar("folder of the settings being read", default=None)
_BOX = re.compile(r"[-+.,\deE\s]+")
_GEOMETRY = re.compile(r"\{|(SRID=\d+;)?\s*((MULTI)?(POLYGON|POINT|LINESTRING)|GEOMETRYCOLLECTION)\b", re.I)
# `5L` is the last Friday to some readers of cron and an error to Prefect's.
_LAST_WEEKDAY = re.compile(r"\dL", re.I)


class Section(BaseModel):
    """A table of the settings file: frozen, without keys of its own invention, and exact about types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def setting(default: Any, says: str, unit: str | None = None, example: Any = None, **constraints: Any) -> Any:
    """A key with what the commented example says of it; `example` is what it shows where the default is none."""
    more = {"unit": unit, "example": example}
    return Field(default, description=says, json_schema_extra=more, validate_default=True, **constraints)


@contextmanager
def relative_to(folder: Path) -> Iterator[None]:
    """Inside the block, relative places that are validated become places in `folder`."""
    token = _FOLDER.set(folder.absolute())
    try:
        yield
    finally:
        _FOLDER.reset(token)


def placed(path: Path) -> Path:
    """A place as settings mean it: below the home folder, absolute, or in the folder of the settings file."""
    folder = _FOLDER.get()
    expanded = path.expanduser()
    return expanded if folder is None else folder / expanded


def _placed_text(text: str) -> str:
    return str(placed(Path(text)))


def _area(text: str) -> str:
    """A box, WKT and GeoJSON stay as they are; anything else names a file."""
    stripped = text.strip()
    if not stripped:
        raise ValueError("should be a box, WKT, GeoJSON or a file")
    return text if _BOX.fullmatch(stripped) or _GEOMETRY.match(stripped) else _placed_text(stripped)


def _name_or_folder(text: str) -> str:
    if not text.strip():
        raise ValueError("should not be empty")
    return _placed_text(text) if "/" in text or text.startswith("~") else text


def _ledger(text: str) -> str:
    address = text.removeprefix("sqlite:///")
    if "://" not in address and address.strip():
        return _placed_text(address)
    if not address.startswith(("postgresql://", "postgresql+psycopg://", "postgres://")):
        raise ValueError("should be a file, sqlite:///FILE or postgresql://USER@HOST/DATABASE")
    return address


def _database(text: str) -> str:
    if not text.startswith("postgresql+asyncpg://"):
        raise ValueError("should be postgresql+asyncpg://USER@HOST/DATABASE")
    return text


def _time(value: object) -> datetime:
    """A time, UTC where it names no zone, or a day's beginning."""
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
    """Checked without Prefect, whose own settings are fixed by the first import of it."""
    from cronsim import CronSim, CronSimError

    try:
        CronSim(text, datetime(2026, 1, 1))
        is_one = len(text.split()) == 5 and not _LAST_WEEKDAY.search(text)
    except CronSimError:
        is_one = False
    if not is_one:
        raise ValueError("should be five fields of cron: minute hour day month weekday, such as */15 * * * *")
    return text


def _timezone(text: str) -> str:
    try:
        _ = text == "UTC" or ZoneInfo(text)  # UTC needs no database of zones
    except (OSError, ValueError, KeyError):
        raise ValueError("should be a time zone such as UTC or Europe/Oslo") from None
    return text


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_one = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        is_one = False
    if not is_one:
        raise ValueError("should be an address that begins with https:// or http://")
    return text


def _mailbox(text: str) -> str:
    name, at, host = parseaddr(text)[1].rpartition("@")
    if not (name and at and host):
        raise ValueError("should be an e-mail address")
    return text


def _link(text: str) -> str:
    try:
        parts = [part for part in Formatter().parse(text) if part[1] is not None]
    except ValueError:
        raise ValueError("should have each { closed by a }") from None
    # A format string may otherwise read attributes of what it is given.
    if any(name not in LINK_FIELDS or spec or conversion for _, name, spec, conversion in parts):
        raise ValueError("should hold no fields but {scene_id} and {slick_id}")
    return _web_address(text)


def url_password(text: str) -> bool:
    """Whether a text is an address with a password before the host."""
    try:
        return "://" in text and urlsplit(text).password is not None
    except ValueError:
        return False


def url_secret(text: str) -> bool:
    """Whether a text is an address with a password, a token or the like before the host or among its parameters."""
    try:
        parameters = parse_qs(urlsplit(text).query) if "://" in text else {}
    except ValueError:
        return False
    return url_password(text) or any(SECRET.search(name) for name in parameters)


Value = TypeVar("Value")
Several = Annotated[tuple[Value, ...], Field(strict=False)]
Place = Annotated[Path, Field(strict=False), AfterValidator(placed)]
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
