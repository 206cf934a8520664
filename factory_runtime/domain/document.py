"""What people add to the memory: guides, decisions, descriptions of APIs."""

from __future__ import annotations

from dataclasses import dataclass

from factory_runtime.domain.artifact import Classification

MAX_BYTES = 1024 * 1024
MAX_SOURCE = 500
"""Characters of a source's name."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document as somebody brings it.

    Attributes:
        source: what it is called, like ``docs/adr/0007-queues.md``. One of the same source and
            project takes its place.
        content: Markdown, OpenAPI, or any text.
        project_id: whose knowledge it is; None is the whole tenant's.
        commit: of the repository it was taken from.
    """

    source: str
    content: bytes
    project_id: str | None = None
    classification: Classification = Classification.INTERNAL
    commit: str | None = None

    @property
    def text(self) -> str:
        """The content as text; what is no UTF-8 is read as Latin-1, which has every byte."""
        try:
            return self.content.decode("utf-8-sig")
        except UnicodeDecodeError:
            return self.content.decode("latin-1")


@dataclass(frozen=True, slots=True)
class Added:
    """What came of it.

    Attributes:
        memory_ids: the sections, in their order.
        changed: how many of them were not known so.
        superseded: how many sections of before are not in it any more.
    """

    source: str
    memory_ids: tuple[str, ...]
    changed: int
    superseded: int
