"""What an effect is called."""

from __future__ import annotations

from factory_runtime.domain.records import Effect


def effect_name(effect: Effect) -> str:
    """Names one effect to people, and as a cursor."""
    return f"{effect.effect_key}:{effect.kind}"
