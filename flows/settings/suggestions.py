"""The valid name that an unknown key or variable most likely means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from pydantic import BaseModel

from flows.settings.environment import Keys
from flows.settings.sections import Watch


def known_keys(model: type[BaseModel], number: str = "0", at: Keys = ()) -> Iterator[Keys]:
    """All keys and sections except those of sources; keys of `[[watch]]` follow its number."""
    for name, field in model.model_fields.items():
        inner = Watch if (*at, name) == ("watch",) else field.annotation
        yield (*at, name)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
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
