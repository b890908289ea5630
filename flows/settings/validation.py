"""Validation of settings: unknown keys with a suggestion, secrets, invalid values and sources, a line each."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from flows.settings.environment import Keys, Override, is_key, is_section, variable
from flows.settings.field_types import absolute
from flows.settings.provenance import Provenance, leaves
from flows.settings.secret_values import SECRET_NAME, has_password, has_secret, secret_remedy
from flows.settings.sections import Watch
from ingest.errors import UsageError
from ingest.sources.kinds import SOURCES

_EXAMPLE = "see slickwatch settings example"
_IS_SECRET = "is a secret, which must not be in the settings"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_variables(model: type[BaseModel], overrides: Iterable[Override]) -> None:
    """Raise `UsageError` for a variable of the form SLICKWATCH_<SECTION>__<KEY> without such a key."""
    for override in overrides:
        keys, name = override.keys, override.variable
        if is_key(model, keys):
            continue
        if SECRET_NAME.search(keys[-1]):
            raise UsageError(name, _IS_SECRET, secret_remedy(keys))
        if keys[0] == "watch":
            raise UsageError(name, "unknown", "use [[watch]] in the settings file instead")
        match = closest(keys, [one for one in known_keys(model) if is_key(model, one)])
        raise UsageError(name, "unknown", f"did you mean {variable(match)}?" if match else _EXAMPLE)


def check_secrets(file: dict[str, Any], environment: dict[str, Any], provenance: Provenance) -> None:
    """Raise `UsageError`, without quoting the value, for a URL that contains a password or a token."""
    for table, is_secret in ((environment, has_password), (file, has_secret)):
        for keys, value in leaves(table):
            if any(is_secret(text) for text in _texts(value)):
                raise provenance.error(keys, "URL contains a secret", secret_remedy(keys))


def first_error(model: type[BaseModel], error: ValidationError, provenance: Provenance) -> UsageError:
    """The first unknown key, else the first invalid value."""
    errors = error.errors(include_input=False, include_url=False, include_context=False)
    first = min(errors, key=lambda one: one["type"] != "extra_forbidden")
    keys = tuple(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] == "extra_forbidden":
        # Of an unknown section, the first key in it.
        given = next((one for one in provenance.in_file if one[: len(keys)] == keys), keys)
        number = given[1] if given[0] == "watch" and len(given) > 2 else "0"
        return _unknown(given, list(known_keys(model, number)), provenance)
    if first["type"] == "missing":
        return provenance.error(keys, "is missing", "add it")
    if first["type"] in {"model_type", "dict_type"}:
        return provenance.error(keys, f"should be a section: [{'.'.join(keys)}]", _EXAMPLE)
    if keys == ("watch",):
        return provenance.error(keys, "should be a list: [[watch]], in double brackets", _EXAMPLE)
    problem = first["msg"].removeprefix("Value error, ").removeprefix("Input ").replace("valid tuple", "list")
    return provenance.error(keys, problem[0].lower() + problem[1:], _EXAMPLE)


def check_watches(watches: Sequence[Watch], sources: Mapping[str, object], provenance: Provenance) -> None:
    """Raise `UsageError` for a watch of an unknown source, or with the name of another watch."""
    names: set[str] = set()
    for number, watch in enumerate(watches):
        at = ("watch", str(number))
        if watch.source not in sources:
            problem = f"no source named {watch.source!r}"
            raise provenance.error((*at, "source"), problem, f"add [sources.{watch.source}]")
        if watch.name in names:
            problem = f"duplicate watch name {watch.name!r}"
            raise provenance.error((*at, "name"), problem, "give each watch its own name")
        names.add(watch.name)


def checked_source(name: str, options: Mapping[str, object], provenance: Provenance) -> dict[str, object]:
    """The options of a source with an absolute `folder`; raises `UsageError` for unknown and missing options.

    The source itself checks their values when it is opened.
    """
    at = ("sources", name)
    kind = str(options.get("kind", name))
    if kind not in SOURCES:
        raise provenance.error((*at, "kind"), f"unknown kind {kind!r}", f"use one of {', '.join(SOURCES)}")
    parameters = inspect.signature(SOURCES[kind]).parameters
    for option in options:
        if option not in {"kind", *parameters}:
            raise _unknown((*at, option), [(*at, known) for known in parameters], provenance)
    for option, parameter in parameters.items():
        if parameter.default is parameter.empty and options.get(option) in (None, ""):
            raise provenance.error((*at, option), "is missing", "add it; docs/operator/sources.md")
    token = options.get("token_variable")
    if token is not None and not _VARIABLE.fullmatch(str(token)):  # most likely the token itself
        remedy = "give the name of an environment variable, not a token"
        raise provenance.error((*at, "token_variable"), "is not a variable name", remedy)
    return {
        option: str(absolute(Path(str(value)))) if option == "folder" else value for option, value in options.items()
    }


def _unknown(keys: Keys, known: Sequence[Keys], provenance: Provenance) -> UsageError:
    if SECRET_NAME.search(keys[-1]):
        return provenance.error(keys, _IS_SECRET, secret_remedy(keys))
    match = closest(keys, known)
    if match is None:
        return provenance.error(keys, "unknown", _EXAMPLE)
    name = variable(match) if provenance.variable(keys) else ".".join(match)
    return provenance.error(keys, "unknown", f"did you mean {name}?")


def _texts(value: Any) -> list[str]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def known_keys(model: type[BaseModel], number: str = "0", at: Keys = ()) -> Iterator[Keys]:
    """All keys and sections except those of sources; keys of `[[watch]]` follow its number."""
    for name, field in model.model_fields.items():
        inner = Watch if (*at, name) == ("watch",) else field.annotation
        yield (*at, name)
        if is_section(inner):
            yield from known_keys(inner, number, ("watch", number) if inner is Watch else (*at, name))


def closest(keys: Keys, known: Sequence[Keys]) -> Keys | None:
    """A similar key of the same section, else the same key of another section, else a similar key anywhere.

    The last is tried for unknown sections only.
    """
    siblings = [one for one in known if one[:-1] == keys[:-1]]
    if match := _closest_text(keys, siblings):
        return match
    # A watch shares key names with other sections, and is suggested only inside [[watch]].
    others = [one for one in known if len(one) > 1 and (one[0] != "watch" or keys[0] == "watch")]
    namesakes = [one for one in others if one[-1] == keys[-1]]
    return _closest_text(keys, namesakes, cutoff=0.0) or (None if siblings else _closest_text(keys, others))


def _closest_text(keys: Keys, candidates: Sequence[Keys], cutoff: float = 0.6) -> Keys | None:
    shared = len(keys) - 1 if candidates and all(one[:-1] == keys[:-1] for one in candidates) else 0
    by_text = {".".join(one[shared:]): one for one in candidates}
    matches = get_close_matches(".".join(keys[shared:]), by_text, 1, cutoff)
    return by_text[matches[0]] if matches else None
