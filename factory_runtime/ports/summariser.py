"""A language model that puts what was learned into better words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Summariser(Protocol):
    """Writes about a record. What it says is a model's word, and nothing may act on it."""

    def summarise(self, record: Mapping[str, Any]) -> str:
        """What the model says of a record, as it says it.

        The record is JSON, without secrets: it leaves the machine.

        Raises:
            MemoryUnavailableError: the model cannot be asked now.
            PermanentError: it can, and says nothing of use about this record.
        """
        ...
