"""Words that a run is found by: of what it is called, and of what it was given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from factory_runtime.domain.redaction import REDACTED, redact
from factory_runtime.domain.run import Run

LONGEST = 64
MOST = 32
"""Words of one run: those of its names come first, and then its inputs in their order."""

_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_WHOLE = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class RunWord:
    """A word, and when the run that it stands for was requested: lists go by that."""

    tenant_id: str
    word: str
    requested_at: datetime
    run_id: str


def words_of_run(run: Run) -> tuple[RunWord, ...]:
    """What the run is found by. Secrets in its inputs are no words, and large inputs have none."""
    names = (run.template_id, run.project_id, run.module_id, run.requested_by)
    texts = [name for name in names if name]
    given: Any = run.inputs.inline
    if isinstance(given, Mapping):
        inputs = cast("Mapping[str, Any]", redact(given))
        texts += [text for value in inputs.values() for text in _texts(value) if text != REDACTED]
    words = dict.fromkeys(word for text in texts for word in _words(text))
    return tuple(
        RunWord(run.tenant_id, word, run.requested_at, run.id) for word in list(words)[:MOST]
    )


def words_to_find(text: str) -> tuple[str, ...]:
    """The words of a search, the longest first: few runs have it, or fewer than the others."""
    whole = {part.casefold()[:LONGEST] for part in _WHOLE.findall(text)}
    return tuple(sorted(whole, key=lambda word: (-len(word), word)))[:MOST]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        yield from (one for one in cast("list[Any]", value) if isinstance(one, str))


def _words(text: str) -> Iterator[str]:
    """Each part as it stands, like ``order-service``, and its pieces."""
    for part in _WHOLE.findall(text[:_READ].casefold()):
        if len(part) <= LONGEST:
            yield part
        yield from (piece for piece in _WORD.findall(part) if len(piece) <= LONGEST)


_READ = 500
"""Characters of one text: prose has words enough in its first lines."""
