r"""Regular expressions that tenants write, matched in time that their size and the text's bound.

Python's own ``re`` goes back and tries again: ``^(a+)+$`` on forty characters does not end, and
stops every thread of the process. Patterns of JSON Schema are ECMA-262's; jsonschema-rs reads them
so, and has Rust's ``regex`` match them, an automaton that looks at each character once and never
goes back. It knows nothing that looks ahead or behind or refers back, since nothing could bound
that. ``$`` is the very end of the text; ``\d`` and ``\w`` are ASCII.

A pattern has two sizes. One is what it holds in memory, most of it the ranges of the characters in
its classes. The other is that of its shape, each class written as one letter: how many places of
it can be alive at one time, which is what a character of text costs at worst.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from jsonschema_rs import (
    Draft202012Validator,
    FancyRegexOptions,
    RegexOptions,
    ValidationError,
)

from factory_runtime.compiler.pattern_spelling import SpellingError, once_each, shape_of, spelled

MAX_LENGTH = 1000
"""Characters that a pattern has."""
MAX_MATCH = 100_000
"""Steps of one match, which nothing can interrupt: some half a second."""
_LEAST_SIZE = 64 * 1024
MAX_SIZE = 16 * 1024 * 1024
"""Bytes that a pattern holds."""
MAX_SHAPE = 1024 * 1024
"""Bytes of its shape."""
MAX_KEPT = 64 * 1024 * 1024
"""Bytes of the patterns that are kept for whoever asks next."""
# Measured: a shape of so many takes 3 µs for each byte of text, at worst, and 6 µs with \p{L}.
_SHAPE_IN_STEP = 16384
_SIZE_IN_STEP = 128  # measured: reading so many takes 3 µs
_CLOSER = 4  # halvings: the size of a shape is known to a sixteenth
_CACHE = 256 * 1024
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
        size: bytes that it holds at most.
        shape: bytes of its shape at most.
    """

    size: int
    shape: int
    _validator: Draft202012Validator

    @property
    def steps_of_reading(self) -> int:
        """What reading it costs at worst, in steps of some 3 µs."""
        return self.size // _SIZE_IN_STEP

    def steps(self, text: str) -> int:
        """What a match costs at worst, in steps of some 3 µs."""
        size = len(text) if text.isascii() else 4 * len(text)
        return 1 + size * self.shape // _SHAPE_IN_STEP

    def matches(self, text: str) -> bool:
        """Whether it is somewhere in the text.

        Raises:
            PatternError: the text is too long for it.
        """
        if self.steps(text) > MAX_MATCH:
            raise PatternError(f"cannot be looked for in {len(text)} characters", "give less")
        return self._validator.is_valid(text)


class KeptPatterns:
    """The patterns asked for last, as many as fit. Threads may share it.

    They are not kept with the validators of their schemas: nothing would bound them together.
    """

    def __init__(self, most: int) -> None:
        self._left = most
        self._patterns: OrderedDict[str, Pattern] = OrderedDict()
        self._lock = Lock()

    def get(self, pattern: str) -> Pattern:
        """The pattern, read if it is not there.

        Raises:
            PatternError: it cannot be used.
        """
        with self._lock:
            if (known := self._patterns.get(pattern)) is not None:
                self._patterns.move_to_end(pattern)
                return known
        # Outside the lock: nobody waits for another's large pattern.
        read = _read_pattern(pattern)
        with self._lock:
            if pattern not in self._patterns:
                self._patterns[pattern] = read
                self._left -= read.size
            while self._left < 0:
                _, gone = self._patterns.popitem(last=False)
                self._left += gone.size
        return read


_KEPT = KeptPatterns(MAX_KEPT)


def read_pattern(pattern: str) -> Pattern:
    """Read a pattern of a tenant's.

    Raises:
        PatternError: it is none, is too large, or asks for what takes time without end.
    """
    return _KEPT.get(pattern)


def _read_pattern(pattern: str) -> Pattern:
    if len(pattern) > MAX_LENGTH:
        raise PatternError(f"is longer than {MAX_LENGTH} characters")
    try:
        plain, shape = spelled(pattern), shape_of(pattern)
    except SpellingError:
        raise _no_expression() from None
    shape_size = _shape_size(shape)
    size = _LEAST_SIZE
    while shape_size is not None and size <= MAX_SIZE:
        if (validator := _read(plain, _options(size))) is not None:
            return Pattern(size, shape_size, validator)
        size *= 2
    raise _why_not(plain, once_each(pattern))


def _shape_size(shape: str) -> int | None:
    size = 512
    while _read(shape, _options(size)) is None:
        size *= 2
        if size > MAX_SHAPE:
            return None
    less = size // 2
    for _ in range(_CLOSER):
        between = (less + size) // 2
        if _read(shape, _options(between)) is None:
            less = between
        else:
            size = between
    return size


def _options(size: int) -> RegexOptions:
    return RegexOptions(size_limit=size, dfa_size_limit=_CACHE)


def _read(pattern: str, options: RegexOptions | FancyRegexOptions) -> Draft202012Validator | None:
    try:
        return Draft202012Validator({"pattern": pattern}, pattern_options=options)
    except (ValidationError, ValueError):
        return None


def _why_not(pattern: str, without_repeats: str) -> PatternError:
    if _read(without_repeats, _options(MAX_SHAPE)) is not None:
        return PatternError("is too large once its repeats are written out", "say maxLength")
    if _read(pattern, FancyRegexOptions(size_limit=MAX_SHAPE)) is not None:
        hint = "say it with not or allOf and a pattern in each, or with enum"
        return PatternError(f"cannot be used: {_AROUND}", hint)
    return _no_expression()


def _no_expression() -> PatternError:
    hint = "as JSON Schema has them, in JavaScript's spelling"
    return PatternError("is not a regular expression", hint)
