"""Takes what looks like a secret out of values and text, before they are kept or shown.

A guess by name and by shape, on the safe side: better a digest lost than a password kept. It is
no licence to pass secrets as inputs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

REDACTED = "(redacted)"
"""Square brackets or asterisks would be markup to a terminal or a Markdown page."""
MAX_DEPTH = 32

_SECRET_WORDS = frozenset(
    [
        "password",
        "passwords",
        "passwd",
        "passphrase",
        "pwd",
        "pass",
        "secret",
        "secrets",
        "token",
        "tokens",
        "credential",
        "credentials",
        "authorization",
        "cookie",
        "cookies",
        "apikey",
        "accesskey",
        "secretkey",
        "privatekey",
    ]
)
_KEY_WORDS = frozenset({"key", "keys"})
_OPEN_KEYS = frozenset(
    [
        "primary",
        "foreign",
        "partition",
        "sort",
        "public",
        "idempotency",
        "routing",
        "row",
        "cache",
        "item",
        "natural",
        "composite",
        "shard",
        "map",
        "dictionary",
    ]
)
_SHAPES = re.compile(
    "|".join(
        (
            r"-----BEGIN [^-\n]{1,64}-----.*?(?:-----END [^-\n]{1,64}-----|\Z)",
            r"\bgh[a-z]_[A-Za-z0-9]{20,}",
            r"\bgithub_pat_\w{20,}",
            r"\bglpat-[\w-]{16,}",
            r"\bxox[a-z]-[\w-]{10,}",
            r"\b(?:sk|pk|rk)[-_][\w-]{16,}",
            r"\bnpm_[A-Za-z0-9]{20,}",
            r"\bpypi-[\w-]{16,}",
            r"\bAIza[\w-]{30,}",
            r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA)[A-Z0-9]{12,}",
            r"\beyJ[\w-]{5,}\.[\w-]{2,}(?:\.[\w-]*)*",
        )
    ),
    re.DOTALL,
)
_CREDENTIALS_IN_URL = re.compile(
    # ``://host:80/…`` is a port, everything else between colon and @ is a password.
    r"(?<=://)(?:[^\s/:@]{0,256}:(?!\d{1,5}(?:[/?#\s]|$))\S{1,512}|[^\s/:@]{16,512})@"
)
_NAMED = re.compile(
    r"((?:authorization|(?:account|access|api|private|shared|secret|storage)[_ -]?key"
    r"|pass(?:word|wd|phrase)|pwd|secret|token|credentials?|\bsig)[\w-]{0,40}[\"']?"
    r"(?:\s{0,3}(?:=|:)\s{0,3}|(?<=--password)\s+|(?<=--token)\s+))"
    r"(?:(?:bearer|basic)\s+)?(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s\"';,&]+)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer\s+)[\w.~+/=-]{16,}", re.IGNORECASE)
_SHORTEST = 24
_LONG = re.compile(rf"[A-Za-z0-9+/_=-]{{{_SHORTEST},}}")
_HARMLESS = re.compile(
    r"(?<![A-Za-z0-9+_=-])"
    r"(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[a-z-]{1,16}-[0-7][0-9a-hjkmnp-tv-z]{25})"
    r"(?![A-Za-z0-9+_=-])"
)
_KEY_MATERIAL = re.compile(
    # Hexadecimal, base 32, and the length of an AWS secret key.
    r"[0-9a-fA-F]{32,}|[A-Z0-9]{24,}|(?=.*[a-z])(?=.*[A-Z])[A-Za-z0-9/+]{40}"
)
_RANDOM_RUN = 3.6
"""Random text changes class after fewer characters than this, words after more."""


def redact(value: Any, *, depth: int = 0) -> Any:
    """A JSON value without what looks like a secret: by the key it stands under, or by its shape.

    Mappings and sequences become dicts and lists; what lies deeper than ``MAX_DEPTH`` is left out.
    """
    if isinstance(value, str):
        return redact_text(value)
    if depth >= MAX_DEPTH and isinstance(value, Mapping | Sequence):
        return REDACTED
    if isinstance(value, Mapping):
        items = cast(Mapping[Any, Any], value).items()
        return {
            redact_text(str(key)): _under(str(key), inner, depth=depth + 1) for key, inner in items
        }
    if isinstance(value, Sequence):
        return [redact(inner, depth=depth + 1) for inner in cast(Sequence[Any], value)]
    return value


def redact_text(text: str) -> str:
    """The text without what looks like a secret in it."""
    text = _SHAPES.sub(REDACTED, text)
    text = _CREDENTIALS_IN_URL.sub(f"{REDACTED}@", text)
    text = _NAMED.sub(rf"\1{REDACTED}", text)
    text = _BEARER.sub(rf"\1{REDACTED}", text)
    return _LONG.sub(lambda match: REDACTED if _is_random(match[0]) else match[0], text)


def is_secret_key(key: str) -> bool:
    """Whether a value under this key is a secret by its name: ``db_password``, ``apiKey``."""
    words = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", key)
    lower = [word.lower() for word in words]
    if not _SECRET_WORDS.isdisjoint(lower):
        return True
    return not _KEY_WORDS.isdisjoint(lower) and _OPEN_KEYS.isdisjoint(lower)


def _under(key: str, value: Any, *, depth: int) -> Any:
    # A flag like ``rotate_secrets: true`` tells nothing.
    if is_secret_key(key) and value is not None and not isinstance(value, bool):
        return REDACTED
    return redact(value, depth=depth)


def _is_random(text: str) -> bool:
    """Words keep to one class of letters for a while; what a generator made does not."""
    text = _HARMLESS.sub("", text)  # the id of a run may stand in a path
    if len(text) < _SHORTEST or not any(c.isdigit() for c in text):
        return False
    if _KEY_MATERIAL.fullmatch(text):
        return True
    segments = re.findall(r"[A-Za-z0-9]+", text)
    runs = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+", text)
    # A path breaks at its slashes, a name at its hyphens: only breaks between letters tell.
    breaks = len(runs) - len(segments)
    return sum(map(len, segments)) < _RANDOM_RUN * (breaks + 1)
