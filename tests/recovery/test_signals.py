"""A worker that is killed, or told to end, around each kind of commit in a job's life."""

from __future__ import annotations

import signal
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from factory_runtime.domain.attempt import Outcome
from factory_runtime.run_store.records import ATTEMPTS, EVENTS
from tests.recovery.core_ports import Core
from tests.recovery.core_signals import SignallingStore, signalling
from tests.recovery.core_site import CoreSite
from tests.recovery.core_worker import CoreWorker, work_off
from tests.work_types import lines_of

PLACES = (
    "dispatch_next",
    "_note_flow_run",
    "begin_walk.<locals>.take",
    "_claim",
    "_write_down",  # an intent
    "AttemptContext.check_lease",
    "AttemptContext.save_checkpoint",
    "_come_back",  # an attempt that failed, or waits
    "put_down",
    "end_job",
    "stop_walking",
)
"""Who commits something while a run is executed."""
POINTS = [*((place, 1) for place in PLACES), ("end_job", 3), ("end_job", 7)]
"""The first of each; and a job that is skipped, and the last one, which closes its run."""


@pytest.fixture
def core_site(sqlite_url: str, tmp_path: Path) -> Generator[CoreSite]:
    with closing(CoreSite(sqlite_url, tmp_path / "home")) as site:
        yield site


def a_whole_life(site: CoreSite) -> None:
    """A template with all that a job may do."""
    home = site.orders.home
    (repository,) = site.repositories(1)
    site.template(
        f"name: count, type: count, with: {{file: '{home}/counted', to: 2, pause: 0}}",
        f"name: line, needs: [count], type: touch, with: {{file: '{site.lines('life')}'}}",
        "name: not, needs: [line], type: patient, when: '${{ run.project == \"none\" }}'",
        f"name: commit, needs: [line], type: commit, with: {{repository: {repository}}}",
        f"name: flaky, needs: [commit], type: flaky, with: {{file: '{home}/asked', times: 1}}",
        "name: patient, needs: [flaky], type: patient",
        "name: last, needs: [patient], type: fill, with: {bytes: 20000}",
        name="life",
    )


def test_the_places_are_all_that_commit_while_a_run_is_executed(core_site: CoreSite) -> None:
    a_whole_life(core_site)
    core_site.request("life")
    core_site.core.drain()
    nowhere = signalling("", 0, 0, committed=False)
    core = Core(core_site.orders, nowhere)
    with closing(core.database):
        work_off(CoreWorker(core))
    assert isinstance(core.store, SignallingStore)
    assert set(core.store.asked) == set(PLACES)
    for place, nth in POINTS:
        assert core.store.asked.count(place) >= nth
    core_site.assert_whole()


@pytest.mark.parametrize(
    ("number", "committed", "points"),
    [
        pytest.param(signal.SIGKILL, False, POINTS, id="killed-before"),
        # What is killed right after a commit is killed before the next one, too.
        pytest.param(signal.SIGKILL, True, POINTS[::2], id="killed-after"),
        pytest.param(signal.SIGTERM, False, POINTS[1::2], id="asked-to-end"),
        pytest.param(signal.SIGKILL, True, POINTS, id="killed-after-any", marks=pytest.mark.soak),
        pytest.param(
            signal.SIGTERM, False, POINTS, id="asked-to-end-at-any", marks=pytest.mark.soak
        ),
    ],
)
def test_whichever_commit_a_signal_meets_another_worker_goes_on(
    core_site: CoreSite,
    number: signal.Signals,
    committed: bool,
    points: Sequence[tuple[str, int]],
) -> None:
    a_whole_life(core_site)
    for place, nth in points:
        run = core_site.request("life")
        core_site.core.drain()  # so that the worker begins with its run
        wrap = signalling(place, nth, number, committed=committed)
        worker = core_site.start(work_off, wrap)
        worker.join(60)
        if number is signal.SIGKILL:
            assert worker.exitcode == -signal.SIGKILL, (place, nth)
        else:
            assert worker.exitcode == 0, (place, nth)
            # In good order: nothing is left for the sweep to find.
            assert core_site.core.store.running_runs() == (), (place, nth)
        core = Core(core_site.orders)
        with closing(core.database):
            work_off(CoreWorker(core))
        assert core_site.run(run).ended, (place, nth)
    core_site.assert_whole()
    outcomes = {attempt.outcome for attempt in core_site.rows(ATTEMPTS)}
    assert (Outcome.LOST in outcomes) == (number is signal.SIGKILL)


def count_on(site: CoreSite, reads: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """What was counted by version 1 until it was killed, and then by version 2."""
    counted = site.orders.home / "counted"
    step = f"name: count, type: count, with: {{file: '{counted}', to: 6, pause: 0}}"
    site.template(step, name="count")
    site.request("count")
    site.core.drain()
    save = "AttemptContext.save_checkpoint"
    wrap = signalling(save, 3, signal.SIGKILL, committed=True)
    worker = site.start(work_off, wrap)
    worker.join(60)
    assert worker.exitcode == -signal.SIGKILL
    before = lines_of(counted)
    later = site.start(work_off, count_version="2", count_reads=reads)
    later.join(60)
    assert later.exitcode == 0
    site.assert_whole()
    return before, lines_of(counted)[len(before) :]


def test_a_checkpoint_of_an_older_version_that_is_read_is_gone_on_from(core_site: CoreSite) -> None:
    assert count_on(core_site, reads=("1",)) == (["1", "2", "3"], ["4", "5", "6"])


def test_a_checkpoint_of_an_older_version_that_is_not_read_is_left_aside(
    core_site: CoreSite,
) -> None:
    before, behind = count_on(core_site, reads=())
    assert (before, behind) == (["1", "2", "3"], ["1", "2", "3", "4", "5", "6"])
    logged = [event.detail["message"] for event in core_site.rows(EVENTS) if event.kind == "log"]
    assert any("checkpoint is of version 1" in message for message in logged)
