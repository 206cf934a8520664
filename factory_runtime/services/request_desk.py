"""What taking requests needs, and what requests that come at once share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from factory_runtime.domain.errors import LostCommitError
from factory_runtime.domain.policy import Policy
from factory_runtime.domain.records import Effect
from factory_runtime.domain.run import RunRequest
from factory_runtime.domain.template import Template
from factory_runtime.ports import ArtifactStorage, Clock, RunStore, RunTransaction
from factory_runtime.services.catalog import TemplateCatalog
from factory_runtime.services.coalesce import Coalesced
from factory_runtime.services.memory_uses import Find, find_own
from factory_runtime.services.policy import PolicyBook
from factory_runtime.services.source_shelf import SourceShelf

if TYPE_CHECKING:
    from factory_runtime.services.inventory import Found

Write = Callable[[RunTransaction], None]

_MOST_ROWS = 2000
"""That one transaction writes for several: each waits for all of them."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a request stands on, whatever its inputs.

    Attributes:
        policies: of the tenant; each must allow.
        sources: of the template, as a plan has them.
    """

    template: Template
    policies: tuple[Policy, ...]
    sources: Mapping[str, str]


@dataclass(frozen=True)
class RequestDesk:
    """What taking a request needs. Safe to use from many threads.

    Attributes:
        policies: None allows everything.
        find_effect: looks for an effect of a job, by the name of its type. Without it a retry with
            other inputs is asked for in vain where the job finds what was made with the old ones.
        find_memories: looks for memories by their ids, as ``memories``; without it there are the
            tenant's own alone.
    """

    store: RunStore
    storage: ArtifactStorage
    catalog: TemplateCatalog
    clock: Clock
    policies: PolicyBook | None = None
    find_effect: Callable[[str, Effect], Found] | None = None
    find_memories: Find | None = None

    @property
    def memories(self) -> Find:
        """Looks for memories by their ids, no further than their tenant may see."""
        return self.find_memories or partial(find_own, self.store)

    @cached_property
    def shelf(self) -> SourceShelf:
        """Where the folders lie that its runs need."""
        return SourceShelf(self.storage)

    def ground_of(self, request: RunRequest) -> Ground:
        """What the request stands on now; its template and sources lie in storage then.

        Raises:
            InputError: as ``TemplateCatalog.load``.
            PolicyUnavailableError: a policy cannot be read.
            TransientError: as ``pack``.
        """
        key = (request.tenant_id, request.template, request.version)
        return self._grounds.ask(key, request)

    def pack(self, tenant_id: str, template: Template) -> Mapping[str, str]:
        """Put the template, and every source that its run may render, into storage.

        A run keeps what it began with, whatever becomes of the folders, and wherever it runs.

        Returns:
            Source name → digest, in the order of names.

        Raises:
            TransientError: the storage; or somebody is writing to the template's folder.
        """
        self.shelf.keep(tenant_id, template)
        folders = source_folders(self.catalog, template)
        return {name: self.shelf.put(tenant_id, place, template) for name, place in folders.items()}

    def commit(self, tenant_id: str, write: Write, *, rows: int = 1, place: str = "") -> None:
        """Write in a transaction of the tenant's, which it shares with who does so at the same time.

        Its rows are committed when this returns. What another has written wrongly is not held against
        this: each of them is then tried alone.

        Args:
            tenant_id: whose.
            write: does it.
            rows: how many it writes, about.
            place: of what others may write too: all write that in the order of places, so that no two
                wait for each other.

        Raises:
            Exception: whatever ``write`` raises.
            LostCommitError: it may be that all is committed and its answer was lost.
        """
        writing = _Writing(tenant_id, write, copy_context(), place)
        failure = self._commits.ask(tenant_id, writing, rows)
        if failure is not None:
            raise failure

    @cached_property
    def _grounds(self) -> Coalesced[RunRequest, Ground]:
        return Coalesced(lambda asked: [self._ground(asked[0])] * len(asked))

    def _ground(self, request: RunRequest) -> Ground:
        tenant_id = request.tenant_id
        with self.store.sharing_reads(tenant_id):
            template = self.catalog.load(request.template, request.version, tenant_id)
            policies = () if self.policies is None else self.policies.of(tenant_id)
        return Ground(template, policies, self.pack(tenant_id, template))

    @cached_property
    def _commits(self) -> Coalesced[_Writing, LostCommitError | None]:
        return Coalesced(self._write, _MOST_ROWS)

    def _write(self, writings: Sequence[_Writing]) -> Sequence[LostCommitError | None]:
        try:
            with self.store.begin(writings[0].tenant_id) as tx:
                for writing in sorted(writings, key=lambda one: one.place):
                    writing.context.run(writing.write, tx)
        except LostCommitError as failure:
            # Nobody tries it alone: that would be to write it twice.
            return [failure] * len(writings)
        return [None] * len(writings)


def source_folders(catalog: TemplateCatalog, template: Template) -> dict[str, Path]:
    """Every folder that a run of the template may render, by the name it has there, in their order."""
    folders = dict(template.sources)
    for type_name in {step.type for step in template.steps}:
        facts = catalog.job_types[type_name]
        folders.update({f"{type_name}:{name}": path for name, path in facts.sources.items()})
    return dict(sorted(folders.items()))


@dataclass(frozen=True, slots=True)
class _Writing:
    """What a thread wants to write.

    Attributes:
        context: of that thread: who acts from where, and within which trace.
    """

    tenant_id: str
    write: Write
    context: Context
    place: str
