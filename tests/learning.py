"""A small factory with what it has learned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from factory_runtime.domain.dead_letter import Change
from factory_runtime.domain.failure_pattern import Resolution
from factory_runtime.domain.memory import Kind, Memory, Observation
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.domain.run import Run
from factory_runtime.services.engine import stop_walking
from factory_runtime.services.failure_patterns import resolutions_of
from factory_runtime.services.learn_run import Learner
from factory_runtime.services.retry_run import retry_run
from factory_runtime.services.topics import MEMORY_OF_RUN
from tests.builders import TENANT
from tests.small_factory import SmallFactory


class School:
    """Learns of the runs of a small factory, when a test says so."""

    def __init__(self, factory: SmallFactory) -> None:
        self.factory = factory
        self.learner = Learner(factory.store, factory.storage, factory.clock)
        self._learned = set[str]()

    # what happens

    def run(self, project: str = "shop", **inputs: object) -> Run:
        """Request a run of the template that stands and walk it to its end."""
        self.factory.clock.pass_time()
        return self._walk(self.factory.request(inputs=inputs, project_id=project))

    def again(self, run: Run, **change: object) -> Run:
        """Send a failed run round again, with other inputs where some are given."""
        self.factory.clock.pass_time()
        changed = Change(inputs=change or None)
        desk = self.factory.desk
        retry_run(desk.store, desk.clock, run.tenant_id, run.id, "ada", change=changed, desk=desk)
        return self._walk(self.factory.run(run))

    def _walk(self, run: Run) -> Run:
        walk = self.factory.take_up(run, f"flow-of-{run.id}")
        ended = self.factory.drive(walk)
        stop_walking(self.factory.engine, walk)
        return ended

    def messages(self) -> list[OutboxMessage]:
        return self.factory.messages(MEMORY_OF_RUN)

    def learn(self, messages: Iterable[OutboxMessage] | None = None) -> None:
        """Of all that is new, or of these, in their order."""
        if messages is None:
            messages = [one for one in self.messages() if one.id not in self._learned]
        for message in messages:
            self.learner.learn_run(message)
            self._learned.add(message.id)

    # what is known

    def memories(self, kind: Kind) -> Sequence[Memory]:
        with self.factory.store.begin(TENANT, read_only=True) as tx:
            return tx.list_memories(kind=kind)

    def memory(self, kind: Kind) -> Memory:
        (memory,) = self.memories(kind)
        return memory

    def resolutions(self) -> tuple[Resolution, ...]:
        return resolutions_of(self.memory(Kind.FAILURE))

    def told(self) -> list[tuple[str, int, int, bool]]:
        """Of each resolution: in words, how often it was tried and worked, and is it confirmed."""
        found = self.resolutions()
        return [(one.words, one.tried, one.worked, one.is_confirmed) for one in found]

    def observations(self) -> Sequence[Observation]:
        with self.factory.store.begin(TENANT, read_only=True) as tx:
            return tx.list_observations(limit=100_000)
