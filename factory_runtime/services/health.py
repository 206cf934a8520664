"""How the factory's parts are: looked at really, at most twice a second each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

from factory_runtime.domain.errors import FactoryError, SettingsError
from factory_runtime.domain.health import GOOD, RUN_STORE, Finding, Health
from factory_runtime.ports import ArtifactStorage, Clock, RunKey, RunStore
from factory_runtime.services.executor_sign import find_executor
from factory_runtime.services.look import Look
from factory_runtime.services.topics import MEMORY_FORGET, MEMORY_OF_RUN, MEMORY_OF_TEMPLATE

PATIENCE = timedelta(seconds=1)
"""What has not answered by then does not answer."""

_FRESH = timedelta(seconds=0.5)

_IDLE = timedelta(minutes=1)
"""A run that wants a slot, while none is taken, gets one sooner than that."""

_INDEXING = timedelta(minutes=2)
"""What is to be remembered is indexed sooner than that: a model is loaded first."""

_PROBE = b"is the artifact storage there?\n"


class FactoryHealth:
    """Looks at the parts.

    Attributes:
        looks: by the name of the part.

    Args:
        store_of: opens the run store, or gives it.
        clock: the time.
        checks: of other parts by name; each raises where its part cannot be used.
        complaint: what to tell of the memory, that can be used all the same.
    """

    def __init__(
        self,
        store_of: Callable[[], RunStore],
        clock: Clock,
        checks: Mapping[str, Callable[[], None]],
        complaint: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._complaint = complaint
        self._store_of = store_of
        self._clock = clock
        parts: dict[str, Callable[[], Finding]] = {
            RUN_STORE: self._run_store,
            "agentHost": self._agent_host,
            "knowledgeSystem": lambda: self._knowledge_system(checks["knowledgeSystem"]),
        }
        for name, check in checks.items():
            parts.setdefault(name, _passing(check))
        self.looks = {name: Look(_caught(part), _FRESH) for name, part in parts.items()}

    def _run_store(self) -> Finding:
        self._store_of().check()
        return GOOD

    def _agent_host(self) -> Finding:
        """Whoever executes runs: they show a sign of life, and give out slots."""
        store, now = self._store_of(), self._clock.now()
        if find_executor(store, now) is None:
            return Finding(Health.UNHEALTHY, "nobody has shown lately that they execute runs")
        with suppress(SettingsError):  # a login that serves tenants alone sees no more than that
            waiting = store.waiting_runs(now, limit=1)
            if waiting and not store.running_runs() and self._since(waiting[0]) < now - _IDLE:
                return Finding(Health.DEGRADED, "runs wait, and none of them begins")
        return GOOD

    def _since(self, waiting: RunKey) -> datetime:
        with self._store_of().begin(waiting.tenant_id, read_only=True) as tx:
            run = tx.get_run(waiting.run_id)
        return max(run.requested_at, run.wake_at or run.requested_at)

    def _knowledge_system(self, check: Callable[[], None]) -> Finding:
        """The folder of the index, without opening it, and whether it keeps up."""
        check()
        late = self._clock.now() - _INDEXING
        with suppress(SettingsError):  # as above
            lines = self._store_of().outbox_lines()
            for topic in (MEMORY_OF_RUN, MEMORY_OF_TEMPLATE, MEMORY_FORGET):
                if topic in lines and lines[topic].since < late:
                    about = f"{lines[topic].length} {topic} are not done"
                    return Finding(Health.DEGRADED, about)
            line = self._store_of().unindexed_line()
            if line is not None and line.since < late:
                about = f"{line.length} memories are not indexed"
                return Finding(Health.DEGRADED, about)
        complaint = self._complaint()
        return GOOD if complaint is None else Finding(Health.DEGRADED, complaint)


def check_storage(storage: ArtifactStorage, tenant_id: str) -> None:
    """Return where a small body can be kept and read; it is the same one each time.

    Raises:
        FactoryError: it cannot.
    """
    storage.read(tenant_id, storage.put(tenant_id, _PROBE).digest)


def _passing(check: Callable[[], None]) -> Callable[[], Finding]:
    def part() -> Finding:
        check()
        return GOOD

    return part


def _caught(part: Callable[[], Finding]) -> Callable[[], Finding]:
    def look() -> Finding:
        try:
            return part()
        except FactoryError as error:
            return Finding(Health.UNHEALTHY, str(error))
        except Exception as error:
            return Finding(Health.UNHEALTHY, f"{type(error).__name__}: {error}")

    return look
