"""What was recalled, as people and programs read it."""

from __future__ import annotations

from typing import Any

from cli.as_json import without
from cli.screen import Screen
from cli.text import one_line
from factory_runtime.domain.citation import source_of
from factory_runtime.domain.memory import Recalled

_OF_THE_INDEX = ("revision", "indexed_at", "text_digest")
"""How far the index is, which concerns nobody who asks."""


def recalled_as_json(one: Recalled) -> dict[str, Any]:
    """A memory with its scores."""
    return {
        "score": round(one.score, 4),
        "likeness": round(one.likeness, 4),
        "words": round(one.words, 4),
        "superseded": one.superseded,
        "folded": list(one.folded),
        "shared_by": one.shared_by,
        **without(one.memory, *_OF_THE_INDEX),
    }


def show_recalled(screen: Screen, number: int, one: Recalled) -> None:
    """A memory in a few lines: what it says, where it comes from, what became of it."""
    memory = one.memory
    scored = f"{one.score:.2f} (meaning {one.likeness:.2f}, words {one.words:.2f})"
    screen.line(f"{number}. {one_line(memory.title)}", "head")
    screen.line(f"   {scored}  {memory.kind}  {memory.id}", "dim")
    told = (*source_of(memory), *became_of(one))
    if told:
        screen.line(f"   {one_line('; '.join(told))}")
    if memory.prose:
        screen.line(f"   in a model's words: {one_line(memory.prose)}", "dim")


def became_of(one: Recalled) -> list[str]:
    """How it ended, what has taken its place, how often it is known, and who shares it."""
    said: list[str] = []
    if one.memory.outcome is not None:
        said.append(one.memory.outcome)
    if one.superseded is not None:
        said.append(f"superseded by {one.superseded}")
    if one.folded:
        said.append(f"{len(one.folded)} like it")
    if one.shared_by is not None:
        said.append(f"shared by {one.shared_by}")
    return said
