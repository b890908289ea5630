"""What the environment says of settings: `SLICKWATCH_<SECTION>__<KEY>`, and which file they are in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

PREFIX = "SLICKWATCH_"
CONFIG_VARIABLE = "SLICKWATCH_CONFIG"
LEDGER_VARIABLE = "SLICKWATCH_LEDGER"  # may hold a password
DEFAULT_FILE = Path("slickwatch.toml")
_TEXTS = (str, Path, object)  # object: options of sources, which take numbers as texts

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Override:
    """One variable: its name, the key it is for, and its value."""

    variable: str
    keys: Keys
    value: Any


class Environment(PydanticBaseSettingsSource):
    """The variables `SLICKWATCH_<SECTION>__<KEY>` as a source of settings; an empty one counts as not set.

    Numbers, true, false and lists are written as in JSON. pydantic-settings' own source is not used: it leaves out
    variables of no known section, and takes whole sections from variables such as SLICKWATCH_MODELS.
    """

    def __init__(self, settings: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(settings)
        self.overrides = tuple(_overrides(settings, environ))

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Part of the interface; `__call__` gives all values at once."""
        return self().get(field_name), field_name, True

    def __call__(self) -> dict[str, Any]:
        """The values, section by section."""
        values: dict[str, Any] = {}
        for override in self.overrides:
            table = values
            for key in override.keys[:-1]:
                table = table.setdefault(key, {})
            table[override.keys[-1]] = override.value
        return values


def variable(keys: Keys) -> str:
    """The variable that overrides a key."""
    return PREFIX + "__".join(keys).upper()


def is_key(model: type[BaseModel], keys: Keys) -> bool:
    """Whether there is such a key, which is neither a section nor in a list."""
    annotation = _annotation(model, keys)
    is_section = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation is not None and not is_section and get_origin(annotation) is not dict and keys != ("watch",)


def _annotation(model: type[BaseModel], keys: Keys) -> Any:
    """The annotation of a key or a section below a model; None where there is no such key."""
    annotation: Any = model
    for key in keys:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            field = annotation.model_fields.get(key)
            annotation = None if field is None else field.annotation
        else:
            annotation = get_args(annotation)[1] if get_origin(annotation) is dict else None
    return annotation


def _overrides(settings: type[BaseSettings], environ: Mapping[str, str]) -> Iterator[Override]:
    for name, text in sorted(environ.items()):
        section, divider, rest = name.removeprefix(PREFIX).partition("__")
        if name.startswith(PREFIX) and divider and text:
            keys = tuple(f"{section}__{rest}".lower().split("__"))
            yield Override(name, keys, _decoded(_annotation(settings, keys), text))


def _decoded(annotation: Any, text: str) -> Any:
    if any(kind in _TEXTS or get_origin(kind) is Literal for kind in _kinds(annotation)):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text  # and validation will say what it should be


def _kinds(annotation: Any) -> Iterator[Any]:
    """The members of a union, without their annotations."""
    if get_origin(annotation) is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _kinds(member)
    else:
        yield annotation
