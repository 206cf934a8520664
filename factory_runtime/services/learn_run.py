"""Handlers of the outbox that turn what happened into memories and observations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from factory_runtime.domain.circumstances import Circumstances
from factory_runtime.domain.difference import difference
from factory_runtime.domain.errors import RunNotFoundError, StaleVersionError
from factory_runtime.domain.memory import Memory, Observation, ObservationKind
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.domain.run import Run
from factory_runtime.ports import ArtifactStorage, Clock, RunStore, RunTransaction
from factory_runtime.services.drain_outbox import GivenUpError
from factory_runtime.services.failure_lines import (
    line_id,
    line_of,
    lines_since,
    marks,
    marks_of,
    tries_behind,
    tries_of,
)
from factory_runtime.services.failure_patterns import failures_of, got_over, kept
from factory_runtime.services.forgotten import forgotten_at
from factory_runtime.services.memory_turn import take_turn
from factory_runtime.services.refold import fold, seen
from factory_runtime.services.run_history import Cycle
from factory_runtime.services.run_lessons import Solved, lessons_of
from factory_runtime.services.run_memory import memory_of_run
from factory_runtime.services.run_record import RunRecord, read_run
from factory_runtime.services.success_patterns import ending_of
from factory_runtime.services.template_memory import memories_of_template
from factory_runtime.services.topics import MEMORY_OF_RUN, MEMORY_OF_TEMPLATE


@dataclass(frozen=True)
class Learner:
    """Makes records; the ``Indexer`` brings the index up to them.

    All that one message teaches is written in one transaction, and a message that comes twice, late
    or beside another teaches nothing twice.
    """

    store: RunStore
    storage: ArtifactStorage
    clock: Clock

    @property
    def handlers(self) -> Mapping[str, Callable[[OutboxMessage], None]]:
        """The topics of the outbox that teach something."""
        return {MEMORY_OF_RUN: self.learn_run, MEMORY_OF_TEMPLATE: self.learn_template}

    def learn_run(self, message: OutboxMessage) -> None:
        """Learn of a run's cycles that have ended, whatever it is at by now.

        Raises:
            GivenUpError: the run is gone.
            StaleVersionError: it went on meanwhile.
            TransientError: the store or the storage is away.
        """
        tenant_id, run_id = message.tenant_id, str(message.payload["run_id"])
        try:
            record = read_run(self.store, self.storage, tenant_id, run_id)
        except RunNotFoundError as error:
            raise GivenUpError(str(error)) from error
        if record.run.undoes is not None or record.run.plan is None:
            return  # what was taken back, or never begun, shows nothing of its template
        # All that takes time is done before: the transaction keeps others from writing.
        lessons = {cycle.number: _lesson(record, cycle) for cycle in record.cycles}
        with self.store.begin(tenant_id) as tx:
            now = self.clock.now()
            take_turn(tx, now)
            self._check(tx, record.run)
            _learn(tx, record, lessons, now)

    def learn_template(self, message: OutboxMessage) -> None:
        """Learn of a template's versions.

        Raises:
            GivenUpError: the version is not in the store.
        """
        template_id, version = str(message.payload["template_id"]), str(message.payload["version"])
        with self.store.begin(message.tenant_id) as tx:
            take_turn(tx, now := self.clock.now())
            versions = [one for one in tx.list_templates() if one.template_id == template_id]
            if version not in {one.version for one in versions}:
                raise GivenUpError(f"no template {template_id} {version}")
            memories = memories_of_template(versions)
            tx.save_memories([replace(memory, changed_at=now) for memory in memories])

    def _check(self, tx: RunTransaction, run: Run) -> None:
        try:
            stands = tx.get_run(run.id)
        except RunNotFoundError as error:
            raise GivenUpError(str(error)) from error
        if stands.version != run.version:
            raise StaleVersionError(f"run {run.id} went on meanwhile", hint="do it again")


def _learn(
    tx: RunTransaction, record: RunRecord, of_cycles: Mapping[int, _Lesson], now: datetime
) -> None:
    run = record.run
    lessons = [of_cycles[cycle.number] for cycle in _not_forgotten(tx, record)]
    if not lessons:
        return
    observations = [one for lesson in lessons for one in lesson.observations]
    subjects = {one.subject for one in observations}
    tx.add_observations(observations)
    others = _beside(tx, run, lessons)
    tx.add_observations(others)
    if run.ended:
        tx.save_memories([_summary(record, lessons, now)])
    fold(tx, subjects | {one.subject for one in others}, now)


def _beside(tx: RunTransaction, run: Run, lessons: Sequence[_Lesson]) -> list[Observation]:
    """What other runs showed behind failures of this one, and this one behind those of others."""
    name = line_id(run.tenant_id, run.project_id, run.template_id)
    failed = {one.place for lesson in lessons for one in lesson.marks}
    found: list[Observation] = []
    if failed:
        first = min(one.at for lesson in lessons for one in lesson.marks)
        behind = tries_behind(lines_since(tx, name, first))
        found += [one for one in behind if one.subject in failed]
    known = partial(seen, tx, kind=ObservationKind.TRIED)
    failures = marks(tx, name)
    for lesson in lessons:
        found += tries_of(lesson.line, failures, known)
    return found


@dataclass(frozen=True, slots=True)
class _Lesson:
    """What one cycle shows.

    Attributes:
        line: what it shows beside failures of other runs; ``marks`` are of its own.
        met: ids of the memories of the failures that it had.
        solved: those of them that a later cycle got over.
    """

    observations: tuple[Observation, ...]
    line: Observation
    marks: tuple[Observation, ...]
    met: tuple[str, ...]
    solved: tuple[Solved, ...]


def _lesson(record: RunRecord, cycle: Cycle) -> _Lesson:
    failures = failures_of(record, cycle)
    over = [(failure, got_over(record, cycle, failure)) for failure in failures]
    ending = ending_of(record, cycle)
    line, own_marks = line_of(record, cycle, failures), tuple(marks_of(record, failures))
    return _Lesson(
        observations=(
            *map(kept, failures),
            *(later for _, later in over if later is not None),
            line,
            *own_marks,
            *((ending,) if ending is not None else ()),
        ),
        line=line,
        marks=own_marks,
        met=tuple(dict.fromkeys(failure.subject for failure in failures)),
        solved=tuple(_solved(failure, later) for failure, later in over if later is not None),
    )


def _solved(failure: Observation, later: Observation) -> Solved:
    before, after = (Circumstances.from_facts(one.facts["so"]) for one in (failure, later))
    words = difference(before, after, same_run=True).words
    return Solved(failure.subject, failure.step, words)


def _summary(record: RunRecord, lessons: Sequence[_Lesson], now: datetime) -> Memory:
    run, template = record.run, record.template
    told = lessons_of(
        record.jobs,
        record.plan,
        record.asked,
        tuple(dict.fromkeys(subject for lesson in lessons for subject in lesson.met)),
        [solved for lesson in lessons for solved in lesson.solved],
        record.secrets,
    )
    memory = memory_of_run(
        run,
        record.jobs,
        record.artifacts,
        template.title if template is not None else run.template_id,
        template.description if template is not None else "",
        record.inputs,
        run.completed_at or now,
        told,
    )
    return replace(memory, changed_at=now)


def _not_forgotten(tx: RunTransaction, record: RunRecord) -> list[Cycle]:
    """The cycles that ended after what was to be forgotten of them."""
    at = forgotten_at(tx, record.run)
    return [cycle for cycle in record.cycles if at is None or cycle.at > at]
