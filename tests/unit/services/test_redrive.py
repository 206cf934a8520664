"""Dead letters that people send round again, one by one or in groups, or discard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from factory_runtime.domain.body import Body, BodyReference
from factory_runtime.domain.dead_letter import (
    Change,
    DeadLetter,
    LetterFilter,
    LetterStatus,
    OrderStatus,
    RedriveOrder,
)
from factory_runtime.domain.errors import (
    ConflictError,
    DeadLetterNotFoundError,
    FactoryError,
    HostRejectedError,
    IllegalTransitionError,
    InputError,
    RedriveOrderNotFoundError,
    StoreUnavailableError,
)
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.domain.result import JobResult
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import JobContext
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.dead_letters import discard, discard_group, find_fingerprint
from factory_runtime.services.drain_outbox import drain_outbox
from factory_runtime.services.end_run import cancel_run
from factory_runtime.services.redrive import Redriver
from factory_runtime.services.redrive_order import change_of, stop_order
from factory_runtime.services.retry_run import plan_round
from factory_runtime.services.topics import GO_ON_REDRIVING
from tests.builders import FINGERPRINT, NOON, TENANT, a_failure_kind, a_job, a_letter, a_run
from tests.faults import POINTS, FaultyStore
from tests.small_factory import SmallFactory, fails, steps
from tests.unit.services.test_letters import completed, letter_of, letters, run_through

REFUSED = HostRejectedError("the host refuses it")
ONE = steps("a: with: {}")


@pytest.fixture
def factory(tmp_path: Path, database_store: SqlRunStore) -> SmallFactory:
    """A factory on each of the databases."""
    return SmallFactory(tmp_path / "templates", database_store)


def redriver(factory: SmallFactory) -> Redriver:
    return Redriver(factory.store, factory.clock, factory.desk)


def failed_runs(factory: SmallFactory, count: int, error: Exception = REFUSED) -> list[Run]:
    """Runs that failed of one kind of failure; from now on their job succeeds."""
    factory.on["a"] = fails(error)
    runs = [completed(factory, ONE) for _ in range(count)]
    del factory.on["a"]
    return runs


def fingerprint_of(factory: SmallFactory) -> str:
    (group,) = factory.store.letter_groups()
    return group.fingerprint


def of_kind(factory: SmallFactory) -> LetterFilter:
    return LetterFilter(fingerprint=fingerprint_of(factory))


def go_on(order_id: str) -> OutboxMessage:
    """What an order leaves in the outbox when it is given."""
    payload = {"order_id": order_id}
    return OutboxMessage("msg-1", TENANT, GO_ON_REDRIVING, order_id, payload, NOON, NOON)


def drain(factory: SmallFactory) -> None:
    handlers = {GO_ON_REDRIVING: redriver(factory).handle}
    drain_outbox(factory.store, factory.clock, handlers, "drain")


def order_of(factory: SmallFactory) -> RedriveOrder:
    with factory.store.begin(TENANT, read_only=True) as tx:
        (order,) = tx.list_redrive_orders()
    return order


def stop(
    factory: SmallFactory, order: RedriveOrder, reason: str = "the host is down again"
) -> RedriveOrder:
    return stop_order(factory.store, factory.clock, TENANT, order.id, "ada", reason)


def ask_for_undo(factory: SmallFactory, run: Run) -> Run:
    with factory.store.begin(TENANT) as tx:
        stands = tx.lock_run(run.id)
        tx.save_run(stands, stands.changed(factory.clock.now(), undo_requested_by="ada"))
    return run


def lose_plan(factory: SmallFactory, run: Run) -> None:
    missing = Body(reference=BodyReference("c" * 64, 1))
    with factory.store.begin(TENANT) as tx:
        stands = tx.lock_run(run.id)
        tx.save_run(stands, stands.changed(factory.clock.now(), plan=missing))


def failed_job_of_a_run_under_way(factory: SmallFactory) -> Run:
    factory.on["a"] = fails(REFUSED)
    factory.template(steps("a: with: {}", "b: with: {}"), name="other")
    run = factory.request("other")
    walk = factory.take_up(run, f"flow-{run.id}")
    factory.finish(walk, "a")
    del factory.on["a"]
    factory.clock.pass_time()
    return walk.run


def count_of(factory: SmallFactory) -> Counter[LetterStatus]:
    return Counter(letter.status for letter in letters(factory))


def actions(factory: SmallFactory, subject: str | None = None) -> list[tuple[str, str]]:
    with factory.store.begin(TENANT, read_only=True) as tx:
        entries = tx.list_audit(subject=subject)
    return [(entry.actor, entry.action) for entry in reversed(entries)]


# --- one letter


def test_a_redriven_run_goes_on_from_there_and_its_earlier_jobs_are_untouched(
    factory: SmallFactory,
) -> None:
    factory.on["b"] = fails(REFUSED, times=1)
    run = completed(factory, steps("a: with: {}", "b: needs: [a]", "c: needs: [b]"))
    before = factory.jobs(run)["a"]
    letter = letter_of(factory, run)
    queued = redriver(factory).redrive(TENANT, letter.id, "grace")
    assert (queued.status, queued.cycle) == (RunStatus.QUEUED, 1)
    assert letter_of(factory, run).status is LetterStatus.REDRIVEN
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert letter_of(factory, run).status is LetterStatus.RESOLVED
    assert factory.jobs(run)["a"] == before
    assert len(factory.attempts(run, "a")) == 1
    assert actions(factory, letter.id) == [("grace", "dead-letter.redrive")]


def test_letters_of_one_run_and_kind_go_round_once_together(factory: SmallFactory) -> None:
    for step in "abc":
        factory.on[step] = fails(REFUSED if step != "c" else ValueError("else"), times=1)
    run = completed(factory, steps("a: with: {}", "b: with: {}", "c: with: {}"))
    by_step = {letter.step: letter for letter in letters(factory, run)}
    redriver(factory).redrive(TENANT, by_step["b"].id, "grace")
    assert {letter.step: letter.status for letter in letters(factory, run)} == {
        "a": LetterStatus.REDRIVEN,
        "b": LetterStatus.REDRIVEN,
        "c": LetterStatus.OPEN,
    }
    assert factory.run(run).cycle == 1
    run_through(factory, run)
    redriver(factory).redrive(TENANT, by_step["c"].id, "grace")
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert count_of(factory) == {LetterStatus.RESOLVED: 3}


def test_of_two_operators_one_redrives_and_the_other_is_told_of_it(factory: SmallFactory) -> None:
    (run,) = failed_runs(factory, 1)
    letter = letter_of(factory, run)
    start = Barrier(2)

    def redrive(by: str) -> Run | FactoryError:
        start.wait()
        try:
            return redriver(factory).redrive(TENANT, letter.id, by)
        except FactoryError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        outcomes = dict(zip(("ada", "grace"), pool.map(redrive, ("ada", "grace")), strict=True))
    (winner,) = (by for by, outcome in outcomes.items() if isinstance(outcome, Run))
    (refusal,) = (outcome for outcome in outcomes.values() if isinstance(outcome, FactoryError))
    assert isinstance(refusal, ConflictError)
    assert f"was sent round again by {winner}" in str(refusal)
    assert (factory.run(run).cycle, letter_of(factory, run).redrives) == (1, 1)


def test_a_letter_sent_round_by_a_retry_of_its_run_names_who_did_it(factory: SmallFactory) -> None:
    from factory_runtime.services.retry_run import retry_run

    (run,) = failed_runs(factory, 1)
    retry_run(factory.store, factory.clock, TENANT, run.id, "ada")
    with pytest.raises(ConflictError, match="sent round again by ada"):
        redriver(factory).redrive(TENANT, letter_of(factory, run).id, "grace")


def test_a_letter_of_a_run_that_is_under_way_waits_for_its_end(factory: SmallFactory) -> None:
    factory.on["a"] = fails(REFUSED)
    walk = factory.start(steps("a: with: {}", "b: with: {}"))
    factory.finish(walk, "a")
    with pytest.raises(IllegalTransitionError, match="Running"):
        redriver(factory).redrive(TENANT, letter_of(factory, walk.run).id, "grace")
    assert letter_of(factory, walk.run).status is LetterStatus.OPEN


def test_a_letter_that_a_run_went_on_without_has_nothing_to_send_round(
    factory: SmallFactory,
) -> None:
    factory.on["a"] = fails(REFUSED)
    run = completed(factory, steps("a: on_failure: continue", "b: needs: [a]"))
    with pytest.raises(ConflictError, match="is carried: the run went on without its job"):
        redriver(factory).redrive(TENANT, letter_of(factory, run).id, "grace")


def test_no_such_letter(factory: SmallFactory) -> None:
    with pytest.raises(DeadLetterNotFoundError):
        redriver(factory).redrive(TENANT, "letter-1", "grace")
    with pytest.raises(RedriveOrderNotFoundError):
        redriver(factory).handle(go_on("order-1"))


# --- groups


def test_a_group_goes_round_with_one_order(factory: SmallFactory) -> None:
    runs = failed_runs(factory, 5)
    other = failed_runs(factory, 1, ValueError("else"))[0]
    fingerprint = letter_of(factory, runs[0]).fingerprint
    order = redriver(factory).order(TENANT, LetterFilter(fingerprint=fingerprint), "grace")
    assert (order.status, order.total, order.redriven) == (OrderStatus.RELEASING, 5, 0)
    drain(factory)
    order = order_of(factory)
    assert (order.status, order.redriven, order.refused) == (OrderStatus.DONE, 5, 0)
    assert all(factory.run(run).status is RunStatus.QUEUED for run in runs)
    assert letter_of(factory, other).status is LetterStatus.OPEN
    assert {letter.order_id for letter in letters(factory)} == {order.id, None}
    assert actions(factory, order.id) == [("grace", "dead-letter.redrive-group")]


def test_what_fails_after_an_order_was_given_is_not_meant(factory: SmallFactory) -> None:
    early = failed_runs(factory, 1)[0]
    redriver(factory).order(TENANT, of_kind(factory), "grace")
    late = failed_runs(factory, 1)[0]
    drain(factory)
    assert factory.run(early).status is RunStatus.QUEUED
    assert factory.run(late).status is RunStatus.FAILED
    assert order_of(factory).redriven == 1


def test_a_canary_goes_alone_and_the_others_follow_when_it_has_succeeded(
    factory: SmallFactory,
) -> None:
    runs = failed_runs(factory, 4)
    order = redriver(factory).order(TENANT, of_kind(factory), "grace", canary=True)
    assert (order.status, order.total, order.redriven) == (OrderStatus.CANARY, 4, 1)
    drain(factory)
    redriver(factory).handle(go_on(order.id))
    assert order_of(factory).status is OrderStatus.CANARY
    (ahead,) = (run for run in runs if factory.run(run).status is RunStatus.QUEUED)
    run_through(factory, ahead)
    drain(factory)
    order = order_of(factory)
    assert (order.status, order.redriven, order.refused) == (OrderStatus.DONE, 4, 0)
    assert count_of(factory) == {LetterStatus.RESOLVED: 1, LetterStatus.REDRIVEN: 3}


def test_a_canary_that_fails_again_stops_the_order(factory: SmallFactory) -> None:
    runs = failed_runs(factory, 3)
    redriver(factory).order(TENANT, of_kind(factory), "grace", canary=True)
    factory.on["a"] = fails(HostRejectedError("still no"))
    (ahead,) = (run for run in runs if factory.run(run).status is RunStatus.QUEUED)
    run_through(factory, ahead)
    drain(factory)
    order = order_of(factory)
    assert (order.status, order.redriven) == (OrderStatus.STOPPED, 1)
    assert "failed again: still no" in str(order.error)
    assert order.finished_at is not None
    assert count_of(factory) == {LetterStatus.OPEN: 3}


def test_a_canary_whose_run_is_cancelled_stops_the_order(factory: SmallFactory) -> None:
    runs = failed_runs(factory, 2)
    redriver(factory).order(TENANT, of_kind(factory), "grace", canary=True)
    (ahead,) = (run for run in runs if factory.run(run).status is RunStatus.QUEUED)
    cancel_run(factory.store, factory.clock, TENANT, ahead.id, "ada")
    drain(factory)
    assert order_of(factory).status is OrderStatus.STOPPED
    assert count_of(factory) == {LetterStatus.OPEN: 1, LetterStatus.DISCARDED: 1}


def test_a_canary_that_cannot_go_lets_another_one_go(factory: SmallFactory) -> None:
    old, new = failed_runs(factory, 2)
    lose_plan(factory, new)
    change = Change(timeout_seconds=60)
    order = redriver(factory).order(TENANT, of_kind(factory), "grace", change, canary=True)
    assert order.canary_id == letter_of(factory, old).id


def test_an_order_leaves_letters_alone_whose_runs_cannot_go_round(factory: SmallFactory) -> None:
    runs = failed_runs(factory, 3)
    being_undone = ask_for_undo(factory, runs[1])
    under_way = failed_job_of_a_run_under_way(factory)
    order = redriver(factory).order(TENANT, of_kind(factory), "grace")
    assert order.total == 2
    drain(factory)
    order = order_of(factory)
    assert (order.status, order.redriven, order.refused) == (OrderStatus.DONE, 2, 0)
    for run in (being_undone, under_way):
        letter = letter_of(factory, run)
        assert (letter.status, letter.order_id) == (LetterStatus.OPEN, None)
    with pytest.raises(ConflictError, match="under way or being undone"):
        redriver(factory).order(TENANT, of_kind(factory), "grace")


def test_a_canary_is_found_behind_any_number_that_cannot_go(factory: SmallFactory) -> None:
    (old,) = failed_runs(factory, 1)
    for _ in range(25):
        failed_job_of_a_run_under_way(factory)
    order = redriver(factory).order(TENANT, of_kind(factory), "grace", canary=True)
    assert order.canary_id == letter_of(factory, old).id
    assert order.total == 1


def test_letters_that_cannot_go_are_counted_with_the_reason(factory: SmallFactory) -> None:
    runs = failed_runs(factory, 3)
    change = Change(timeout_seconds=60)
    order = redriver(factory).order(TENANT, of_kind(factory), "grace", change)
    lose_plan(factory, runs[1])
    for _ in range(2):  # carried out again it counts nothing twice
        redriver(factory).handle(go_on(order.id))
        drain(factory)
    order = order_of(factory)
    assert (order.status, order.redriven, order.refused) == (OrderStatus.DONE, 2, 1)
    letter = letter_of(factory, runs[1])
    assert letter.status is LetterStatus.OPEN
    assert letter.order_id == order.id
    assert str(letter.reason).removeprefix("not sent round: ") in str(order.error)


def test_letters_of_a_machine_whose_clock_is_ahead_are_meant_too(factory: SmallFactory) -> None:
    (run,) = failed_runs(factory, 1)
    factory.clock.pass_time(-timedelta(minutes=10))
    redriver(factory).order(TENANT, of_kind(factory), "grace")
    drain(factory)
    assert factory.run(run).status is RunStatus.QUEUED


def test_an_order_by_filter_takes_all_kinds_that_pass_and_a_run_once(
    factory: SmallFactory,
) -> None:
    factory.on["a"], factory.on["b"] = fails(REFUSED), fails(ValueError("else"))
    factory.template(steps("a: with: {}", "b: with: {}"), name="pair")
    both = run_through(factory, factory.request("pair", project_id="bank"))
    other = completed(factory, ONE, project_id="shop")
    del factory.on["a"], factory.on["b"]
    order = redriver(factory).order(TENANT, LetterFilter(project_id="bank"), "grace")
    assert (order.total, order.project_id) == (2, "bank")
    drain(factory)
    order = order_of(factory)
    assert (order.status, order.redriven, order.refused) == (OrderStatus.DONE, 2, 0)
    assert factory.run(both).cycle == 1
    assert factory.run(other).status is RunStatus.FAILED


# --- stopping one


def test_a_stopped_order_sends_nothing_more_round(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory_runtime.services.redrive.PAGE", 2)
    failed_runs(factory, 5)
    order = redriver(factory).order(TENANT, of_kind(factory), "grace")
    redriver(factory).handle(go_on(order.id))
    assert stop(factory, order).status is OrderStatus.STOPPED
    drain(factory)
    order = order_of(factory)
    assert (order.status, order.redriven) == (OrderStatus.STOPPED, 2)
    assert order.error == "stopped by ada: the host is down again"
    assert count_of(factory) == {LetterStatus.REDRIVEN: 2, LetterStatus.OPEN: 3}
    assert actions(factory, order.id)[-1] == ("ada", "dead-letter.stop-redrive")
    with pytest.raises(IllegalTransitionError, match="stopped"):
        stop(factory, order)


def test_an_order_is_stopped_between_two_letters_of_a_page(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed_runs(factory, 4)
    order = redriver(factory).order(TENANT, of_kind(factory), "grace")

    def plan_and_stop(*arguments: Any, **more: Any) -> Any:
        if order_of(factory).redriven == 1:
            stop(factory, order)
        return plan_round(*arguments, **more)

    monkeypatch.setattr("factory_runtime.services.redrive.plan_round", plan_and_stop)
    drain(factory)
    assert order_of(factory).redriven == 1
    assert count_of(factory) == {LetterStatus.REDRIVEN: 1, LetterStatus.OPEN: 3}


def test_a_stopped_canary_releases_nothing_when_it_succeeds(factory: SmallFactory) -> None:
    runs = failed_runs(factory, 3)
    order = redriver(factory).order(TENANT, of_kind(factory), "grace", canary=True)
    stop(factory, order)
    (ahead,) = (run for run in runs if factory.run(run).status is RunStatus.QUEUED)
    run_through(factory, ahead)
    drain(factory)
    assert order_of(factory).status is OrderStatus.STOPPED
    assert count_of(factory) == {LetterStatus.RESOLVED: 1, LetterStatus.OPEN: 2}


def test_an_order_is_stopped_for_a_reason(factory: SmallFactory) -> None:
    failed_runs(factory, 1)
    order = redriver(factory).order(TENANT, of_kind(factory), "grace")
    with pytest.raises(InputError):
        stop(factory, order, reason=" ")
    assert order_of(factory) == order


# --- what an order keeps


def test_the_audit_has_the_names_of_changed_inputs_and_the_order_their_values(
    factory: SmallFactory,
) -> None:
    failed_runs(factory, 1)
    large = "x" * 20_000
    change = Change(inputs={"token": "hunter2", "text": large}, timeout_seconds=60.0)
    redriver(factory).order(TENANT, of_kind(factory), "grace", change)
    order = order_of(factory)
    assert order.change is not None
    assert order.change.reference is not None, "large bodies do not lie in rows"
    assert change_of(factory.storage, order) == change
    with factory.store.begin(TENANT, read_only=True) as tx:
        (entry,) = tx.list_audit(subject=order.id)
    assert entry.detail["change"]["inputs"] == ["text", "token"]
    assert "hunter2" not in str(entry.detail)


def test_inputs_that_do_not_validate_refuse_the_letters_and_nothing_moves(
    factory: SmallFactory,
) -> None:
    runs = failed_runs(factory, 2)
    wrong = Change(inputs={"nobody_knows": 1})
    with pytest.raises(InputError):
        redriver(factory).redrive(TENANT, letter_of(factory, runs[0]).id, "grace", wrong)
    redriver(factory).order(TENANT, of_kind(factory), "grace", wrong)
    drain(factory)
    order = order_of(factory)
    assert (order.redriven, order.refused) == (0, 2)
    assert "nobody_knows" in str(order.error)
    assert count_of(factory) == {LetterStatus.OPEN: 2}


def test_an_order_needs_open_letters(factory: SmallFactory) -> None:
    failed_runs(factory, 1)
    with pytest.raises(DeadLetterNotFoundError):
        redriver(factory).order(TENANT, LetterFilter(fingerprint="0" * 64), "grace")


def test_two_who_carry_out_an_order_at_once_send_nothing_round_twice(
    factory: SmallFactory,
) -> None:
    runs = failed_runs(factory, 12)
    order = redriver(factory).order(TENANT, of_kind(factory), "grace")
    start = Barrier(3)

    def carry_out(_: int) -> None:
        start.wait()
        redriver(factory).handle(go_on(order.id))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(carry_out, range(3)))
    order = order_of(factory)
    assert (order.status, order.redriven, order.refused) == (OrderStatus.DONE, 12, 0)
    assert {factory.run(run).cycle for run in runs} == {1}
    assert {letter.redrives for letter in letters(factory)} == {1}


@pytest.mark.parametrize("point", POINTS)
def test_an_order_that_is_cut_off_anywhere_goes_on_where_it_was(
    factory: SmallFactory, point: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory_runtime.services.redrive.PAGE", 2)
    runs = failed_runs(factory, 4)
    order = redriver(factory).order(TENANT, of_kind(factory), "grace")
    cuts = 0
    for transaction in (2, 3, 4):  # in the first the order is read, in each other a run goes round
        faulty = FaultyStore(factory.store, at={transaction: (point, 2)})
        with suppress(StoreUnavailableError):
            Redriver(faulty, factory.clock, factory.desk).handle(go_on(order.id))
        cuts += faulty.fired[point]
    assert cuts >= 2
    drain(factory)
    order = order_of(factory)
    assert (order.status, order.redriven, order.refused) == (OrderStatus.DONE, 4, 0)
    assert {factory.run(run).cycle for run in runs} == {1}


def test_many_letters_of_one_kind_go_round_in_pages(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory_runtime.services.redrive.PAGE", 12)
    with factory.store.begin(TENANT) as tx:
        tx.add_failure_kind(a_failure_kind())
        for _ in range(45):
            run = a_run(status=RunStatus.FAILED, plan=Body(reference=BodyReference("c" * 64, 1)))
            job = a_job(run, status=JobStatus.FAILED)
            tx.add_run(run, [job])
            tx.add_dead_letter(a_letter(job))
    factory.clock.pass_time()
    redriver(factory).order(TENANT, LetterFilter(fingerprint=FINGERPRINT), "grace")
    factory.clock.pass_time()
    (message,) = factory.messages(GO_ON_REDRIVING)
    redriver(factory).handle(message)
    order = order_of(factory)
    assert (order.status, order.redriven) == (OrderStatus.RELEASING, 12), "others have a turn"
    assert len(factory.messages(GO_ON_REDRIVING)) == 2
    drain(factory)
    order = order_of(factory)
    assert (order.status, order.redriven, order.refused) == (OrderStatus.DONE, 45, 0)
    assert factory.store.letter_groups() == ()
    assert len(factory.store.waiting_runs(factory.clock.now(), limit=1000)) == 45


# --- discarding


Discard = Callable[..., DeadLetter]


@pytest.fixture
def throw_away(factory: SmallFactory) -> Discard:
    def throw_away(letter: DeadLetter, reason: str = "nobody wants it", **more: Any) -> DeadLetter:
        return discard(factory.store, factory.clock, TENANT, letter.id, "grace", reason, **more)

    return throw_away


def test_a_letter_is_discarded_with_a_reason_and_by_somebody(
    factory: SmallFactory, throw_away: Discard
) -> None:
    (run,) = failed_runs(factory, 1)
    letter = letter_of(factory, run)
    for blank in ("", "  \n"):
        with pytest.raises(InputError):
            throw_away(letter, blank)
    closed = throw_away(letter)
    assert (closed.status, closed.closed_by) == (LetterStatus.DISCARDED, "grace")
    assert closed.reason == "nobody wants it"
    assert factory.store.letter_groups() == ()
    assert actions(factory, letter.id) == [("grace", "dead-letter.discard")]
    with pytest.raises(IllegalTransitionError):
        throw_away(letter)


def test_a_discarded_letter_can_be_sent_round_after_all(
    factory: SmallFactory, throw_away: Discard
) -> None:
    (run,) = failed_runs(factory, 1)
    throw_away(letter_of(factory, run))
    redriver(factory).redrive(TENANT, letter_of(factory, run).id, "ada")
    run_through(factory, run)
    letter = letter_of(factory, run)
    assert (letter.status, letter.reason) == (LetterStatus.RESOLVED, None)


def test_a_letter_that_is_under_way_is_not_discarded(
    factory: SmallFactory, throw_away: Discard
) -> None:
    (run,) = failed_runs(factory, 1)
    redriver(factory).redrive(TENANT, letter_of(factory, run).id, "ada")
    with pytest.raises(ConflictError, match="sent round again"):
        throw_away(letter_of(factory, run))


def test_a_group_is_discarded_all_at_once(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory_runtime.services.dead_letters.PAGE", 2)
    failed_runs(factory, 5)
    other = failed_runs(factory, 1, ValueError("else"))[0]
    fingerprint = next(
        letter.fingerprint for letter in letters(factory) if letter.run_id != other.id
    )
    where = LetterFilter(fingerprint=fingerprint)
    done = discard_group(
        factory.store, factory.clock, TENANT, where, "grace", "the host is gone for good"
    )
    assert (done.letters, done.refused) == (5, 0)
    assert count_of(factory) == {LetterStatus.DISCARDED: 5, LetterStatus.OPEN: 1}


def test_discarding_with_undo_closes_all_of_the_run_and_asks_for_its_undo(
    factory: SmallFactory, throw_away: Discard
) -> None:
    factory.on["a"], factory.on["b"] = fails(REFUSED), fails(ValueError("else"))
    run = completed(factory, steps("a: with: {}", "b: with: {}"))
    throw_away(letters(factory, run)[0], undo=True)
    assert count_of(factory) == {LetterStatus.DISCARDED: 2}
    assert factory.run(run).undo_requested_by == "grace"
    assert factory.run(run).status is RunStatus.FAILED
    with pytest.raises(ConflictError, match="undone"):
        redriver(factory).redrive(TENANT, letters(factory, run)[0].id, "ada")


def test_one_that_cannot_be_undone_yet_is_not_discarded(
    factory: SmallFactory, throw_away: Discard
) -> None:
    factory.on["a"] = fails(REFUSED)
    walk = factory.start(steps("a: with: {}", "b: with: {}"))
    factory.finish(walk, "a")
    letter = letter_of(factory, walk.run)
    with pytest.raises(IllegalTransitionError):
        throw_away(letter, undo=True)
    assert letter_of(factory, walk.run) == letter


# --- fingerprints by their first digits


def test_a_fingerprint_is_found_by_a_unique_beginning(factory: SmallFactory) -> None:
    failed_runs(factory, 1)
    whole = fingerprint_of(factory)
    assert find_fingerprint(factory.store, TENANT, whole[:6]) == whole
    discard_group(factory.store, factory.clock, TENANT, of_kind(factory), "ada", "no")
    assert find_fingerprint(factory.store, TENANT, whole[:12]) == whole, "closed ones are found"
    assert find_fingerprint(factory.store, TENANT, "0" * 64) == "0" * 64
    for bad in (whole[:5], "", "zzzzzzz", whole + "0", "%" * 8, whole[:8].upper() + "Z"):
        with pytest.raises(InputError):
            find_fingerprint(factory.store, TENANT, bad)
    unknown = ("0" if whole[0] != "0" else "1") * 8
    with pytest.raises(DeadLetterNotFoundError):
        find_fingerprint(factory.store, TENANT, unknown)
    with pytest.raises(DeadLetterNotFoundError):
        find_fingerprint(factory.store, "umbrella", whole[:8])


def test_a_redriven_job_keeps_its_effect_key(factory: SmallFactory) -> None:
    seen = list[tuple[str, int]]()

    def behaviour(context: JobContext, _with: Any) -> JobResult:
        seen.append((context.facts.effect_key, context.facts.attempt))
        if len(seen) == 1:
            raise REFUSED
        return JobResult()

    factory.on["a"] = behaviour
    run = completed(factory, ONE)
    redriver(factory).redrive(TENANT, letter_of(factory, run).id, "grace")
    run_through(factory, run)
    assert seen == [(f"{run.id}:a", 1), (f"{run.id}:a", 2)]
    assert factory.jobs(run)["a"].status is JobStatus.SUCCEEDED
