"""Which memories a run was shown and which it made use of: what the knowledge reuse rate counts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from factory_runtime.domain.conditions import matches, open_to
from factory_runtime.domain.errors import UnknownMemoryError, UnshownMemoryError
from factory_runtime.domain.memory import MemoryUse, Recalled
from factory_runtime.domain.run import Run, RunRequest
from factory_runtime.domain.shown_memory import ShownMemory, check_drawn_from
from factory_runtime.ports import JobFacts, RunStore, RunTransaction
from factory_runtime.services.refold import as_taught_to

Find = Callable[[str, Sequence[str], tuple[str, ...] | None], Sequence[Recalled]]
"""Gives those of a tenant's memories, and of what it is lent, that have these ids.

As who sees some projects sees them; None is all.
"""


@dataclass
class Drawing:
    """What an attempt was shown, known to this process alone until the attempt ends.

    Attributes:
        shown: by the memory's id, as it was shown first.
        used: of these, or of those that the run was shown before: what its job made use of.
    """

    shown: dict[str, MemoryUse] = field(default_factory=dict[str, MemoryUse])
    used: frozenset[str] = frozenset()
    _lent: set[str] = field(default_factory=set[str])

    def note(self, facts: JobFacts, found: Sequence[Recalled], at: datetime) -> None:
        """These were shown, in this order."""
        for rank, one in enumerate(found, start=1):
            use = MemoryUse(
                tenant_id=facts.tenant_id,
                run_id=facts.run_id,
                step=facts.step,
                memory_id=one.memory.id,
                project_id=facts.project_id,
                rank=rank,
                score=one.score,
                shown_at=at,
            )
            self.shown.setdefault(use.memory_id, use)
            if one.shared_by is not None:
                self._lent.add(use.memory_id)

    def write(self, tx: RunTransaction, run_id: str, at: datetime) -> None:
        """Write it down. What was forgotten since it was shown leaves no trace here either.

        A pattern that does not hold any more was shown all the same.
        """
        if self.shown:
            uses = list(self.shown.values())
            if tx.forgotten_since(min(use.shown_at for use in uses)):
                kept = {memory.id for memory in tx.find_memories(self.shown)} | self._lent
                uses = [use for use in uses if use.memory_id in kept]
            tx.add_uses(uses)
        if self.used:
            tx.mark_used(run_id, self.used, at)


def take_used(store: RunStore, run: Run, drawing: Drawing, used: Collection[str]) -> None:
    """Take a job's word for what it made use of: of what its run was shown.

    Raises:
        UnshownMemoryError: the run was never shown one of them.
    """
    unshown = set(used).difference(drawing.shown)
    if unshown:
        with store.begin(run.tenant_id, read_only=True) as tx:
            unshown = {id_ for id_ in unshown if not tx.list_uses(run_id=run.id, memory_id=id_)}
            # What a run was shown may be forgotten: a job that used it did nothing wrong.
            if unshown and not tx.forgotten_since(run.requested_at):
                raise UnshownMemoryError(
                    f"the run was never shown {_spelled(unshown)}",
                    hint="a job uses what it, or a job before it, has recalled",
                )
    drawing.used = frozenset(used)


# --- what a request says that it drew from


def refuse_unknown(find: Find, request: RunRequest) -> None:
    """Nothing is looked for where a request says that it drew from nothing.

    Args:
        find: looks for memories by their ids, and no further than the tenant may see.
        request: as it came.

    Raises:
        InputError: it names too many, or what can be no id.
        UnknownMemoryError: there are none of these ids that its project may see.
    """
    wanted = tuple(dict.fromkeys(request.drawn_from))
    if not wanted:
        return
    check_drawn_from(wanted)
    found = find(request.tenant_id, wanted, (request.project_id,))
    unknown = set(wanted).difference(one.memory.id for one in found)
    if unknown:
        raise UnknownMemoryError(
            f"the project {request.project_id} has no memory {_spelled(unknown)}",
            hint="name what `factory memory search` has shown",
        )


def write_drawn_from(tx: RunTransaction, run: Run, ids: Sequence[str], at: datetime) -> None:
    """What somebody drew from before they asked for the run: no step was shown it."""
    if not ids:
        return
    tx.add_uses(
        [
            MemoryUse(run.tenant_id, run.id, "", id_, run.project_id, rank, 0.0, at, used_at=at)
            for rank, id_ in enumerate(dict.fromkeys(ids), start=1)
        ]
    )


def find_own(
    store: RunStore, tenant_id: str, ids: Sequence[str], projects: tuple[str, ...] | None
) -> tuple[Recalled, ...]:
    """The tenant's own memories of these ids, unscored."""
    with store.begin(tenant_id, read_only=True) as tx:
        seen = (as_taught_to(tx, memory, projects) for memory in tx.find_memories(ids))
        return tuple(Recalled(memory, 0.0) for memory in seen if memory is not None)


# --- what a run was shown


def told_of(
    find: Find,
    tenant_id: str,
    uses: Sequence[MemoryUse],
    confidential: tuple[str, ...] | None = None,
) -> tuple[ShownMemory, ...]:
    """What a run was shown, and what that is to its project: what it used before the rest.

    What is confidential is named to who sees it in its project: in ``confidential``; None is in all.
    """
    ids = tuple(dict.fromkeys(use.memory_id for use in uses))
    projects = tuple({use.project_id for use in uses})
    is_open = open_to(confidential)
    found = {
        one.memory.id: one.memory
        for one in (find(tenant_id, ids, projects) if ids else ())
        if is_open is None or matches(is_open, one.memory)
    }
    return tuple(
        ShownMemory(use, memory.title, memory.kind, memory.run_id)
        if (memory := found.get(use.memory_id)) is not None
        else ShownMemory(use)
        for use in sorted(uses, key=lambda use: use.used_at is None)
    )


def _spelled(ids: Collection[str]) -> str:
    return ", ".join(sorted(ids))
