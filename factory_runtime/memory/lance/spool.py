"""Rows on their way into a table, in a file that is gone when it is closed, or its process ends."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from factory_runtime.memory.lance.library import arrow


class Spool:
    """Batches of one schema, written and then read, never all in memory."""

    def __init__(self, schema: Any) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self.schema = schema
        self._writer = arrow().ipc.new_stream(self._file, schema)
        self.rows = 0

    def write(self, batches: Iterable[Any]) -> None:
        """Arrow's tables or batches."""
        for batch in batches:
            self._writer.write(batch)
            self.rows += batch.num_rows

    def read(self) -> Any:
        """All of it, from the beginning: Arrow's reader of batches. Nothing is written after."""
        self._writer.close()
        self._file.seek(0)
        return arrow().ipc.open_stream(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
