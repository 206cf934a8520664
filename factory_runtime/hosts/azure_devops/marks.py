"""How what we make there is told from all else: by marks of a tenant and an effect key."""

from __future__ import annotations

import hashlib

_PREFIX = "factory-"


def mark_of(tenant_id: str, effect_key: str) -> str:
    """The mark of an effect: short, always the same, of letters, digits and hyphens alone."""
    return f"{tenant_mark(tenant_id)}{_digest(effect_key)[:20]}"


def tenant_mark(tenant_id: str) -> str:
    """What all marks of a tenant begin with."""
    return f"{_PREFIX}{_digest(tenant_id)[:8]}-"


def is_mark(text: str) -> bool:
    """Whether it may be a mark, of whomever."""
    return text.startswith(_PREFIX)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
