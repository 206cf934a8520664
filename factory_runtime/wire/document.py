"""What people add to the memory, and what became of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue

from factory_runtime.domain.artifact import Classification
from factory_runtime.domain.document import MAX_BYTES, MAX_SOURCE, Added, Document
from factory_runtime.wire.base import Answer, Question
from factory_runtime.wire.run import Slug

_NEW: dict[str, JsonValue] = {
    "source": "docs/adr/0007-queues.md",
    "content": "# Queues\n\nOrders are put on one queue each, so that no customer waits.\n",
    "project": "shop",
}


class NewDocument(Question):
    """Markdown, OpenAPI or plain text; one of the same source takes the place of the one before."""

    model_config = ConfigDict(json_schema_extra={"examples": [_NEW]})

    source: Annotated[str, Field(min_length=1, max_length=MAX_SOURCE)] = Field(
        description="what it is called, like its path"
    )
    content: Annotated[str, Field(min_length=1, max_length=MAX_BYTES)]
    project: Slug | None = Field(default=None, description="null is the whole tenant's")
    classification: Classification = Classification.INTERNAL
    commit: Annotated[str, Field(min_length=1, max_length=200)] | None = None

    def told(self, project_id: str | None) -> Document:
        """The document, as one of that project's."""
        return Document(
            source=self.source,
            content=self.content.encode("utf-8", "replace"),
            project_id=project_id,
            classification=self.classification,
            commit=self.commit,
        )


class AddedAnswer(Answer):
    """What a document has become; it is found once it is indexed, which takes seconds."""

    source: str
    memory_ids: tuple[str, ...] = Field(description="of its sections, in their order")
    changed: int = Field(description="sections that were not known so")
    superseded: int = Field(description="sections of before that are not in it any more")

    @classmethod
    def of(cls, added: Added) -> AddedAnswer:
        """On the wire."""
        return cls(
            source=added.source,
            memory_ids=added.memory_ids,
            changed=added.changed,
            superseded=added.superseded,
        )

    def told(self) -> Added:
        """Off the wire."""
        return Added(self.source, self.memory_ids, self.changed, self.superseded)
