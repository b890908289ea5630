"""A model's description as text for people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

_WIDTH = 120


def model_text(description: Mapping[str, Any]) -> str:
    """A line for each known fact of what `describe_model` returns, wrapped; then one for each promotion."""
    registry = dict(description.get("registry", {}))
    promotions = registry.pop("promotions", [])
    facts = [*_facts({**description, "registry": registry})]
    facts += [("promoted", f"{one['at'][:19]}Z by {one['by']}: {one['reason']}") for one in promotions]
    width = max(len(name) for name, _ in facts)
    return "\n".join(_wrapped(name, words, width) for name, words in facts)


def _facts(values: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Names and words; a mapping of plain values is one fact, and one of mappings a fact for each of these."""
    plain = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
    if within and plain:
        known = [f"{_spaced(name)} {_words(value)}" for name, value in plain.items() if _is_known(value)]
        if known:
            yield within, ", ".join(known)
    elif plain:
        yield from ((_spaced(name), _words(value)) for name, value in plain.items() if _is_known(value))
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _facts(value, f"{within} {_spaced(name)}".lstrip())


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        separator = "/" if all(isinstance(one, int) for one in value) else ", "
        return separator.join(map(_words, value))
    return " ".join(str(value).split())


def _is_known(value: Any) -> bool:
    return value is not None and value not in ([], (), "")


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _wrapped(name: str, words: str, width: int) -> str:
    indent = " " * (width + 2)
    return textwrap.fill(
        words, max(_WIDTH, width + 60), initial_indent=f"{name:<{width}}  ", subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
