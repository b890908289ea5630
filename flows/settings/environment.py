"""Settings in environment variables `SLICKWATCH_<SECTION>__<KEY>`, and the variable that names the settings file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel

PREFIX = "SLICKWATCH_"
CONFIG_VARIABLE = "SLICKWATCH_CONFIG"
LEDGER_VARIABLE = "SLICKWATCH_LEDGER"
DEFAULT_FILE = Path("slickwatch.toml")
_TEXT_TYPES = (str, Path, object)  # object: options of sources, which accept numbers as text

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Override:
    """A variable, the key it sets, and the value."""

    variable: str
    keys: Keys
    value: Any


def read_overrides(model: type[BaseModel], environ: Mapping[str, str]) -> tuple[Override, ...]:
    """All variables of the form `SLICKWATCH_<SECTION>__<KEY>`, unknown ones included; empty ones count as not set.

    Numbers, true, false and lists are written as in JSON.
    """
    overrides = []
    for name, text in sorted(environ.items()):
        section, divider, rest = name.removeprefix(PREFIX).partition("__")
        if name.startswith(PREFIX) and divider and text:
            keys = tuple(f"{section}__{rest}".lower().split("__"))
            overrides.append(Override(name, keys, _decoded(_annotation(model, keys), text)))
    return tuple(overrides)


def as_tables(overrides: Sequence[Override]) -> dict[str, Any]:
    """The values as nested tables."""
    tables: dict[str, Any] = {}
    for override in overrides:
        table = tables
        for key in override.keys[:-1]:
            table = table.setdefault(key, {})
        table[override.keys[-1]] = override.value
    return tables


def variable(keys: Keys) -> str:
    """The variable that sets a key."""
    return PREFIX + "__".join(keys).upper()


def is_section(annotation: object) -> TypeGuard[type[BaseModel]]:
    """Whether a field of this type is a section."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def is_key(model: type[BaseModel], keys: Keys) -> bool:
    """Whether this is a key that a variable can set: not a section, not part of a list."""
    annotation = _annotation(model, keys)
    return (
        annotation is not None
        and not is_section(annotation)
        and get_origin(annotation) is not dict
        and keys != ("watch",)
    )


def _annotation(model: type[BaseModel], keys: Keys) -> Any:
    """The type of a key or section; None if there is none of that name."""
    annotation: Any = model
    for key in keys:
        if is_section(annotation):
            field = annotation.model_fields.get(key)
            annotation = None if field is None else field.annotation
        else:
            annotation = get_args(annotation)[1] if get_origin(annotation) is dict else None
    return annotation


def _decoded(annotation: Any, text: str) -> Any:
    if any(member in _TEXT_TYPES or get_origin(member) is Literal for member in _union_members(annotation)):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text  # validation reports the expected type


def _union_members(annotation: Any) -> Iterator[Any]:
    """The members of a union, without `Annotated`."""
    if get_origin(annotation) is Annotated:
        yield from _union_members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _union_members(member)
    else:
        yield annotation
