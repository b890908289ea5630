"""How much worse than the champion a challenger may be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Margins:
    """How much worse the challenger may be."""

    miou: float = 0.01  # lower
    object_f1: float = 0.02  # lower
    false_alarms: float = 0.1  # more per image
