"""Unknown keys and variables, and the valid name that is nearest to each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from pydantic import BaseModel

from flows.settings.environment import Keys
from flows.settings.sections import Watch


def known_keys(model: type[BaseModel], number: str = "0", at: Keys = ()) -> Iterator[Keys]:
    """The keys of all settings and sections but those of sources; those of a watch stand below its number."""
    for name, field in model.model_fields.items():
        inner = Watch if (*at, name) == ("watch",) else field.annotation
        yield (*at, name)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from known_keys(inner, number, ("watch", number) if inner is Watch else (*at, name))


def nearest(keys: Keys, known: Sequence[Keys]) -> Keys | None:
    """A similar key of the section, else its namesake in another; of a section that there is not, the likest of all."""
    siblings = [one for one in known if one[:-1] == keys[:-1]]
    if close := _close(keys, siblings):
        return close
    # A watch has keys of the names of others', and is meant only by those who write [[watch]].
    others = [one for one in known if len(one) > 1 and (one[0] != "watch" or keys[0] == "watch")]
    namesakes = [one for one in others if one[-1] == keys[-1]]
    return _close(keys, namesakes, cutoff=0.0) or (None if siblings else _close(keys, others))


def _close(keys: Keys, candidates: Sequence[Keys], cutoff: float = 0.6) -> Keys | None:
    shared = len(keys) - 1 if candidates and all(one[:-1] == keys[:-1] for one in candidates) else 0
    by_text = {".".join(one[shared:]): one for one in candidates}
    close = get_close_matches(".".join(keys[shared:]), by_text, 1, cutoff)
    return by_text[close[0]] if close else None
