"""Search a tenant's memory by meaning."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import zip_longest

from factory_runtime.domain.artifact import Classification
from factory_runtime.domain.conditions import matches
from factory_runtime.domain.errors import (
    InputError,
    MemoryUnavailableError,
    PolicyUnavailableError,
)
from factory_runtime.domain.memory import COLLECTION_OF, Collection, Memory, Recalled
from factory_runtime.domain.policy import MAY_BE_SHARED
from factory_runtime.domain.ranking import superseded_by
from factory_runtime.domain.records import TemplateRecord
from factory_runtime.ports import (
    Clock,
    Embedder,
    MemoryIndex,
    RecallQuery,
    RunStore,
    RunTransaction,
)
from factory_runtime.ports.memory import model_name
from factory_runtime.services.refold import as_taught_to

MAX_LIMIT = 1000
MAX_QUERY = 4000
"""Characters of a query that are looked at: a model reads less."""

FRESH = timedelta(seconds=2)
"""How long the newest versions of templates are taken as they were read."""

_LOOKED_AT = 100

_LOG = logging.getLogger("factory.memory")

Opened = tuple[Embedder, MemoryIndex]


def recall(
    index: MemoryIndex, embedder: Embedder, tenant_id: str, query: RecallQuery
) -> tuple[Recalled, ...]:
    """What the tenant knows that is most like the query's text, best first.

    Of a long text its first ``MAX_QUERY`` characters are looked for.

    Raises:
        InputError: there is no text to look for, or the limit is not 1 to ``MAX_LIMIT``.
        MemoryUnavailableError: the model or the index cannot be used.
    """
    asked = bounded(query)
    if not asked.collections:
        return ()
    (vector,) = embedder.embed([asked.text])
    return index.search(tenant_id, asked, vector)


@dataclass(frozen=True)
class Recaller:
    """Searches as people and steps do: what is found is confirmed by the record.

    Nothing is embedded, and no index opened, for a tenant that remembers nothing.

    Attributes:
        store: opens the run store; it gives None where there is none yet.
        open: a tenant's active model and its index.
        shared_tenant: whose memories others may ask for; None is nobody's.
        shared_of: which of its collections a tenant wants to see.
    """

    store: Callable[[], RunStore | None]
    clock: Clock
    open: Callable[[str], Opened]
    shared_tenant: str | None = None
    shared_of: Callable[[str], frozenset[Collection]] = lambda _tenant: frozenset()
    _newest: dict[str, tuple[datetime, Mapping[str, str]]] = field(
        default_factory=dict[str, "tuple[datetime, Mapping[str, str]]"]
    )
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def recall(self, tenant_id: str, query: RecallQuery) -> tuple[Recalled, ...]:
        """What is most like the query's text, best first: of the tenant's own, and what it shares.

        What was forgotten since it was indexed is left out, and texts are those of the record.

        Raises:
            InputError: as ``recall``.
            MemoryUnavailableError: the model or the index of the tenant cannot be used.
        """
        asked = bounded(query)
        found = self._of(tenant_id, asked)
        shared = self._shared(tenant_id, asked)
        if not shared:
            return found
        known = {one.memory.text_digest for one in found}
        lent = [one for one in shared if one.memory.text_digest not in known]
        if found and lent and not self.have_one_model(tenant_id, lent[0].memory.tenant_id):
            return _in_turns(found, lent)[: query.limit]
        both = [*found, *lent]
        return tuple(sorted(both, key=lambda one: (-one.score, one.memory.id))[: query.limit])

    def have_one_model(self, *tenants: str) -> bool:
        """Whether scores of what these tenants remember can be compared."""
        return len({model_name(self.open(tenant_id)[0]) for tenant_id in tenants}) == 1

    def sharing(self, tenant_id: str) -> tuple[str, frozenset[Collection]] | None:
        """Whose memories the tenant sees beside its own, and which of them; None: nobody's."""
        sharer = self.shared_tenant
        if sharer is None or sharer == tenant_id:
            return None
        try:
            wanted = self.shared_of(tenant_id).intersection(MAY_BE_SHARED)
        except PolicyUnavailableError as error:
            _LOG.warning("nothing shared is shown to %s: %s", tenant_id, error)
            return None
        return (sharer, wanted) if wanted else None

    def find(
        self, tenant_id: str, ids: Sequence[str], projects: tuple[str, ...] | None = None
    ) -> tuple[Recalled, ...]:
        """The tenant's own memories of these ids, and those it may see of who shares; unscored.

        ``projects`` are those that are seen; None is all.
        """
        own = self._read(tenant_id, ids, projects)
        found = self._unscored(tenant_id, own.values())
        left = [id_ for id_ in ids if id_ not in own]
        sharing = self.sharing(tenant_id) if left else None
        if sharing is not None:
            sharer, wanted = sharing
            lent = self._read(sharer, left, ()).values()
            seen = self._unscored(sharer, [one for one in lent if _is_shared(one, wanted)])
            found += [replace(one, shared_by=sharer) for one in seen]
        return tuple(found)

    def _unscored(self, tenant_id: str, memories: Iterable[Memory]) -> list[Recalled]:
        newest = self._newest_of(tenant_id)
        return [Recalled(one, 0.0, superseded=superseded_by(one, newest)) for one in memories]

    def _shared(self, tenant_id: str, query: RecallQuery) -> tuple[Recalled, ...]:
        if (sharing := self.sharing(tenant_id)) is None:
            return ()
        sharer, wanted = sharing
        collections = tuple(one for one in query.collections if one in wanted)
        if not collections:
            return ()
        # What is of a project is that project's: of the others' projects none is named.
        asked = replace(query, collections=collections, project_id=None, projects=())
        try:
            found = self._of(sharer, asked)
        except MemoryUnavailableError as error:
            # One's own memories are found all the same.
            _LOG.warning("the memories that %s shares cannot be searched: %s", sharer, error)
            return ()
        return tuple(
            replace(one, shared_by=sharer) for one in found if _is_shared(one.memory, wanted)
        )

    def _of(self, tenant_id: str, query: RecallQuery) -> tuple[Recalled, ...]:
        """Of one tenant's own, as its record has them now."""
        newest = self._newest_to_search(tenant_id)
        if newest is None:
            return ()
        asked = replace(query, newest={**newest, **query.newest})
        embedder, index = self.open(tenant_id)
        found = recall(index, embedder, tenant_id, asked)
        if not found:
            self._refuse_if_gone(tenant_id, index)
        ids = [id_ for one in found for id_ in (one.memory.id, *one.folded)]
        read = self._read(tenant_id, ids, query.projects)
        where = query.where
        kept = {id_: one for id_, one in read.items() if where is None or matches(where, one)}
        return tuple(
            replace(
                one,
                memory=kept[one.memory.id],
                folded=tuple(id_ for id_ in one.folded if id_ in kept),
            )
            for one in found
            if one.memory.id in kept
        )

    def _refuse_if_gone(self, tenant_id: str, index: MemoryIndex) -> None:
        """Nothing found is no answer of an index that somebody has moved away.

        Raises:
            MemoryUnavailableError: it is empty, and the record says what it had.
        """
        store = self.store()
        if store is None or any(index.count(tenant_id, one) for one in Collection):
            return
        with store.begin(tenant_id, read_only=True) as tx:
            some = tx.list_memories(limit=_LOOKED_AT)
        if any(one.indexed_at is not None for one in some):
            raise MemoryUnavailableError(
                f"the index of what {tenant_id} remembers is gone",
                hint="it is made again of the record by `factory memory rebuild`",
            )

    def _read(
        self, tenant_id: str, ids: Sequence[str], projects: tuple[str, ...] | None
    ) -> Mapping[str, Memory]:
        """As the record has them: what the index knows may be of another project by now."""
        store = self.store() if ids else None
        if store is None:
            return {}
        with store.begin(tenant_id, read_only=True) as tx:
            seen = (as_taught_to(tx, memory, projects) for memory in tx.find_memories(ids))
            return {memory.id: memory for memory in seen if memory is not None}

    def _newest_to_search(self, tenant_id: str) -> Mapping[str, str] | None:
        """As ``_newest_of``; None where the tenant remembers nothing."""
        if (store := self.store()) is None:
            return None
        with store.begin(tenant_id, read_only=True) as tx:
            return self._newest_in(tx) if tx.list_memories(limit=1) else None

    def _newest_of(self, tenant_id: str) -> Mapping[str, str]:
        if (store := self.store()) is None:
            return {}
        with store.begin(tenant_id, read_only=True) as tx:
            return self._newest_in(tx)

    def _newest_in(self, tx: RunTransaction) -> Mapping[str, str]:
        now = self.clock.now()
        with self._lock:
            known = self._newest.get(tx.tenant_id)
        if known is not None and known[0] <= now < known[0] + FRESH:
            return known[1]
        newest = newest_versions(tx.list_templates())
        with self._lock:
            self._newest[tx.tenant_id] = (now, newest)
        return newest


def newest_versions(templates: Sequence[TemplateRecord]) -> Mapping[str, str]:
    """Of each template, the newest of its versions; the last that was published where none is one."""
    from packaging.version import InvalidVersion, Version

    newest: dict[str, tuple[Version, str]] = {}
    for one in sorted(templates, key=lambda one: one.published_at):
        try:
            version = Version(one.version)
        except InvalidVersion:
            version = Version("0")
        if one.template_id not in newest or version >= newest[one.template_id][0]:
            newest[one.template_id] = (version, one.version)
    return {template_id: version for template_id, (_, version) in newest.items()}


def bounded(query: RecallQuery) -> RecallQuery:
    """The query as it is looked for: no longer than ``MAX_QUERY``, and only where its kinds lie.

    Raises:
        InputError: as ``recall``.
    """
    text = query.text[:MAX_QUERY].encode("utf-8", "replace").decode("utf-8").strip()
    if not text:
        raise InputError("there is nothing to look for", hint="say in a few words what you need")
    if not 1 <= query.limit <= MAX_LIMIT:
        raise InputError(f"the limit is {query.limit}", hint=f"ask for 1 to {MAX_LIMIT}")
    if query.kinds is None:
        return replace(query, text=text)
    # A kind lies in one collection: to look into the others would find nothing.
    of_kinds = {COLLECTION_OF[kind] for kind in query.kinds}
    collections = tuple(one for one in query.collections if one in of_kinds)
    return replace(query, text=text, collections=collections)


def _in_turns(found: Sequence[Recalled], lent: Sequence[Recalled]) -> tuple[Recalled, ...]:
    """The best of each, then the next: of what scores so in one model, another may make little."""
    pairs = zip_longest(found, lent)
    return tuple(one for pair in pairs for one in pair if one is not None)


def _is_shared(memory: Memory, wanted: frozenset[Collection]) -> bool:
    return (
        memory.project_id is None
        and memory.collection in wanted
        and memory.classification != Classification.CONFIDENTIAL
    )
