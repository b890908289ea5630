"""The example settings file: every key with description, unit, bounds and default."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from flows.settings.environment import Keys, is_section
from flows.settings.provenance import as_toml
from flows.settings.sections import Watch
from flows.settings.settings import Settings

_WIDTH = 112
_BOUNDS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}
_HEAD = """\
# Slickwatch settings and their defaults. Read from slickwatch.toml, or from the file given by --config or
# $SLICKWATCH_CONFIG. Keys commented out without a space after the # are not set; their values are examples.
# Relative paths are resolved in the folder of this file. Environment variables SLICKWATCH_<SECTION>__<KEY> override
# it. Passwords and tokens do not belong here: docs/operator/settings.md.
# Check this file with: slickwatch settings check. Show the values in effect with: slickwatch settings show.
"""
_SOURCES = """\
# Sources of scenes; options and credentials: docs/operator/sources.md.

#[sources.inbox]
#folder = "inbox"

#[sources.cdse]
"""


def example() -> str:
    """A settings file equivalent to the defaults; keys without a default are commented out, with an example value."""
    return "\n".join([_HEAD, *_sections(Settings, ())])


def _sections(model: type[BaseModel], at: Keys) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if (*at, name) == ("sources",):
            yield _SOURCES
        elif (*at, name) == ("watch",):
            yield _section("#[[watch]]", Watch)
        elif is_section(inner):
            yield _section(f"[{'.'.join((*at, name))}]", inner)
            yield from _sections(inner, (*at, name))


def _section(head: str, model: type[BaseModel]) -> str:
    """Description, header and keys of a table; all commented out if the header is."""
    off = head.startswith("#")
    keys = [_key(name, field, off) for name, field in model.model_fields.items() if not is_section(field.annotation)]
    return "\n".join([_commented((model.__doc__ or "").replace("`", "")), head, *keys, ""])


def _key(name: str, field: FieldInfo, off: bool) -> str:
    default = None if field.default is PydanticUndefined else field.default
    line = f"{name} = {as_toml(_plain(_extra(field).get('example') if default is None else default))}"
    return f"{_commented(_description(field))}\n{'#' if off or default is None else ''}{line}"


def _description(field: FieldInfo) -> str:
    parts = [
        words.format(f"{bound:.10g}")
        for one in field.metadata
        for name, words in _BOUNDS.items()
        if isinstance(bound := getattr(one, name, None), int | float)
    ]
    parts = [unit, *parts] if (unit := _extra(field).get("unit")) else parts
    return f"{field.description} [{', '.join(parts)}]" if parts else str(field.description)


def _commented(text: str) -> str:
    return textwrap.indent(textwrap.fill(text, _WIDTH), "# ")


def _extra(field: FieldInfo) -> dict[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
