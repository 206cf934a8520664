"""Memories that a run was shown or drew from, and how they are named."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from factory_runtime.domain.errors import InputError
from factory_runtime.domain.memory import Kind, MemoryUse

MOST_DRAWN_FROM = 50
"""That a request may name."""

MEMORY_ID = re.compile("[!-~]{1,64}")


def check_drawn_from(ids: Collection[str]) -> None:
    """Raises InputError where a request names too many memories, or what can be none's id."""
    if len(ids) > MOST_DRAWN_FROM:
        raise InputError(
            f"a request draws from {len(ids)} memories", hint=f"name {MOST_DRAWN_FROM} at most"
        )
    for id_ in ids:
        if not MEMORY_ID.fullmatch(id_):
            raise InputError(
                f"{id_[:80]!r} is no id of a memory", hint="`factory memory search` shows them"
            )


@dataclass(frozen=True, slots=True)
class ShownMemory:
    """A memory that a run was shown, as it stands now.

    Attributes:
        use: its ``score`` is 0 where a request drew from it: nobody searched for that.
        title, kind: None where it is forgotten by now, or not the asker's to see.
        source_run_id: the run that taught it, if one did.
    """

    use: MemoryUse
    title: str | None = None
    kind: Kind | None = None
    source_run_id: str | None = None
