"""The settings: one file, overridden by the environment; docs/operator/settings.md."""

from __future__ import annotations

from flows.settings.settings import Settings

__all__ = ["Settings"]
