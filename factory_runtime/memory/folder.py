"""Whether the memory's folder can be used, found out without opening the index in it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from factory_runtime.domain.errors import MemoryUnavailableError


def check_folder(folder: Path) -> None:
    """Return where files in it can be listed and written; it is made where it is not there.

    Raises:
        MemoryUnavailableError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        next(folder.iterdir(), None)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
    except OSError as exc:
        raise MemoryUnavailableError(
            f"the memory in {folder} cannot be used: {exc.strerror}", hint="look at the folder"
        ) from exc
