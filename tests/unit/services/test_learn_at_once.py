"""Several learners at once: none misses what another has seen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from factory_runtime.domain.errors import HostRejectedError, StaleVersionError
from factory_runtime.domain.memory import Kind
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.memory_turn import take_turn
from factory_runtime.services.refold import refold
from tests.builders import TENANT
from tests.learning import School
from tests.small_factory import SmallFactory, fails, steps

RUNS = 4


@pytest.fixture
def school(tmp_path: Path, database_store: SqlRunStore) -> School:
    """On each of the real databases, with runs that failed alike."""
    factory = SmallFactory(tmp_path / "templates", database_store)
    factory.template(steps("a:"))
    factory.on["a"] = fails(HostRejectedError("no"))
    school = School(factory)
    for _ in range(RUNS):
        school.run()
    return school


def test_learners_of_different_runs_and_of_the_same_make_one_pattern_of_all(school: School):
    messages = school.messages() * 2
    together = Barrier(len(messages))

    def learn(message: OutboxMessage) -> None:
        together.wait()
        try:
            school.learner.learn_run(message)
        except StaleVersionError:
            school.learner.learn_run(message)  # as the outbox does

    with ThreadPoolExecutor(len(messages)) as pool:
        list(pool.map(learn, messages))
    assert school.memory(Kind.FAILURE).facts["runs"] == RUNS
    assert len(school.memories(Kind.RUN)) == RUNS


def test_one_who_forgets_beside_one_who_learns_leaves_what_is_left(school: School):
    first, *others = school.messages()
    school.learn([first])
    together = Barrier(2)

    def learn() -> None:
        together.wait()
        school.learn(others)

    def forget() -> None:
        together.wait()
        with school.factory.store.begin(TENANT) as tx:
            take_turn(tx, school.factory.clock.at)
            subjects = tx.delete_observations(run_id=str(first.payload["run_id"]))
            refold(tx, subjects, school.factory.clock.at)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(learn), pool.submit(forget)]:
            done.result()
    assert school.memory(Kind.FAILURE).facts["runs"] == RUNS - 1
