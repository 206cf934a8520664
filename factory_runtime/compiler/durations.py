"""Durations as templates write them."""

from __future__ import annotations

from factory_runtime.domain.durations import DURATION_HINT, parse_duration

__all__ = ["DURATION_HINT", "parse_duration"]
