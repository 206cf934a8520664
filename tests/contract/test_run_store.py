"""The run store's contract: runs and jobs, on every implementation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from factory_runtime.domain.body import Body, BodyReference
from factory_runtime.domain.errors import (
    IllegalTransitionError,
    InputError,
    JobNotFoundError,
    PermanentError,
    RunNotFoundError,
    StaleVersionError,
)
from factory_runtime.domain.job import JobStatus, SkipReason
from factory_runtime.domain.run import Priority, Run, RunStatus
from factory_runtime.ports import RunFilter, RunStore, RunTransaction
from tests.builders import TENANT, a_job, a_run, after, an_attempt
from tests.stored import added


def validated(**values: object) -> Run:
    return a_run(**{"status": RunStatus.VALIDATED, **values})


# --- what goes in comes out


def test_a_run_comes_back_as_it_went_in(run_store: RunStore) -> None:
    run = a_run(
        module_id="billing",
        priority=Priority.HIGH,
        plan=Body(reference=BodyReference("c" * 64, 40_000)),
        outputs=Body(inline={"b": 1, "a": [1, 2.5, None, True]}),
        started_at=after(1.000001),
        completed_at=after(2),
        deadline_at=after(7200),
        admitted_at=after(0.5),
        wake_at=after(90),
        people_asked_at=after(80),
        delivery_id="b1946ac9-1d2e",
        cancel_requested_at=after(3),
        pause_requested_at=after(4),
        flow_run_id="0b6f",
        error="the host said no",
        build_id="b1",
        repo_id="r1",
        pipeline_id="p1",
        work_item_id="w1",
        metadata={"source": "cli"},
    )
    added(run_store, run)
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.get_run(run.id) == run


def test_a_body_keeps_the_order_of_its_keys(run_store: RunStore) -> None:
    run = added(run_store, a_run(inputs=Body(inline={"zebra": 1, "ant": 2})))
    with run_store.begin(TENANT) as tx:
        assert list(tx.get_run(run.id).inputs.inline) == ["zebra", "ant"]


def test_a_body_of_null_is_not_no_body(run_store: RunStore) -> None:
    run = added(run_store, a_run(outputs=Body(inline=None)))
    with run_store.begin(TENANT) as tx:
        assert tx.get_run(run.id).outputs == Body(inline=None)
        assert tx.get_run(run.id).plan is None


@pytest.mark.parametrize(
    "text", ["\x00", "\ud800", "\U0001f600 ünï", "'; DROP TABLE runs; --", "%s %(x)s :x", "\\", ""]
)
def test_hostile_text_in_inputs_comes_back_unharmed(run_store: RunStore, text: str) -> None:
    run = added(run_store, a_run(inputs=Body(inline={text: [text]}), metadata={"text": text}))
    with run_store.begin(TENANT) as tx:
        assert tx.get_run(run.id) == run


def test_what_no_database_can_hold_is_replaced_in_text_for_people(run_store: RunStore) -> None:
    run = added(run_store, a_run(error="half \x00 and \ud800 gone"))
    with run_store.begin(TENANT) as tx:
        assert tx.get_run(run.id).error == "half \ufffd and \ufffd gone"


def test_a_number_that_is_not_json_is_refused(run_store: RunStore) -> None:
    with pytest.raises(InputError, match="hold this value"), run_store.begin(TENANT) as tx:
        tx.add_run(a_run(inputs=Body(inline=float("nan"))))


def test_a_time_without_zone_is_refused(run_store: RunStore) -> None:
    naive = datetime(2026, 11, 21, 12)  # noqa: DTZ001
    with pytest.raises(InputError, match="no time zone"), run_store.begin(TENANT) as tx:
        tx.add_run(a_run(requested_at=naive))


def test_a_time_of_another_zone_is_the_same_moment(run_store: RunStore) -> None:
    there = after(5).astimezone(timezone(timedelta(hours=-9)))
    run = added(run_store, a_run(requested_at=there))
    with run_store.begin(TENANT) as tx:
        assert tx.get_run(run.id).requested_at == after(5)
        assert tx.get_run(run.id).requested_at.utcoffset() == timedelta(0)


def test_text_longer_than_its_column_is_refused_by_name(run_store: RunStore) -> None:
    with pytest.raises(InputError, match=r"runs\.project_id holds 200 characters, not 201"):
        added(run_store, a_run(project_id="x" * 201))


def test_unknown_ids_are_not_found(run_store: RunStore) -> None:
    for unknown in ("run-none", "", "x" * 5000, "\x00", "\ud800", "%"):
        with run_store.begin(TENANT) as tx, pytest.raises(RunNotFoundError):
            tx.get_run(unknown)
        with run_store.begin(TENANT) as tx, pytest.raises(RunNotFoundError):
            tx.lock_run(unknown)
        with run_store.begin(TENANT) as tx, pytest.raises(JobNotFoundError):
            tx.get_job(unknown, "generate-repo")


# --- transactions


def test_a_block_that_raises_leaves_nothing(run_store: RunStore) -> None:
    run = a_run()

    with pytest.raises(KeyboardInterrupt), run_store.begin(TENANT) as tx:  # noqa: PT012
        tx.add_run(run, [a_job(run)])
        raise KeyboardInterrupt
    with run_store.begin(TENANT) as tx:
        assert tx.list_runs(RunFilter()).items == ()
        assert tx.list_jobs(run.id) == ()
        assert tx.list_events(run.id) == ()


def test_a_transaction_sees_its_own_writes(run_store: RunStore) -> None:
    run = a_run()
    with run_store.begin(TENANT) as tx:
        tx.add_run(run)
        assert tx.get_run(run.id) == run


def test_a_transaction_that_only_reads_refuses_to_write(run_store: RunStore) -> None:
    run = added(run_store, validated())
    writes: list[Callable[[RunTransaction], object]] = [
        lambda tx: tx.add_run(a_run()),
        lambda tx: tx.lock_run(run.id),
        lambda tx: tx.save_run(run, run.move_to(RunStatus.QUEUED, after(1))),
        lambda tx: tx.add_attempt(an_attempt(a_job(run))),
        lambda tx: tx.unlock("cache", "me"),
    ]
    for write in writes:
        with run_store.begin(TENANT, read_only=True) as tx, pytest.raises(PermanentError):
            write(tx)
    with run_store.begin(TENANT) as tx:
        assert tx.get_run(run.id) == run


def test_a_run_is_added_once(run_store: RunStore) -> None:
    run = added(run_store, a_run())
    with pytest.raises(StaleVersionError):
        added(run_store, replace(run, error="another"))
    with run_store.begin(TENANT) as tx:
        assert tx.get_run(run.id) == run


def test_ten_thousand_jobs_are_added_at_once_in_plan_order(database_store: RunStore) -> None:
    run = a_run()
    names = [f"apply-domain[{number:05}]" for number in range(10_000)]
    jobs = [a_job(run, step=name, position=place) for place, name in enumerate(names)]
    added(database_store, run, *reversed(jobs))
    with database_store.begin(TENANT) as tx:
        assert [job.step for job in tx.list_jobs(run.id)] == names


def test_a_refusal_that_was_caught_is_never_a_silent_rollback(run_store: RunStore) -> None:
    # PostgreSQL gives the transaction up, and would answer its commit by undoing all of it.
    run, committed = a_run(), True
    try:
        with run_store.begin(TENANT) as tx:
            tx.add_run(run)
            tx.list_runs(RunFilter())  # so that it is written
            tx.add_run(run)
            with pytest.raises(StaleVersionError):
                tx.list_runs(RunFilter())
    except PermanentError:
        committed = False
    with run_store.begin(TENANT) as tx:
        assert (tx.list_runs(RunFilter()).items == (run,)) is committed


def test_rows_that_come_together_are_written_or_refused_together(run_store: RunStore) -> None:
    run, other = a_run(), a_run(id="run-2")

    def add() -> None:
        with run_store.begin(TENANT) as tx:
            tx.add_run(other)
            tx.add_run(run)
            tx.add_run(run)  # told at the end

    with pytest.raises(StaleVersionError):
        add()
    with run_store.begin(TENANT) as tx:
        assert tx.list_runs(RunFilter()).items == ()


def test_nothing_is_committed_without_what_was_refused(run_store: RunStore) -> None:
    # Rows behind the one that was refused were never sent: who goes on would lose them.
    run, other = a_run(), a_run(id="run-2")

    def add() -> None:
        with run_store.begin(TENANT) as tx:
            tx.add_run(run)
            tx.add_run(run)
            with pytest.raises(StaleVersionError):
                tx.list_runs(RunFilter())
            tx.add_run(other)

    with pytest.raises(PermanentError, match=r"cannot go on without|given it up"):
        add()
    with run_store.begin(TENANT) as tx:
        assert tx.list_runs(RunFilter()).items == ()


@pytest.mark.parametrize("count", [1, 2])
def test_what_no_column_can_hold_is_the_requests_fault(run_store: RunStore, count: int) -> None:
    def add() -> None:
        with run_store.begin(TENANT) as tx:
            for number in range(count):
                tx.add_run(a_run(id=f"run-{number}", metadata={"size": float("nan")}))

    with pytest.raises(InputError):
        add()


# --- transitions


def test_a_move_is_recorded_with_its_event(run_store: RunStore) -> None:
    run = added(run_store, validated())
    queued = run.move_to(RunStatus.QUEUED, after(1))
    with run_store.begin(TENANT) as tx:
        tx.save_run(run, queued, detail={"cycle": 0})
    with run_store.begin(TENANT) as tx:
        assert tx.get_run(run.id) == queued
        first, second = tx.list_events(run.id)
    assert (first.kind, first.from_status, first.to_status) == ("run", None, "Validated")
    assert (second.kind, second.from_status, second.to_status) == ("run", "Validated", "Queued")
    assert (second.at, second.detail, second.step) == (after(1), {"cycle": 0}, None)


def test_a_change_without_a_move_leaves_no_event(run_store: RunStore) -> None:
    run = added(run_store, validated())
    with run_store.begin(TENANT) as tx:
        tx.save_run(run, run.changed(after(1), flow_run_id="f1"))
        assert tx.get_run(run.id).flow_run_id == "f1"
        assert len(tx.list_events(run.id)) == 1


def test_a_repeated_move_changes_nothing(run_store: RunStore) -> None:
    run = added(run_store, validated())
    # A tuple comes back as a list: it must be the same move all the same.
    queued = run.move_to(RunStatus.QUEUED, after(1), metadata={"tags": ("a", "b")}, error="\x00")
    for _ in range(3):
        with run_store.begin(TENANT) as tx:
            tx.save_run(run, queued)
    with run_store.begin(TENANT) as tx:
        assert tx.get_run(run.id).version == queued.version
        assert len(tx.list_events(run.id)) == 2


def test_a_move_from_an_old_version_is_stale(run_store: RunStore) -> None:
    run = added(run_store, validated())
    with run_store.begin(TENANT) as tx:
        tx.save_run(run, run.move_to(RunStatus.QUEUED, after(1)))
    with pytest.raises(StaleVersionError), run_store.begin(TENANT) as tx:
        tx.save_run(run, run.move_to(RunStatus.CANCELLED, after(2)))
    with run_store.begin(TENANT) as tx:
        assert tx.get_run(run.id).status is RunStatus.QUEUED
        assert len(tx.list_events(run.id)) == 2


def test_an_illegal_move_names_both_states(run_store: RunStore) -> None:
    run = added(run_store, a_run(status=RunStatus.SUCCEEDED))
    forged = replace(run, status=RunStatus.RUNNING, version=2)
    with (
        pytest.raises(IllegalTransitionError, match="Succeeded and cannot become Running"),
        run_store.begin(TENANT) as tx,
    ):
        tx.save_run(run, forged)


def test_a_change_needs_a_new_version(run_store: RunStore) -> None:
    run = added(run_store, validated())
    with run_store.begin(TENANT) as tx, pytest.raises(StaleVersionError):
        tx.save_run(run, replace(run, error="changed in place"))


def test_one_run_cannot_be_saved_in_the_place_of_another(run_store: RunStore) -> None:
    run, other = added(run_store, validated()), added(run_store, validated())
    with run_store.begin(TENANT) as tx, pytest.raises(PermanentError):
        tx.save_run(run, other.changed(after(1)))


def test_a_move_of_an_unknown_run_is_not_found(run_store: RunStore) -> None:
    run = validated()
    with run_store.begin(TENANT) as tx, pytest.raises(RunNotFoundError):
        tx.save_run(run, run.move_to(RunStatus.QUEUED, after(1)))


def test_a_job_comes_back_as_it_went_in(run_store: RunStore) -> None:
    run = a_run()
    job = a_job(
        run,
        needs=("generate-repo", "apply-domain[order]"),
        priority=Priority.LOW,
        attempt=2,
        failures=1,
        losses=9,
        not_before=after(9),
        lease_owner="build-7:4211",
        lease_expires_at=after(60),
        fencing_token=2**40,
        started_at=after(1),
        completed_at=after(2),
        last_attempt_at=after(1),
        progress=0.125,
        phrase="half of \U0001f600",
        cached=False,
        skip_reason=SkipReason.CONDITION,
        error="no",
        outputs=Body(inline={"url": "x"}),
        span_id="00f067aa0ba902b7",
        build_id="b",
        repo_id="r",
        pipeline_id="p",
        work_item_id="w",
    )
    added(run_store, run, job)
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.get_job(run.id, job.step) == job


def test_a_job_moves_with_its_event(run_store: RunStore) -> None:
    run = a_run()
    job = a_job(run)
    added(run_store, run, job)
    claimed = job.move_to(JobStatus.RUNNING, after(1), fencing_token=1, attempt=1)
    with run_store.begin(TENANT) as tx:
        tx.save_job(job, claimed, detail={"attempt": 1})
        tx.save_job(job, claimed, detail={"attempt": 1})
        assert tx.get_job(run.id, job.step) == claimed
        event = tx.list_events(run.id)[-1]
        assert len(tx.list_events(run.id)) == 2
    assert (event.kind, event.step, event.from_status, event.to_status, event.detail) == (
        "job",
        "generate-repo",
        "Pending",
        "Running",
        {"attempt": 1},
    )


def test_a_worker_with_an_old_fencing_token_cannot_write(run_store: RunStore) -> None:
    run = a_run()
    job = a_job(run, status=JobStatus.RUNNING, fencing_token=7, version=3)
    added(run_store, run, job)
    paused = replace(job, fencing_token=6)
    with pytest.raises(StaleVersionError), run_store.begin(TENANT) as tx:
        tx.save_job(paused, paused.move_to(JobStatus.SUCCEEDED, after(1)))


def test_a_run_gets_more_jobs_where_its_plan_is_changed(run_store: RunStore) -> None:
    run = a_run()
    first = a_job(run, step="a", position=0)
    added(run_store, run, first)
    more = [a_job(run, step=step, position=at) for step, at in (("c", 2), ("b", 1))]
    with run_store.begin(TENANT) as tx:
        tx.add_jobs(more)
        tx.add_jobs([])
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.list_jobs(run.id) == (first, more[1], more[0])
    with pytest.raises(StaleVersionError), run_store.begin(TENANT) as tx:
        tx.add_jobs([a_job(run, step="b")])


def test_a_job_that_is_no_longer_planned_may_be_planned_again(run_store: RunStore) -> None:
    run = a_run()
    gone = a_job(run, status=JobStatus.SKIPPED, skip_reason=SkipReason.NOT_PLANNED)
    added(run_store, run, gone)
    back = gone.move_to(JobStatus.PENDING, after(1), skip_reason=None)
    with run_store.begin(TENANT) as tx:
        tx.save_job(gone, back)
        assert tx.get_job(run.id, gone.step) == back


def test_a_job_skipped_by_its_condition_stays_skipped(run_store: RunStore) -> None:
    run = a_run()
    good = a_job(run, step="a", status=JobStatus.SKIPPED, skip_reason=SkipReason.CONDITION)
    bad = a_job(run, step="b", status=JobStatus.SKIPPED, skip_reason=SkipReason.NEED_FAILED)
    added(run_store, run, good, bad)
    with run_store.begin(TENANT) as tx:
        tx.save_job(bad, bad.move_to(JobStatus.PENDING, after(1)))
        with pytest.raises(IllegalTransitionError):
            tx.save_job(good, replace(good, status=JobStatus.PENDING, version=2))


def test_a_job_that_begins_skipped_has_an_event(run_store: RunStore) -> None:
    run = a_run()
    skipped = a_job(run, step="b", status=JobStatus.SKIPPED, skip_reason=SkipReason.CONDITION)
    added(run_store, run, a_job(run, step="a"), skipped)
    with run_store.begin(TENANT) as tx:
        assert [(e.kind, e.step, e.to_status) for e in tx.list_events(run.id)] == [
            ("run", None, "Requested"),
            ("job", "b", "Skipped"),
        ]
