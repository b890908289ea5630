"""The pages of the service, from its templates; every value in them is escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment
from starlette.requests import Request

from outputs.templates import page_templates

Address = Callable[[Request], str]  # where the client of a request finds the service, without a slash at the end


def render(template: str, values: Mapping[str, Any]) -> str:
    """The page that a template makes of values."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    made = page_templates(Path(__file__).with_name("templates"))
    made.filters["cell"] = _cell
    return made


def _cell(value: Any) -> str:
    """A value as people read it; times to the second."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.0f}"
    text = str(value)
    is_time = len(text) == 24 and text[10] == "T" and text.endswith("Z")
    return f"{text[:10]} {text[11:19]}" if is_time else text
