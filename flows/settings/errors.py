"""What is refused in settings, and in which words: one line with the key, what is wrong with it and what to do."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from flows.settings.display import leaves
from flows.settings.environment import Keys, Override, is_key, variable
from flows.settings.kinds import SECRET, placed, url_password, url_secret
from flows.settings.nearest import known_keys, nearest
from flows.settings.origins import Origins
from ingest.credentials import SERVICES
from ingest.errors import UsageError
from ingest.sources.kinds import SOURCES

if TYPE_CHECKING:
    from flows.settings.file import Settings

_EXAMPLE = "see slickwatch settings example"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def refuse_unknown_variables(settings: type[BaseModel], overrides: Iterable[Override]) -> None:
    """Raise `UsageError` for a variable of the form SLICKWATCH_<SECTION>__<KEY> that is for no key."""
    for override in overrides:
        keys, name = override.keys, override.variable
        if is_key(settings, keys):
            continue
        if SECRET.search(keys[-1]):
            raise UsageError(name, "is a secret, and secrets are not among the settings", where_secrets_go(keys))
        if keys[0] == "watch":
            raise UsageError(name, "unknown", "set what is watched in the file, under [[watch]]")
        near = nearest(keys, [one for one in known_keys(settings) if is_key(settings, one)])
        raise UsageError(name, "unknown", f"did you mean {variable(near)}?" if near else _EXAMPLE)


def refuse_secrets(file: dict[str, Any], environment: dict[str, Any], origins: Origins) -> None:
    """Raise `UsageError` for a password or a token in an address; its value is quoted nowhere."""
    for table, is_secret in ((environment, url_password), (file, url_secret)):
        for keys, value in leaves(table):
            if any(is_secret(text) for text in _texts(value)):
                raise origins.refusal(keys, "holds a secret in its address", where_secrets_go(keys))


def first_refusal(settings: type[BaseModel], error: ValidationError, origins: Origins) -> UsageError:
    """The first unknown key, else the first value that cannot be, as the one line that says so."""
    errors = error.errors(include_input=False, include_url=False, include_context=False)
    told = min(errors, key=lambda one: one["type"] != "extra_forbidden")
    keys = tuple(str(part) for part in told["loc"] if part != "[key]")
    if told["type"] == "extra_forbidden":
        # Of a section that there is not, the first key that it was given.
        given = next((one for one in origins.in_file if one[: len(keys)] == keys), keys)
        number = given[1] if given[0] == "watch" and len(given) > 2 else "0"
        return _unknown(given, list(known_keys(settings, number)), origins)
    if told["type"] == "missing":
        return origins.refusal(keys, "is missing", "add it")
    if told["type"] in {"model_type", "dict_type"}:
        return origins.refusal(keys, f"should be a section: [{'.'.join(keys)}]", _EXAMPLE)
    if keys == ("watch",):
        return origins.refusal(keys, "should be a list: [[watch]], in double brackets", _EXAMPLE)
    problem = told["msg"].removeprefix("Value error, ").removeprefix("Input ").replace("valid tuple", "list")
    return origins.refusal(keys, problem[0].lower() + problem[1:], _EXAMPLE)


def with_sources_checked(settings: Settings, origins: Origins) -> Settings:
    """The settings with the folders of sources in their place; raises `UsageError` as `Settings.read` does."""
    sources = {name: _source(name, options, origins) for name, options in settings.sources.items()}
    for number, watch in enumerate(settings.watch):
        if watch.source not in sources:
            problem = f"watch {watch.name!r} is of a source {watch.source!r} that there is not"
            raise origins.refusal(("watch", str(number), "source"), problem, f"add [sources.{watch.source}]")
        if watch.name in [other.name for other in settings.watch[:number]]:
            problem = f"two watches bear the name {watch.name!r}"
            raise origins.refusal(("watch", str(number), "name"), problem, "give each its own")
    return settings.model_copy(update={"sources": sources})


def where_secrets_go(keys: Keys) -> str:
    """What to do with a secret that stands where settings do."""
    if keys[:2] == ("alerts", "webhooks"):
        return f"set {variable(keys[:2])} in the environment"
    if keys[0] == "alerts":
        return "set SLICKWATCH_SMTP_PASSWORD in the environment; docs/operator/settings.md"
    if keys[0] == "sources" and len(keys) > 1 and keys[1] in SERVICES:
        return f"set {SERVICES[keys[1]].variables[1]} in the environment; docs/operator/sources.md"
    if keys[:2] == ("scenes", "ledger"):
        return "set PGPASSWORD, or the whole address in SLICKWATCH_LEDGER; docs/operator/ledger.md"
    if keys[0] == "prefect":
        return "set PGPASSWORD, or write it into ~/.pgpass; docs/operator/settings.md"
    return "give it in the environment; docs/operator/settings.md"


def _source(name: str, options: Mapping[str, object], origins: Origins) -> dict[str, object]:
    """A source's options, checked by name; what their values mean is for the source to say."""
    at = ("sources", name)
    kind = str(options.get("kind", name))
    if kind not in SOURCES:
        problem, remedy = f"{kind!r} is no kind of source", f"set kind to one of {', '.join(SOURCES)}"
        raise origins.refusal((*at, "kind"), problem, remedy)
    parameters = inspect.signature(SOURCES[kind]).parameters
    for option in options:
        if option not in {"kind", *parameters}:
            raise _unknown((*at, option), [(*at, known) for known in parameters], origins)
    for option, parameter in parameters.items():
        if parameter.default is parameter.empty and options.get(option) in (None, ""):
            raise origins.refusal((*at, option), "is missing", "add it; docs/operator/sources.md")
    token = options.get("token_variable")
    if token is not None and not _VARIABLE.fullmatch(str(token)):  # most likely the token itself
        raise origins.refusal((*at, "token_variable"), "is no variable's name", "give the name of one, not a token")
    return {option: str(placed(Path(str(value)))) if option == "folder" else value for option, value in options.items()}


def _unknown(keys: Keys, known: Sequence[Keys], origins: Origins) -> UsageError:
    if SECRET.search(keys[-1]):
        problem = "is a secret, and secrets are not among the settings"
        return origins.refusal(keys, problem, where_secrets_go(keys))
    near = nearest(keys, known)
    if near is None:
        return origins.refusal(keys, "unknown", _EXAMPLE)
    word = variable(near) if origins.variable(keys) else ".".join(near)
    return origins.refusal(keys, "unknown", f"did you mean {word}?")


def _texts(value: Any) -> list[str]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
