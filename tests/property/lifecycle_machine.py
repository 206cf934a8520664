"""Two workers, two tenants and everything that may go wrong between them, against a plain model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any, TypeVar, cast

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from factory_runtime.domain.errors import ConflictError, PrefectUnavailableError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.progress import Ending
from factory_runtime.domain.records import Effect, EffectStatus
from factory_runtime.domain.result import ConfirmedEffect, JobResult, WaitUntil
from factory_runtime.domain.run import Priority, Run, RunStatus
from factory_runtime.ports import JobContext
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.approvals import wake
from factory_runtime.services.attempt import AnotherAttempt, Begun
from factory_runtime.services.claim_job import begin_attempt
from factory_runtime.services.dispatch import (
    BEGIN_WITHIN,
    admit,
    dispatch_next,
    leave_to_dispatchers,
)
from factory_runtime.services.end_run import cancel_run, close_run_if_done, end_run
from factory_runtime.services.engine import Walk, begin_walk, keep_walking, stop_walking
from factory_runtime.services.pause_run import pause_run, resume_run
from factory_runtime.services.put_down import put_down
from factory_runtime.services.retry_run import retry_job, retry_run
from factory_runtime.services.run_attempt import fail_attempt, publish_attempt
from factory_runtime.services.sweep import sweep
from tests.property.lifecycle_checks import check_history, facts_of_row, facts_of_run, read_runs
from tests.property.lifecycle_model import (
    RECIPES,
    WAIT,
    ModelJob,
    ModelQueues,
    ModelRun,
    Recipe,
    RefusedError,
    first_in_line,
)
from tests.small_factory import Act, FlowRuns, SmallFactory, busy

T = TypeVar("T")
CAP = 2
WORKERS = ("another-machine:1", "another-machine:2")
PRIORITIES = (Priority.HIGH, Priority.NORMAL)
OUTCOMES = (
    "succeeded", "permanent-error", "transient-error", "waiting", "cancelled", "suspended",
    "permanent-error", "succeeded", "transient-error", "permanent-error", "transient-error",
)  # fmt: skip
WHAT = (
    "begin", "begin", "begin", "begin_and_finish", "begin_and_finish", "go_on", "go_on",
    "finish", "finish", "finish", "dispatch", "dispatch", "take_up", "heartbeat", "put_down",
    "close_if_done", "stop_walking", "pass_time", "pass_time", "sweep", "lose_all_workers",
    "lose_all_workers", "retry", "retry_a_job", "pause", "pause", "resume", "resume",
    "request", "request_in_prefect", "obey_a_cancel", "cancel", "decide", "decide",
)  # fmt: skip
TICK = timedelta(milliseconds=1)

picks = st.integers(0, 11)
"""Which of the things there are; modulo their number."""


@dataclass(eq=False)
class Walking:
    """A walk, and what its process knows of the run."""

    run: ModelRun
    walk: Walk
    worker: int
    seen: dict[str, int]
    endings: dict[str, str]

    @property
    def holder(self) -> str:
        return self.walk.holder


@dataclass(eq=False)
class Trying:
    """An attempt that some process has begun, and may be at still."""

    walking: Walking
    name: str
    number: int
    begun: Begun


@dataclass
class World:
    """What jobs make outside."""

    made: Counter[str] = field(default_factory=Counter[str])

    def make(self, effect_key: str) -> str:
        self.made[effect_key] += 1
        return f"made-by-{effect_key}"

    def probe(self, effect: Effect) -> str | None:
        return f"made-by-{effect.effect_key}" if self.made[effect.effect_key] else None


class Lifecycles(RuleBasedStateMachine):
    """Each rule does one thing to the store and to the model; both have to agree on the answer."""

    numbers = count(1)

    def __init__(self, factory: SmallFactory) -> None:
        super().__init__()
        number = next(self.numbers)
        self.factory = factory
        self.store, self.clock = factory.store, factory.clock
        self.tenants = (f"acme-{number}", f"other-{number}")
        self.prefect = FlowRuns()
        self.engines = tuple(factory.engine_of(worker) for worker in WORKERS)
        self.world = World()
        self.runs: list[ModelRun] = []
        self.queues = ModelQueues()
        self.requests: dict[tuple[str, str], tuple[Any, ModelRun]] = {}
        self.walks: list[Walking] = []
        self.tries: list[Trying] = []
        self.how = "succeeded"
        self.may_act = False
        self.trespassed = False
        act = cast(Act, factory.job_types["act"])
        act.probes["thing"] = self.world.probe
        factory.on.update({name: self._behave for name in "abc"})

    @initialize(
        recipes=st.tuples(st.sampled_from(RECIPES), st.sampled_from(RECIPES)),
        begun=st.integers(0, 2),
    )
    def begin_with_a_run_of_each_tenant(self, recipes: tuple[Recipe, Recipe], begun: int):
        for tenant, recipe in enumerate(recipes):
            self._requested(tenant, recipe, 1)
        for worker in range(begun):
            self._dispatch(worker, 11, "")

    @rule(what=st.sampled_from(WHAT), pick=picks, other=picks, how=st.sampled_from(OUTCOMES))
    def then(self, what: str, pick: int, other: int, how: str):
        # One rule: of many, Hypothesis leaves some out of each example, and runs get nowhere.
        getattr(self, f"_{what}")(pick, other, how)

    # --- requests and dispatch

    def _request(self, pick: int, other: int, how: str) -> None:
        if len(self.runs) < 4:
            recipe, rank = _of(RECIPES, other), pick // 2 % 2
            key = "k" if pick % 3 == 0 else None
            self._requested(
                pick % 2, recipe, rank, key, timedelta(minutes=20) if pick > 8 else None
            )

    def _request_in_prefect(self, pick: int, other: int, how: str) -> None:
        if len(self.runs) == 4:
            return
        run = self._requested(pick % 2, _of(RECIPES, other), 1, flow=f"born-{next(self.numbers)}")
        now, worker = self.clock.now(), WORKERS[pick % 2]
        free = CAP - sum(run.slot for run in self.runs)
        line = first_in_line(self.runs, now + BEGIN_WITHIN, self.queues)
        if run in line[:free]:
            self.queues.charge(run.tenant, is_next=run is line[0])
            run.admit(f"{worker}-dispatcher", now)
        admitted = admit(self.store, self.clock, self._row(run), CAP, worker)
        assert (admitted.admitted_at is not None) == run.slot
        if not run.slot:
            leave_to_dispatchers(self.store, admitted)

    def _dispatch(self, pick: int, other: int, how: str) -> None:
        name, now = WORKERS[pick % 2], self.clock.now()
        waiting = first_in_line(self.runs, now, self.queues)
        free = CAP - sum(run.slot for run in self.runs)
        expected = waiting[0] if waiting and free > 0 else None
        if expected is not None:
            self.queues.charge(expected.tenant, is_next=True)
            expected.admit(f"{name}-dispatcher", now)
        self.prefect.away = other == 0
        try:
            launched = dispatch_next(self.store, self.prefect, self.clock, CAP, name)
        except PrefectUnavailableError:
            assert self.prefect.away
            assert expected is not None
            expected.give_back(f"{name}-dispatcher", now)
            return
        assert (launched and launched.id) == (expected and expected.id)
        if expected is not None and other > 3:
            self._taken_up(pick, expected)

    # --- walks

    def _take_up(self, pick: int, other: int, how: str) -> None:
        self._taken_up(pick, _of(self.runs, other))

    def _heartbeat(self, pick: int, other: int, how: str) -> None:
        for walking in self._some_walk(pick):
            expected = walking.run.keep(walking.holder, self.clock.now())
            assert keep_walking(self._engine(walking), walking.walk) == expected

    def _stop_walking(self, pick: int, other: int, how: str) -> None:
        for walking in self._some_walk(pick):
            walking.run.unlock(walking.holder)
            stop_walking(self._engine(walking), walking.walk)

    def _put_down(self, pick: int, other: int, how: str) -> None:
        for walking in self._some_walk(pick):
            run, now = walking.run, self.clock.now()
            dues = [job.not_before for job in run.jobs.values() if job.status == "Waiting"]
            wake_at = min((due for due in dues if due is not None), default=None)
            status = RunStatus.WAITING if wake_at is not None else None
            _agree(
                partial(run.put_down, walking.holder, status, wake_at, now),
                partial(put_down, self._engine(walking), walking.walk, status, wake_at),
            )

    def _close_if_done(self, pick: int, other: int, how: str) -> None:
        for walking in self._some_walk(pick):
            if len(walking.endings) == len(walking.run.jobs) and not walking.walk.run.ended:
                _agree(
                    partial(walking.run.close_if_done, walking.holder, self.clock.now()),
                    partial(close_run_if_done, self._engine(walking), walking.walk),
                )

    def _obey_a_cancel(self, pick: int, other: int, how: str) -> None:
        for walking in self._some_walk(pick):
            run, status = walking.run, RunStatus.CANCELLED
            if run.cancel:
                _agree(
                    partial(run.stop, "Cancelled"),
                    partial(end_run, self.store, self.clock, run.tenant, run.id, status, "asked"),
                )

    # --- attempts

    def _begin(self, pick: int, other: int, how: str) -> None:
        for walking in self._some_walk(pick):
            self._begun(walking, other)

    def _begin_and_finish(self, pick: int, other: int, how: str) -> None:
        for walking in self._some_walk(pick):
            trying = self._begun(walking, other)
            if trying is not None:
                self._finished(trying, how)

    def _finish(self, pick: int, other: int, how: str) -> None:
        """Under way, done before and delivered again, or of a worker that was stopped too long."""
        if self.tries:
            self._finished(_of(self.tries, pick), how)

    def _go_on(self, pick: int, other: int, how: str) -> None:
        """As far as a run gets, taken up anew where nobody is at it; its first job in this way."""
        if not any(run.slot for run in self.runs):
            self._dispatch(pick, other, how)
        admitted = [run for run in self.runs if run.slot]
        if not admitted:
            return
        run = _of(admitted, pick)
        self._taken_up(pick, run)
        for walking in [walking for walking in self.walks if walking.run is run][-1:]:
            for _ in range(4):
                trying = self._begun(walking, other)
                if trying is not None:
                    self._finished(trying, how)
                    how = "succeeded"
                self.clock.pass_time(TICK)

    # --- time, sweeps and people

    def _pass_time(self, pick: int, other: int, how: str) -> None:
        self.clock.pass_time(timedelta(seconds=_of((1, 601, 61, 31, 61), pick)))

    def _lose_all_workers(self, pick: int, other: int, how: str) -> None:
        self.clock.pass_time(timedelta(seconds=61))
        self._sweep(pick, other, how)

    def _sweep(self, pick: int, other: int, how: str) -> None:
        for run in self.runs:
            run.sweep(self.clock.now())
        sweep(self.store, self.clock)

    def _cancel(self, pick: int, other: int, how: str) -> None:
        if other > 3:
            return  # so that some runs live on
        run = _of(self.runs, pick)
        _agree(run.ask_to_cancel, partial(cancel_run, *self._of_run(run)))

    def _pause(self, pick: int, other: int, how: str) -> None:
        run = _of(self.runs, pick)
        _agree(partial(run.ask_to_pause, self.clock.now()), partial(pause_run, *self._of_run(run)))

    def _resume(self, pick: int, other: int, how: str) -> None:
        run = _of(self.runs, pick)
        _agree(run.ask_to_resume, partial(resume_run, *self._of_run(run)))

    def _decide(self, pick: int, other: int, how: str) -> None:
        """Somebody decides what a job waits for, whoever walks its run or does not."""
        run, now = _of(self.runs, pick), self.clock.now()
        if run.ended:
            return
        waiting = [name for name, job in run.jobs.items() if job.status == "Waiting"]
        name = _of(waiting or list(run.jobs), other)
        run.wake(name, now)
        with self.store.begin(run.tenant) as tx:
            wake(tx, tx.lock_run(run.id), name, now)

    def _retry(self, pick: int, other: int, how: str) -> None:
        run = _of([run for run in self.runs if run.status == "Failed"] or self.runs, pick)
        desk = self.factory.desk
        _agree(
            partial(run.retry, self.clock.now()), partial(retry_run, *self._of_run(run), desk=desk)
        )

    def _retry_a_job(self, pick: int, other: int, how: str) -> None:
        run = _of([run for run in self.runs if run.status == "Failed"] or self.runs, pick)
        name = _of(list(run.jobs), other)
        store, clock, tenant, run_id, by = self._of_run(run)
        _agree(
            partial(run.retry, self.clock.now(), name),
            partial(retry_job, store, clock, tenant, run_id, name, by),
        )

    # --- what holds at all times

    @invariant()
    def the_store_is_as_the_model_says(self):
        self.clock.pass_time(TICK)
        assert isinstance(self.store, SqlRunStore)
        found = read_runs(self.store, [run.id for run in self.runs])
        for run, rows in zip(self.runs, found, strict=True):
            row = rows.run
            assert facts_of_row(row) == facts_of_run(run)
            assert {job.step for job in rows.jobs} == set(run.jobs)
            for job in rows.jobs:
                model = run.jobs[job.step]
                tries = [a for a in rows.attempts if a.step == job.step]
                assert [a.number for a in tries] == list(range(1, job.attempt + 1))
                assert [a.outcome for a in tries] == model.outcomes
                assert model.outcomes[:-1].count(None) == 0
                assert (model.outcomes[-1:] == [None]) == (job.status is JobStatus.RUNNING)
                assert job.fencing_token == job.attempt
                assert job.failures <= job.max_attempts
                assert (job.lease_owner is None) == (job.status is not JobStatus.RUNNING)
                assert (
                    job.status, job.version, job.failures, job.losses,
                    job.lease_owner, job.lease_expires_at, job.not_before,
                ) == (
                    model.status, model.version, model.failures, model.losses,
                    model.owner, model.lease, model.not_before,
                )  # fmt: skip
                if job.status is JobStatus.RUNNING:
                    assert (row.status, row.admitted_at is None) == (RunStatus.RUNNING, False)
            check_history(row, {job.step: job.status for job in rows.jobs}, rows.events)
            self._check_effects(run, rows.effects)

    @invariant()
    def who_has_lost_a_job_does_nothing_outside(self):
        assert not self.trespassed

    @invariant()
    def no_more_runs_than_the_cap_have_a_slot(self):
        with self.store.begin_dispatch() as dispatch:
            taken = len(dispatch.holders())
        assert taken == sum(run.slot for run in self.runs) <= CAP

    def teardown(self) -> None:
        # The database is everybody's: the next example finds no slot taken and nothing waiting.
        for run in self.runs:
            with suppress(ConflictError):
                end_run(self.store, self.clock, run.tenant, run.id, RunStatus.CANCELLED, "done")

    # --- the rest

    def _requested(
        self,
        tenant: int,
        recipe: Recipe,
        rank: int,
        key: str | None = None,
        deadline: timedelta | None = None,
        flow: str | None = None,
    ) -> ModelRun:
        name, now = self.tenants[tenant], self.clock.now()
        body = (recipe, rank, deadline)
        known = self.requests.get((name, key)) if key is not None else None

        def ask() -> Run:
            return self.factory.request(
                recipe.name,
                tenant_id=name,
                priority=PRIORITIES[rank],
                deadline=deadline,
                idempotency_key=key,
                flow_run_id=flow,
            )

        if known is not None and known[0] != body:
            with pytest.raises(ConflictError):
                ask()
            return known[1]
        row = ask()
        if known is not None:
            assert row.id == known[1].id
            return known[1]
        jobs = {name: ModelJob(needs) for name, needs in recipe.jobs.items()}
        run = ModelRun(row.id, name, recipe, rank, now, deadline, jobs)
        run.deadline_at = None if deadline is None else now + deadline
        self.runs.append(run)
        if key is not None:
            self.requests[name, key] = (body, run)
        return run

    def _taken_up(self, worker: int, run: ModelRun) -> None:
        engine, now = self.engines[worker % 2], self.clock.now()
        flow_run = self._row(run).flow_run_id or f"flow-of-{run.id}"
        try:
            taken = begin_walk(engine, run.tenant, run.id, flow_run)
        except ConflictError:
            with pytest.raises(RefusedError):
                run.begin_walk("somebody", now)
            return
        if isinstance(taken, Run):
            assert (taken.status, run.ended) == (run.status, True)
            return
        assert not run.ended
        run.begin_walk(taken.holder, now)
        seen = {name: job.version for name, job in run.jobs.items()}
        endings = {n: job.status for n, job in run.jobs.items() if job.ended}
        assert {name: ending.status for name, ending in taken.endings.items()} == endings
        self.walks.append(Walking(run, taken, worker % 2, seen, endings))

    def _begun(self, walking: Walking, pick: int) -> Trying | None:
        run, now = walking.run, self.clock.now()
        ready = [
            name
            for name, job in run.jobs.items()
            if name not in walking.endings
            and walking.endings.keys() >= set(job.needs)
            and (job.not_before is None or job.not_before <= now)
        ]
        if not ready:
            return None
        name = _of(ready, pick)
        version = walking.seen[name]
        if not run.verdict(name, walking.endings):
            skipped = _agree(
                lambda: run.skip(walking.holder, name, version, walking.endings, now),
                lambda: begin_attempt(self._engine(walking), walking.walk, name),
            )
            if skipped:
                walking.endings[name] = "Skipped"
                walking.seen[name] = run.jobs[name].version
            return None
        claimed = _agree(
            lambda: run.claim(walking.holder, name, version, now),
            lambda: begin_attempt(self._engine(walking), walking.walk, name),
        )
        if claimed is None:
            return None
        number, begun = claimed
        assert isinstance(begun, Begun)
        assert begun.attempt.number == number
        walking.seen[name] = run.jobs[name].version
        trying = Trying(walking, name, number, begun)
        self.tries.append(trying)
        return trying

    def _finished(self, trying: Trying, how: str) -> None:
        walking, now = trying.walking, self.clock.now()
        self.how, self.may_act = how, walking.run.holds(trying.name, trying.number)
        if how == "cancelled":
            trying.begun.stopped.set()
        elif trying.begun.stopped.is_set():
            how = "cancelled"  # who was asked to stop has nothing else to say
        if how == "suspended":
            walking.walk.suspending.set()
        ended = _agree(
            lambda: walking.run.finish(trying.name, trying.number, how, now, walking.endings),
            lambda: self._publish(trying),
        )
        walking.walk.suspending.clear()
        if ended is None:
            return
        status, answer = ended
        walking.seen[trying.name] = walking.run.jobs[trying.name].version
        if isinstance(answer, Ending):
            assert answer.status == status
            walking.endings[trying.name] = status
        else:
            assert answer.outcome == how

    def _publish(self, trying: Trying) -> Ending | AnotherAttempt:
        """As the task of a job does."""
        engine, walk = self._engine(trying.walking), trying.walking.walk
        try:
            return publish_attempt(engine, walk, trying.begun, None)
        except Exception as error:
            return fail_attempt(engine, walk, trying.begun, error)

    def _behave(self, context: JobContext, with_: Mapping[str, Any]) -> JobResult | WaitUntil:
        """What every job does: its effect, where nobody has done it, and then what was said."""
        made = context.intend("thing", "a thing")
        if made is None:
            context.check_lease()
            self.trespassed |= not self.may_act
            made = self.world.make(context.facts.effect_key)
        match self.how:
            case "transient-error":
                raise busy()
            case "permanent-error":
                raise ValueError("no")
            case "waiting":
                return WaitUntil(context.now() + WAIT, "something outside")
            case "suspended":
                context.safe_point()
            case _:
                pass
        return JobResult(effects=(ConfirmedEffect("thing", made),))

    def _check_effects(self, run: ModelRun, effects: Sequence[Effect]) -> None:
        ledger = {effect.effect_key: effect for effect in effects}
        for name, job in run.jobs.items():
            key = f"{run.id}:{name}"
            made = self.world.made[key]
            assert made <= (key in ledger)
            if job.status == "Succeeded":
                assert (made, ledger[key].status) == (1, EffectStatus.CONFIRMED)

    def _some_walk(self, pick: int) -> list[Walking]:
        return [_of(self.walks, pick)] if self.walks else []

    def _engine(self, walking: Walking) -> Any:
        return self.engines[walking.worker]

    def _row(self, run: ModelRun) -> Run:
        with self.store.begin(run.tenant, read_only=True) as tx:
            return tx.get_run(run.id)

    def _of_run(self, run: ModelRun) -> Any:
        return self.store, self.clock, run.tenant, run.id, "ada"


def _agree(model: Callable[[], T], real: Callable[[], Any]) -> tuple[T, Any] | None:
    """What both answer; None where both refuse."""
    try:
        expected = model()
    except RefusedError:
        with pytest.raises(ConflictError):
            real()
        return None
    return expected, real()


def _of(things: Sequence[T], pick: int) -> T:
    return things[-1 - pick % len(things)]  # the newest are the likeliest to go on
