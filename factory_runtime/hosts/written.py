"""What each step wrote, kept beside a bare repository.

A commit shows what it changed. A step may also write what was there already, and that it did so
matters as soon as another step writes something else: so each commit's files are noted before it
is made. The note of a commit that never came to be says nothing to anybody.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from factory_runtime.domain.ids import digest_of
from factory_runtime.hosts.history import changed_by
from factory_runtime.hosts.orders import Trailers


def save_written(place: Path, naming: Trailers, files: Mapping[str, str]) -> None:
    """Note the files (path → ``<mode> <blob>``) of a commit to be; durable when it returns."""
    note = _note(place, naming)
    note.parent.mkdir(parents=True, exist_ok=True)
    temporary = note.with_suffix(".new")
    with temporary.open("w", encoding="ascii") as out:
        json.dump(files, out)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(note)
    fsync_folder(note.parent)
    fsync_folder(note.parent.parent)


def read_written(place: Path, naming: Trailers, sha: str) -> Mapping[str, str]:
    """The files of a commit; where the note is lost, those that it changed."""
    try:
        text = _note(place, naming).read_text(encoding="ascii")
        return cast(dict[str, str], json.loads(text))
    except (FileNotFoundError, ValueError):
        return changed_by(place, sha)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _note(place: Path, naming: Trailers) -> Path:
    run, step = naming[:2]
    return place / "factory" / "written" / digest_of(run)[:32] / f"{digest_of(step)}.json"
