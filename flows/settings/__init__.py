"""The settings of everything that runs by itself: one file, with the environment above it; docs/operator/settings.md."""

from __future__ import annotations

from flows.settings.file import Settings

__all__ = ["Settings"]
