"""Laws of executing that hold for every small plan, whatever its jobs do and whoever is killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from threading import Condition, Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.job import JobStatus, SkipReason
from factory_runtime.domain.progress import Ending, run_ending
from factory_runtime.domain.result import JobResult
from factory_runtime.domain.run import RUN_ENDED, Run, RunStatus
from factory_runtime.ports import JobContext
from factory_runtime.services.attempt import Begun
from factory_runtime.services.bodies import from_body
from factory_runtime.services.claim_job import begin_attempt
from factory_runtime.services.end_run import close_run_if_done
from factory_runtime.services.engine import Walk
from tests.small_factory import SmallFactory, busy

QUICK = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
MAX_ATTEMPTS = 3
WHEN = {
    "always": None,
    "never, known early": "${{ 1 == 2 }}",
    "never, known late": "${{ run.project == 'none' }}",
    "yes, known late": "${{ run.project == 'shop' }}",
}


@dataclass(frozen=True)
class Sketch:
    """A step of a random template.

    Attributes:
        busy: how many attempts fail before one goes through; beyond the budget none does.
        bad: whether it fails for good at once.
        spare: the step that stands in for it.
    """

    name: str
    needs: tuple[str, ...] = ()
    busy: int = 0
    bad: bool = False
    when: str = "always"
    goes_on: bool = False
    spare: str | None = None

    @property
    def gives_up(self) -> bool:
        return self.bad or self.busy >= MAX_ATTEMPTS

    def text(self) -> str:
        lines = [
            f"  - name: {self.name}",
            "    type: act",
            f"    needs: [{', '.join(self.needs)}]",
            f"    retry: {{max_attempts: {MAX_ATTEMPTS}, delays: [1s]}}",
        ]
        if (when := WHEN[self.when]) is not None:
            lines.append(f'    when: "{when}"')
        if self.goes_on:
            lines.append("    on_failure: continue")
        elif self.spare is not None:
            lines.append(f"    on_failure: {{fallback: {self.spare}}}")
        return "\n".join(lines)


@st.composite
def sketches(draw: st.DrawFn) -> tuple[Sketch, ...]:
    """Up to six steps, each needing some before it, with up to two in its place if it fails."""
    found: list[Sketch] = []
    own: list[str] = []
    for number in range(draw(st.integers(1, 6))):
        needs = tuple(draw(st.lists(st.sampled_from(own), unique=True, max_size=3)) if own else ())
        spares = draw(st.sampled_from([0, 0, 0, 1, 2]))
        chain = [f"s{number}", *(f"s{number}-spare{n}" for n in range(spares))]
        for name, spare in zip(chain, [*chain[1:], None], strict=True):
            found.append(
                Sketch(
                    name,
                    needs if name == chain[0] else (),
                    busy=draw(st.sampled_from([0, 0, 0, 1, 2, MAX_ATTEMPTS])),
                    bad=draw(st.sampled_from([False, False, True])),
                    when=draw(st.sampled_from(["always", *WHEN])),
                    goes_on=spare is None and draw(st.booleans()),
                    spare=spare,
                )
            )
        own.extend(chain)
    return tuple(found)


class Show:
    """A factory that walks sketches, and what it saw while their jobs were at work."""

    def __init__(self, folder: Path) -> None:
        self.factory = SmallFactory(folder)
        self.walk: Walk | None = None
        self.seen: list[tuple[str, frozenset[str]]] = []
        self.tries = Counter[str]()
        self._number = 0

    def start(self, plan: tuple[Sketch, ...]) -> Walk:
        """A walk of a new run of a new version of the template."""
        self._number += 1
        self.seen = []
        self.tries = Counter[str]()
        for sketch in plan:
            self.factory.on[sketch.name] = self._behaviour(sketch)
        text = "\n".join(["steps:", *(sketch.text() for sketch in plan), ""])
        self.factory.template(text, version=f"1.0.{self._number}")
        return self.take_up(self.factory.request())

    def take_up(self, run: Run) -> Walk:
        self.walk = self.factory.take_up(run, f"flow-of-{run.id}")
        return self.walk

    def take_over(self, walk: Walk) -> Walk:
        self.walk = self.factory.take_over(walk)
        return self.walk

    def _behaviour(self, sketch: Sketch) -> Any:
        def publish(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
            assert self.walk is not None
            self.seen.append((sketch.name, frozenset(self.walk.endings)))
            self.tries[sketch.name] += 1
            if sketch.bad:
                raise ValueError(sketch.name)
            if self.tries[sketch.name] <= sketch.busy:
                raise busy()
            return JobResult(outputs={"by": sketch.name})

        return publish


@pytest.fixture(scope="module")
def show(tmp_path_factory: pytest.TempPathFactory) -> Generator[Show]:
    whole = Show(tmp_path_factory.mktemp("templates"))
    yield whole
    whole.factory.store.close()


def in_two_threads(factory: SmallFactory, walk: Walk, chance: Random) -> Run:
    """Two workers, each taking some job that is ready, until none is left."""
    changed, taken = Condition(), set[str]()

    def work() -> None:
        while True:
            with changed:
                while not (free := [n for n in factory.ready(walk) if n not in taken]):
                    if len(walk.endings) == len(walk.plan.jobs) or broken:
                        return
                    changed.wait(10)
                name = chance.choice(free)
                taken.add(name)
            try:
                factory.finish(walk, name)
            except BaseException as error:
                broken.append(error)
                raise
            finally:
                with changed:
                    changed.notify_all()

    broken: list[BaseException] = []
    threads = [Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert broken == []
    return walk.run  # closed by whichever of them did the last job


def with_kills(show: Show, walk: Walk, chance: Random) -> Run:
    """One attempt after the other; now and then the executor dies with an attempt under way."""
    factory = show.factory
    while ready := factory.ready(walk):
        name = chance.choice(ready)
        if chance.random() < 0.3:
            if isinstance(begin_attempt(factory.engine, walk, name), Begun):
                walk = show.take_over(walk)
        else:
            factory.attempt(walk, name)
    return close_run_if_done(factory.engine, walk)


def hold(show: Show, plan: tuple[Sketch, ...], run: Run) -> dict[str, Ending]:
    """The laws that every ended run obeys; how its jobs ended."""
    factory, walk = show.factory, show.walk
    assert walk is not None
    jobs = factory.jobs(run)
    endings = {name: Ending(job.status, job.skip_reason) for name, job in jobs.items()}

    # every job has ended, and so has the run, once, as its jobs say
    assert all(job.ended for job in jobs.values())
    assert run.status is run_ending(walk.plan, endings)
    assert [status for status in factory.moves(run) if status in RUN_ENDED] == [run.status]
    assert len([m for m in factory.messages("memory.run") if m.payload["run_id"] == run.id]) == 1

    # what the executor knows is what the record says
    assert factory.run(run) == run == walk.run
    assert (walk.jobs, walk.endings) == (jobs, endings)
    given_ = {
        name: from_body(factory.storage, run.tenant_id, job.outputs)
        for name, job in jobs.items()
        if job.status is JobStatus.SUCCEEDED
    }
    assert walk.outputs == given_ == {name: {"by": name} for name in given_}

    # no job was at work before all its needs had ended
    for name, ended in show.seen:
        assert set(walk.plan.job(name).needs) <= ended

    by_name = {sketch.name: sketch for sketch in plan}
    for name, job in jobs.items():
        attempts = factory.attempts(run, name)
        assert [attempt.number for attempt in attempts] == list(range(1, job.attempt + 1))
        assert all(attempt.outcome is not None for attempt in attempts)
        assert job.failures <= MAX_ATTEMPTS
        assert job.attempt == job.failures + job.losses + (job.status is JobStatus.SUCCEEDED)
        assert (job.attempt == 0) == (job.status is JobStatus.SKIPPED)
        good = [a for a in attempts if a.outcome is Outcome.SUCCEEDED]
        assert len(good) == (job.status is JobStatus.SUCCEEDED)
        if job.skip_reason is not SkipReason.NEED_FAILED:
            assert not [n for n in by_name[name].needs if _blocks(by_name, endings, n)]

        spare = by_name[name].spare
        if spare is not None and job.skip_reason is SkipReason.NEED_FAILED:
            assert endings[spare].skip_reason is SkipReason.NEED_FAILED

    failed = [name for name, ending in endings.items() if ending.status is JobStatus.FAILED]
    excused = all(by_name[n].goes_on or _is_replaced(by_name, endings, n) for n in failed)
    assert run.status is (RunStatus.SUCCEEDED if excused else RunStatus.FAILED)
    return endings


def _is_replaced(plan: Mapping[str, Sketch], endings: Mapping[str, Ending], name: str) -> bool:
    spare = plan[name].spare
    if spare is None:
        return False
    return endings[spare].status is JobStatus.SUCCEEDED or _is_replaced(plan, endings, spare)


def _blocks(plan: Mapping[str, Sketch], endings: Mapping[str, Ending], need: str) -> bool:
    if endings[need].status is JobStatus.FAILED:
        return not plan[need].goes_on and not _is_replaced(plan, endings, need)
    return endings[need].skip_reason is SkipReason.NEED_FAILED


@QUICK
@given(sketches())
def test_every_run_ends_as_its_jobs_do(show: Show, plan: tuple[Sketch, ...]):
    run = show.factory.drive(show.start(plan))
    for name, ending in hold(show, plan, run).items():
        sketch = next(s for s in plan if s.name == name)
        if ending.status is not JobStatus.SKIPPED:
            assert (ending.status is JobStatus.FAILED) == sketch.gives_up


@QUICK
@given(sketches(), st.randoms(use_true_random=True))
def test_two_executing_threads_end_a_run_as_one_does(
    show: Show, plan: tuple[Sketch, ...], chance: Random
):
    alone = hold(show, plan, show.factory.drive(show.start(plan)))
    together = hold(show, plan, in_two_threads(show.factory, show.start(plan), chance))
    assert together == alone


@QUICK
@given(sketches(), st.randoms(use_true_random=True))
def test_a_run_whose_executors_are_killed_ends_by_the_same_laws(
    show: Show, plan: tuple[Sketch, ...], chance: Random
):
    hold(show, plan, with_kills(show, show.start(plan), chance))
