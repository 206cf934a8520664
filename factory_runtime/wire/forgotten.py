"""What was erased from the memory."""

from __future__ import annotations

from pydantic import Field

from factory_runtime.domain.memory import Erased, ForgetScope
from factory_runtime.wire.base import Answer


class ErasedAnswer(Answer):
    """What is forgotten. The record is without it; the index follows within seconds."""

    scope: ForgetScope
    key: str = Field(description="of the run or the project; empty for the tenant")
    memories: int = Field(description="that were deleted")
    changed: int = Field(description="that others taught as well: they tell only of those now")

    @classmethod
    def of(cls, erased: Erased) -> ErasedAnswer:
        """As the core has it."""
        return cls(
            scope=erased.scope, key=erased.key, memories=erased.memories, changed=erased.changed
        )

    def told(self) -> Erased:
        """Off the wire."""
        return Erased(self.scope, self.key, self.memories, self.changed)
