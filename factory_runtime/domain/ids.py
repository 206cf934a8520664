"""Ids and keys: how things are named in the store and outside of it."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from ulid import ULID

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
"""What may stand in keys, URLs and file names alike: tenants, projects, item keys."""


def new_id(prefix: str) -> str:
    """A fresh id that sorts by time, like ``run-01k…`` (26 lower-case base-32 characters)."""
    return f"{prefix}-{str(ULID()).lower()}"


def attempt_key(run_id: str, step: str, attempt: int) -> str:
    """Names one try of a job; unique in the store, so a message delivered twice runs once."""
    return f"{run_id}:{step}:{attempt}"


def effect_key(run_id: str, step: str) -> str:
    """Names whatever a job makes outside; the same in every attempt."""
    return f"{run_id}:{step}"


def is_slug(text: str) -> bool:
    """Whether the text is safe in a key, a URL and a file name."""
    return SLUG.fullmatch(text) is not None


def canonical_json(value: Any) -> str:
    """The one spelling of a JSON value: sorted keys, no spaces, ASCII (it takes any text)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
