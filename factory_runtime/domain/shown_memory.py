"""Memories that a run was shown or drew from, and how they are named."""

from __future__ import annotations

import re
from dataclasses import dataclass

from factory_runtime.domain.memory import Kind, MemoryUse

MOST_DRAWN_FROM = 50
"""That a request may name."""

MEMORY_ID = re.compile("[!-~]{1,64}")


@dataclass(frozen=True, slots=True)
class ShownMemory:
    """A memory that a run was shown, as it stands now.

    Attributes:
        use: its ``score`` is 0 where a request drew from it: nobody searched for that.
        title, kind: None where it is forgotten by now, or not the tenant's to see any more.
        source_run_id: the run that taught it, if one did.
    """

    use: MemoryUse
    title: str | None = None
    kind: Kind | None = None
    source_run_id: str | None = None
