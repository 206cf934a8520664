r"""Regular expressions that tenants write, matched in time that their size and the text's bound.

Python's own ``re`` goes back and tries again: ``^(a+)+$`` on forty characters does not end, and
stops every thread of the process. Patterns of JSON Schema are ECMA-262's; jsonschema-rs reads them
so, and has Rust's ``regex`` match them, an automaton that looks at each character once and never
goes back. It knows nothing that looks ahead or behind or refers back, since nothing could bound
that. ``$`` is the very end of the text; ``\d`` and ``\w`` are ASCII.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from jsonschema_rs import (
    Draft202012Validator,
    FancyRegexOptions,
    RegexOptions,
    ValidationError,
)

MAX_LENGTH = 1000
"""Characters that a pattern has."""
MAX_MATCH = 100_000
"""Steps of one match, which nothing can interrupt: about a third of a second."""
_SIZES = tuple(1024 * 4**power for power in range(6))
"""Bytes of the automaton, tried in turn; the last is the most that there may be."""
_BYTES_IN_STEP = 65536  # measured: an automaton of so many takes 3 µs for each character, at worst
_CACHE = 256 * 1024
_LINE_END = re.compile(r"(?P<kept>\\.|\[(?:\\.|[^\]\\])*\])|\(\?!(?:\\n|\n)\)\$", re.DOTALL)
_TIMES = re.compile(r"\{[0-9]+(?:,[0-9]*)?\}")
_AROUND = "it looks ahead or behind, or refers back"


class PatternError(ValueError):
    """A pattern that cannot be used; the message completes ``PATTERN …``.

    Attributes:
        hint: how to say it otherwise.
    """

    def __init__(self, why: str, hint: str | None = None) -> None:
        super().__init__(why)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern that was read.

    Attributes:
        size: bytes that its automaton has at most.
    """

    size: int
    _validator: Draft202012Validator

    def steps(self, text: str) -> int:
        """What a match costs at worst, in steps of some 3 µs."""
        return 1 + len(text) * self.size // _BYTES_IN_STEP

    def matches(self, text: str) -> bool:
        """Whether it is somewhere in the text.

        Raises:
            PatternError: the text is too long for it.
        """
        if self.steps(text) > MAX_MATCH:
            raise PatternError(f"cannot be looked for in {len(text)} characters", "give less")
        return self._validator.is_valid(text)


@lru_cache(maxsize=256)
def read_pattern(pattern: str) -> Pattern:
    """Read a pattern of a tenant's.

    Raises:
        PatternError: it is none, is too large, or asks for what takes time without end.
    """
    if len(pattern) > MAX_LENGTH:
        raise PatternError(f"is longer than {MAX_LENGTH} characters")
    plain = _LINE_END.sub(_plain_end, pattern)
    for size in _SIZES:
        options = RegexOptions(size_limit=size, dfa_size_limit=_CACHE)
        if (validator := _read(plain, options)) is not None:
            return Pattern(size, validator)
    raise _why_not(plain)


def _plain_end(found: re.Match[str]) -> str:
    r"""``$`` in place of ``(?!\n)$``, which means the same and is how to say it to Python, too."""
    return found["kept"] or "$"


def _read(pattern: str, options: RegexOptions | FancyRegexOptions) -> Draft202012Validator | None:
    try:
        return Draft202012Validator({"pattern": pattern}, pattern_options=options)
    except (ValidationError, ValueError):
        return None


def _why_not(pattern: str) -> PatternError:
    most = _SIZES[-1]
    if _read(pattern, FancyRegexOptions(size_limit=most)) is not None:
        hint = "say it with not or allOf and a pattern in each, or with enum"
        return PatternError(f"cannot be used: {_AROUND}", hint)
    if _read(_TIMES.sub("{1}", pattern), RegexOptions(size_limit=most)) is not None:
        return PatternError("is too large once its repeats are written out", "say maxLength")
    hint = "as JSON Schema has them, in JavaScript's spelling"
    return PatternError("is not a regular expression", hint)
