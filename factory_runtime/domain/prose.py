"""What a language model is told of a memory, and what is kept of its answer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from factory_runtime.domain.memory import Kind, Memory
from factory_runtime.domain.memory_text import cut, one_line
from factory_runtime.domain.redaction import redact_text

WRITTEN_ABOUT = (Kind.RUN, Kind.FAILURE)
"""The others are texts that people or templates have put well already."""

MAX_PROSE = 2000
"""Characters of it that are kept."""

_TITLE = 200
_TEXT = 6000
_WORDS = 240
_RESOLUTIONS = 5
_READ = 16 * 1024

_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_THOUGHT_OF_BEFORE = re.compile(r"\A.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
"""Where what the model was asked with has begun it already."""


def told_of(memory: Memory) -> dict[str, Any]:
    """What a model may know: text that is redacted already, once more, and never the inputs."""
    told: dict[str, Any] = {
        "kind": memory.kind.value,
        "title": one_line(memory.title, _TITLE),
        "outcome": memory.outcome,
        "text": cut(redact_text(memory.text[:_READ]), _TEXT),
    }
    resolutions = list(_resolutions(memory.facts))
    return {**told, "resolutions": resolutions} if resolutions else told


def prose_of(said: str) -> str:
    """A model's answer as it is kept: one paragraph, bounded, without secrets or control characters.

    Without what a model has thought before it, too. Empty where it says nothing.
    """
    answer = _THOUGHT_OF_BEFORE.sub("", _THOUGHT.sub("", said))
    readable = answer[:_READ].encode("utf-8", "replace").decode("utf-8")
    # What has no width goes first: a secret with such a character in it would not be seen as one.
    visible = "".join(c for c in readable if unicodedata.category(c) != "Cf")
    printable = "".join(c if c.isprintable() else " " for c in visible)
    return cut(" ".join(redact_text(printable).split()), MAX_PROSE)


def _resolutions(facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for one in facts.get("resolutions", ())[:_RESOLUTIONS]:
        yield {
            "change": one_line(one["words"], _WORDS),
            "status": one["status"],
            "tried": one["tried"],
            "worked": one["worked"],
        }
