"""Where a memory comes from, in words that lead there."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import cast

from factory_runtime.domain.memory import Memory

_COMMIT = 12
"""Digits of a commit that tell it from others."""


def source_of(memory: Memory) -> tuple[str, ...]:
    """The run and its step, the place in a repository, the template, the project, what was made."""
    step = f" {memory.step}" if memory.step else ""
    parts = (
        f"{memory.run_id}{step}" if memory.run_id is not None else "",
        place_of(memory),
        f"{memory.template_id} {memory.template_version or ''}" if memory.template_id else "",
        f"project {memory.project_id}" if memory.project_id is not None else "",
        f"made {made}" if (made := made_by(memory)) else "",
    )
    return tuple(part.rstrip() for part in parts if part)


def place_of(memory: Memory) -> str:
    """A path with its lines, and the commit; empty where it was not cut from a file."""
    if memory.path is None:
        return ""
    lines = ""
    if memory.first_line is not None:
        lines = f":{memory.first_line}-{memory.last_line or memory.first_line}"
    commit = f" at {memory.commit[:_COMMIT]}" if memory.commit else ""
    return f"{memory.path}{lines}{commit}"


def made_by(memory: Memory) -> str:
    """The repositories that a remembered run made, by name."""
    urls = memory.facts.get("repositories")
    if not isinstance(urls, list):
        return ""
    names = (
        PurePosixPath(str(url)).name.removesuffix(".git") for url in cast("list[object]", urls)
    )
    return ", ".join(names)
