"""The dispatcher itself: what it leaves to the next one, and what stands in nobody's way."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import psutil
import pytest

from factory_runtime.domain.attempt import Attempt, Outcome
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunFilter
from factory_runtime.services.dispatch import admit
from factory_runtime.services.end_run import end_run
from tests.executors import Site
from tests.recipes import a_source, a_template
from tests.recovery import dispatcher_faults
from tests.work_types import lines_of

pytestmark = pytest.mark.slow


def attempts_of(site: Site, run: Run) -> tuple[Attempt, ...]:
    with site.runtime.store.begin(run.tenant_id, read_only=True) as tx:
        return tuple(tx.list_attempts(run.id))


def test_a_run_that_outlives_its_executor_is_left_to_the_next_one(site: Site):
    site.work(
        "outliving", "name: a, type: sleep, with: {child: true, seconds: 2, file: FILES/pids}"
    )
    first = site.execute(first=f"{dispatcher_faults.__name__}:have_no_patience")
    run = site.request("outliving", "outliving")
    site.until(lambda: lines_of(site.file("pids")), "its program runs")
    program = psutil.Process(int(lines_of(site.file("pids"))[0]))
    first.end()
    assert site.run(run).status is RunStatus.RUNNING
    _, left = psutil.wait_procs([program], timeout=5)
    assert not left, "its program outlives it"

    site.execute()
    ended = site.wait(run)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    assert site.outcomes(run, "a") == [Outcome.SUSPENDED, Outcome.SUCCEEDED]


def test_a_store_that_was_away_for_a_moment_costs_no_run(site: Site):
    site.work(
        "blip",
        "name: base, type: touch, with: {file: FILES/lines}",
        "name: one, type: sleep, needs: [base], with: {seconds: 0.5}",
        "name: other, type: touch, needs: [base], with: {file: FILES/lines}",
    )
    site.execute(first=f"{dispatcher_faults.__name__}:lose_the_store_once")
    ended = site.complete("blip", "blip")
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    assert lines_of(site.settings.root / dispatcher_faults.WAS_AWAY) == ["other"]
    attempts = attempts_of(site, ended)
    assert sorted(attempt.step for attempt in attempts) == ["base", "one", "other"]
    assert {attempt.outcome for attempt in attempts} == {Outcome.SUCCEEDED}


def test_a_run_born_in_prefect_obeys_the_cap_and_is_started_when_its_turn_has_come(
    a_site: Callable[..., Site],
):
    site = a_site(max_running_runs=1)
    site.template("born", a_template("born"), a_source())
    store, clock = site.runtime.store, site.runtime.clock
    first = site.request("born", "born", name="a")
    admit(store, clock, first, 1, "elsewhere:1")
    beginning = site.execute(first=f"{dispatcher_faults.__name__}:begin_born_in_its_place")
    beginning.may_end = True
    beginning.wait()
    assert lines_of(site.settings.root / dispatcher_faults.BORN) == ["left"]
    with store.begin("local", read_only=True) as tx:
        (born,) = tx.list_runs(RunFilter(statuses=(RunStatus.VALIDATED,))).items
    assert born.requested_by == "prefect"
    assert born.admitted_at is None
    assert site.shown(born) == ("PENDING", "Queued")

    end_run(store, clock, "local", first.id, RunStatus.CANCELLED, "makes room")
    site.execute()
    ended = site.wait(born)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    assert ended.flow_run_id == born.flow_run_id
    site.until_shown(born, "COMPLETED", "Completed")


def test_jobs_of_a_capped_type_are_at_work_one_after_the_other_and_wait_at_no_cost(
    a_site: Callable[..., Site],
):
    site = a_site(topic_caps={"sleep": 1})
    names = [f"layer-{number}" for number in range(5)]
    site.work(
        "in-line",
        "name: base, type: touch, with: {file: FILES/lines}",
        *(
            f"name: {name}, type: sleep, needs: [base], with: {{seconds: 0.2}},"
            f" priority: {'high' if name == names[-1] else 'low'}"
            for name in names
        ),
    )
    site.execute()
    ended = site.complete("in-line", "in-line")
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    with site.runtime.store.begin("local", read_only=True) as tx:
        assert tx.list_topic_waits(ended.id) == ()
    layers = [attempt for attempt in attempts_of(site, ended) if attempt.step in names]
    assert sorted(attempt.step for attempt in layers) == names
    for one, following in pairwise(layers):
        assert one.completed_at is not None
        assert one.completed_at <= following.started_at
    # Low ones may be claimed before it by a hair; once there is a line, it is first.
    assert names[-1] in [attempt.step for attempt in layers[:2]]
