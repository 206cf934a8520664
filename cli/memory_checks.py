"""What `factory doctor` looks at in the memory: nothing there is ever what fails a run."""

from __future__ import annotations

import shutil

from cli.door import StoreDoor
from cli.store_checks import LOW_SPACE, Check
from cli.text import one_line, size
from factory_runtime.domain.errors import FactoryError


def look_at_memory(name: str, door: StoreDoor) -> Check:
    """All but what is in the index: LanceDB takes more than a second to import."""
    from factory_runtime.memory.lance.faults import check_place

    runtime = door.runtime
    try:
        check_place(runtime.memory_place)
        runtime.models.of(door.tenant).embedder.embed(["ready"])
        known, behind = _remembered(door)
        if known > behind and not runtime.memory_place.has_files(door.tenant):
            return Check(name, "warn", "its index is gone", "`factory memory rebuild`")
    except FactoryError as error:
        return _broken(name, error)
    if complaint := runtime.memory_disk.complaint():
        return Check(name, "warn", complaint)
    folder = runtime.settings.memory_folder
    if runtime.settings.memory_url is None and (free := shutil.disk_usage(folder).free) < LOW_SPACE:
        return Check(name, "warn", f"{folder}, {size(free)} free", "free some space")
    told = f", {behind} not indexed yet" if behind else ""
    return Check(name, "ok", f"{_count(known)}{told}; --memory opens the index")


def look_into_index(name: str, door: StoreDoor) -> Check:
    """Whether a search gets through, and whether all is there that was put in."""
    from factory_runtime.domain.memory import Collection
    from factory_runtime.ports import RecallQuery

    runtime = door.runtime
    try:
        # The record first: meanwhile others may put something in.
        known, behind = _remembered(door)
        runtime.recaller.recall(door.tenant, RecallQuery("ready", tuple(Collection), limit=1))
        rows = sum(runtime.models.of(door.tenant).index.size(door.tenant).rows.values())
    except FactoryError as error:
        return _broken(name, error)
    if rows < known - behind:
        lost = f"has {rows} of {_count(known - behind)} that were put in"
        return Check(name, "warn", lost, "`factory memory rebuild`")
    return Check(name, "ok", f"searched, with {_count(rows)} in it")


def _remembered(door: StoreDoor) -> tuple[int, int]:
    """How many memories the record has, and how many of them the index does not have yet."""
    with door.desk.reading() as tx:
        known, line = sum(tx.count_memories().values()), tx.unindexed_line()
    return known, line.length if line else 0


def _count(memories: int) -> str:
    return f"{memories} memor{'y' if memories == 1 else 'ies'}"


def _broken(name: str, error: FactoryError) -> Check:
    return Check(name, "warn", one_line(str(error)), error.hint or "")
