"""The commented example: every key with what it says, its unit, its bounds and its default."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from flows.settings.display import as_toml
from flows.settings.environment import Keys
from flows.settings.file import Settings
from flows.settings.sections import Watch

_WIDTH = 112
_BOUNDS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}
_HEAD = """\
# Settings of Slickwatch, with their defaults: slickwatch.toml, or the file that --config or $SLICKWATCH_CONFIG names.
# Lines that begin with # and no blank are off. Relative places are in the folder of this file.
# SLICKWATCH_<SECTION>__<KEY> in the environment goes before what is here. Passwords and tokens are never here.
# slickwatch settings check says what is wrong; slickwatch settings show says what holds, and why.
"""
_SOURCES = """\
# Where scenes come from, and by what: options and credentials are in docs/operator/sources.md.

#[sources.inbox]
#folder = "inbox"

#[sources.cdse]
"""


def example() -> str:
    """A settings file that says what the defaults say; its lines that are off are an example as well."""
    return "\n".join([_HEAD, *_sections(Settings, ())])


def _sections(model: type[BaseModel], at: Keys) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if (*at, name) == ("sources",):
            yield _SOURCES
        elif (*at, name) == ("watch",):
            yield _section("#[[watch]]", Watch)
        elif _is_section(inner):
            yield _section(f"[{'.'.join((*at, name))}]", inner)
            yield from _sections(inner, (*at, name))


def _section(head: str, model: type[BaseModel]) -> str:
    """A table: what it is, its head, and its keys; all keys are off where the head is."""
    off = head.startswith("#")
    keys = [_key(name, field, off) for name, field in model.model_fields.items() if not _is_section(field.annotation)]
    return "\n".join([_commented((model.__doc__ or "").replace("`", "")), head, *keys, ""])


def _key(name: str, field: FieldInfo, off: bool) -> str:
    default = None if field.default is PydanticUndefined else field.default
    line = f"{name} = {as_toml(_plain(_more(field).get('example') if default is None else default))}"
    return f"{_commented(_told(field))}\n{'#' if off or default is None else ''}{line}"


def _told(field: FieldInfo) -> str:
    parts = [
        words.format(f"{bound:.10g}")
        for one in field.metadata
        for name, words in _BOUNDS.items()
        if isinstance(bound := getattr(one, name, None), int | float)
    ]
    parts = [unit, *parts] if (unit := _more(field).get("unit")) else parts
    return f"{field.description} [{', '.join(parts)}]" if parts else str(field.description)


def _commented(text: str) -> str:
    return textwrap.indent(textwrap.fill(text, _WIDTH), "# ")


def _more(field: FieldInfo) -> dict[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value


def _is_section(annotation: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
