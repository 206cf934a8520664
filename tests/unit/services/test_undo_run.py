"""Undoing runs: in reverse order, once, and nothing that is not as the run left it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from factory_runtime.compiler.plan import plan_from_json, plan_to_json
from factory_runtime.compiler.undo_plan import compile_undo
from factory_runtime.domain.dead_letter import LetterStatus
from factory_runtime.domain.errors import (
    ConflictError,
    HostBusyError,
    IllegalTransitionError,
    InputError,
    RunNotFoundError,
)
from factory_runtime.domain.job import JobStatus, SkipReason
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.hosts.in_memory import InMemoryGitHost
from factory_runtime.ports import JobContext
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.attempt import AttemptContext
from factory_runtime.services.end_run import cancel_run, end_run
from factory_runtime.services.redrive import Redriver
from factory_runtime.services.retry_run import retry_run
from factory_runtime.services.run_attempt import publish_attempt
from factory_runtime.services.topics import MEMORY_OF_RUN, UNDO_RUN
from tests.builders import TENANT
from tests.small_factory import busy, fails, steps
from tests.undoing import SERVICE, UndoFactory

UNDONE, ORPHANED = EffectStatus.UNDONE, EffectStatus.ORPHANED


@pytest.fixture
def factory(tmp_path: Path, database_store: SqlRunStore) -> UndoFactory:
    return UndoFactory(tmp_path / "templates", database_store)


def redriver(factory: UndoFactory) -> Redriver:
    return Redriver(factory.store, factory.clock, factory.desk)


def audit(factory: UndoFactory, run: Run) -> list[tuple[str, str]]:
    with factory.store.begin(TENANT, read_only=True) as tx:
        entries = reversed(tx.list_audit(subject=run.id))
    left = [(one.actor, one.action) for one in entries]
    assert left[0] == (run.requested_by, "run.request")
    return left[1:]


# --- a whole undo


def test_an_undone_run_leaves_nothing_and_keeps_its_status(factory: UndoFactory):
    run = factory.made()
    assert factory.repository(run) == ["last", "layer[a]", "layer[b]", "readme"]
    undoing = factory.undo(run)
    assert (undoing.undoes, undoing.requested_by) == (run.id, "ada")
    assert (undoing.trace_id, undoing.correlation_id) == (run.trace_id, run.correlation_id)
    assert factory.walk(undoing).status is RunStatus.SUCCEEDED
    assert factory.repository(run) is None
    assert set(factory.ledger(run).values()) == {UNDONE}
    assert factory.run(run).status is RunStatus.SUCCEEDED
    assert set(factory.ledger(undoing).values()) == {EffectStatus.CONFIRMED}
    assert {one.undone_by for one in factory.effects(run)} == {undoing.id}
    assert audit(factory, run) == [("ada", "run.undo"), ("system", "run.undo-begun")]


def test_what_came_last_is_undone_first(factory: UndoFactory):
    undoing = factory.undo(factory.made())
    jobs = factory.jobs(undoing)
    assert {name: set(job.needs) for name, job in jobs.items()} == {
        "undo-last": set(),
        "undo-layer[a]": {"undo-last"},  # behind a step that has nothing to undo
        "undo-layer[b]": {"undo-last"},
        "undo-generate": {"undo-layer[a]", "undo-layer[b]"},
    }


def test_an_undo_is_no_example_of_its_template(factory: UndoFactory):
    run = factory.made()
    factory.walk(factory.undo(run))
    assert [one.payload["run_id"] for one in factory.messages(MEMORY_OF_RUN)] == [run.id]


def test_the_commits_of_an_undo_lead_to_the_request_of_what_it_undoes(factory: UndoFactory):
    run = factory.made(SERVICE.replace("undo: delete-repository, ", ""))
    factory.walk(factory.undo(run))
    assert isinstance(factory.host, InMemoryGitHost)
    trailers = [
        dict(one.trailers) for one in factory.host.commits(TENANT, run.project_id, "orders")
    ]
    assert sum("Factory-Undoes" in one for one in trailers) == 3
    assert {one["Factory-Trace"] for one in trailers} == {run.trace_id}


def test_effects_say_where_a_person_finds_them(factory: UndoFactory):
    run = factory.made()
    links = {f"{one.step} {one.kind}": one.link or "" for one in factory.effects(run)}
    assert links["generate repository"].endswith("orders.git")
    assert all("orders.git#" in link for name, link in links.items() if name.endswith("commit"))


def test_a_run_that_did_nothing_has_an_undo_with_nothing_to_do(factory: UndoFactory):
    run = factory.made(steps("a:"))
    undoing = factory.undo(run)
    assert factory.jobs(undoing) == {}
    assert factory.walk(undoing).status is RunStatus.SUCCEEDED


# --- who may ask, and how often


def test_asked_twice_the_undo_that_stands_is_given(factory: UndoFactory):
    run = factory.made()
    undoing = factory.undo(run)
    assert factory.undo(run, by="eve") == undoing
    factory.walk(undoing)
    assert factory.undo(run, by="eve") == factory.run(undoing)
    factory.tidy()
    assert [one for one in factory.messages(UNDO_RUN) if one.done_at is None] == []


def test_of_many_who_ask_at_once_all_get_the_same(factory: UndoFactory):
    run = factory.made()
    barrier = Barrier(6)

    def ask(number: int) -> str:
        barrier.wait()
        return factory.undo(run, by=f"person-{number}").id

    with ThreadPoolExecutor(6) as pool:
        ids = set(pool.map(ask, range(6)))
    undoing = factory.undoing(run)
    assert undoing is not None
    assert ids == {undoing.id}


def test_an_open_run_is_not_undone(factory: UndoFactory):
    walk = factory.start(SERVICE)
    with pytest.raises(IllegalTransitionError, match="Running and cannot become undone"):
        factory.undo(walk.run)
    assert factory.messages(UNDO_RUN) == []


def test_an_undo_is_not_undone(factory: UndoFactory):
    undoing = factory.undo(factory.made())
    factory.walk(undoing)
    with pytest.raises(ConflictError, match="cannot be undone itself"):
        factory.undo(undoing)
    other = factory.undo(factory.made())
    with pytest.raises(ConflictError, match="cannot be undone itself"):
        cancel_run(factory.store, factory.clock, TENANT, other.id, "ada", undo=True)


def test_a_refused_request_and_a_foreign_run_have_nothing_to_undo(factory: UndoFactory):
    factory.template(SERVICE)
    with pytest.raises(InputError) as info:
        factory.request(inputs={"layers": 7})
    refused = info.value.run_id or ""
    with pytest.raises(InputError, match="was refused"):
        factory.undoer.undo(TENANT, refused, "ada")
    run = factory.made()
    with pytest.raises(RunNotFoundError):
        factory.undoer.undo("globex", run.id, "eve")


# --- what is not as we left it


def test_what_people_have_committed_to_is_an_orphan_with_a_reason(factory: UndoFactory):
    run = factory.made()
    factory.push(run)
    undoing = factory.undo(run)
    assert factory.walk(undoing).status is RunStatus.SUCCEEDED
    factory.tidy()
    assert factory.repository(run) == ["notes", "readme"], "layers are gone, the rest is theirs"
    assert factory.ledger(run) == {
        "generate repository": ORPHANED,
        "generate commit": ORPHANED,
        "layer[a] commit": UNDONE,
        "layer[b] commit": UNDONE,
        "last commit": UNDONE,
    }
    reason = factory.reasons(run)["generate repository"] or ""
    assert "of Ann" in reason
    assert factory.jobs(undoing)["undo-generate"].degraded == reason
    assert factory.jobs(undoing)["undo-last"].degraded is None
    assert factory.ledger(undoing)["undo-generate undo-repository"] is UNDONE, "it was not done"


def test_a_file_that_somebody_changed_is_left_and_the_rest_is_undone(factory: UndoFactory):
    run = factory.made()
    factory.push(run, "layer[a]")
    factory.walk(factory.undo(run))
    assert factory.repository(run) == ["layer[a]", "readme"]
    assert factory.ledger(run)["layer[a] commit"] is ORPHANED
    assert factory.ledger(run)["layer[b] commit"] is UNDONE
    assert "another layer[a], since commit" in (factory.reasons(run)["layer[a] commit"] or "")


def test_a_repository_of_an_earlier_run_is_kept_without_what_this_one_added(
    factory: UndoFactory,
):
    first = factory.made(inputs={"layers": []})
    second = factory.made(inputs={"layers": ["a"]})
    factory.walk(factory.undo(second))
    assert factory.repository(first) == ["last", "readme"], "of the first, which wrote them alike"
    assert set(factory.ledger(second).values()) == {UNDONE}
    assert "kept: it was made by" in (factory.reasons(second)["generate repository"] or "")
    factory.walk(factory.undo(first))
    assert factory.repository(first) is not None, "another run has committed to it"
    assert factory.ledger(first)["generate repository"] is ORPHANED


def test_a_repository_that_is_gone_already_is_undone(factory: UndoFactory):
    run = factory.made()
    project = factory.run(run).project_id
    key = f"{run.id}:generate"
    factory.host.remove_repository(
        TENANT, project, "orders", effect_key=key, runs=frozenset({run.id})
    )
    factory.walk(factory.undo(run))
    assert set(factory.ledger(run).values()) == {UNDONE}


# --- the inventory


NO_UNDO = SERVICE.replace("undo: delete-repository, ", "")


def test_what_no_step_undoes_lands_in_the_inventory(factory: UndoFactory):
    run = factory.made(NO_UNDO)
    factory.walk(factory.undo(run))
    assert factory.ledger(run)["generate repository"] is EffectStatus.CONFIRMED
    factory.tidy()
    assert factory.ledger(run)["generate repository"] is ORPHANED
    assert factory.reasons(run)["generate repository"] == "its step names no undo"
    assert factory.ledger(run)["last commit"] is UNDONE


def test_what_went_with_something_else_is_undone_too(factory: UndoFactory):
    run = factory.made(SERVICE.replace("needs: [plain], undo: revert-commit", "needs: [plain]"))
    factory.walk(factory.undo(run))
    factory.tidy()
    assert factory.repository(run) is None
    assert factory.ledger(run)["last commit"] is UNDONE
    assert factory.reasons(run)["last commit"] == "gone with repository shop/orders"


def test_an_orphan_that_somebody_removed_is_found_gone(factory: UndoFactory):
    run = factory.made(NO_UNDO)
    factory.walk(factory.undo(run))
    factory.tidy()
    orphan = next(one for one in factory.effects(run) if one.kind == "repository")
    assert not factory.inventory.check(orphan)
    runs = frozenset({run.id, getattr(factory.undoing(run), "id", "")})
    factory.host.remove_repository(
        TENANT, run.project_id, "orders", effect_key=orphan.effect_key, runs=runs
    )
    assert factory.inventory.check(orphan)
    assert factory.ledger(run)["generate repository"] is UNDONE


def test_a_person_can_settle_what_cannot_be_looked_for(factory: UndoFactory):
    run = factory.made(NO_UNDO)
    factory.walk(factory.undo(run))
    del factory.job_types["repo"]
    factory.tidy()
    assert "is not installed here" in (factory.reasons(run)["generate repository"] or "")
    settled = factory.inventory.settle(TENANT, run.id, "generate", "eve", "given to team b")
    assert settled == 2
    assert factory.reasons(run)["generate repository"] == "given to team b (eve)"
    assert audit(factory, run)[-1] == ("eve", "effect.settle")
    with pytest.raises(ConflictError, match="left no orphan"):
        factory.inventory.settle(TENANT, run.id, "generate", "eve", "again")


def test_a_host_that_is_busy_puts_the_rest_of_the_inventory_off(
    factory: UndoFactory, monkeypatch: pytest.MonkeyPatch
):
    run = factory.made(NO_UNDO)
    factory.walk(factory.undo(run))

    def away(*_: Any) -> Any:
        raise HostBusyError("the host is busy")

    with monkeypatch.context() as patched:
        patched.setattr(factory.host, "find_repository", away)
        assert factory.tidy().failed == 1
    assert factory.ledger(run)["generate commit"] is ORPHANED
    assert factory.ledger(run)["generate repository"] is EffectStatus.CONFIRMED
    factory.tidy()
    assert factory.ledger(run)["generate repository"] is ORPHANED


# --- asked for on the way


def test_cancelled_to_be_undone_is_undone_when_it_has_ended(factory: UndoFactory):
    walk = factory.start(SERVICE)
    factory.finish(walk, "generate")
    factory.begin(walk, "layer[a]")
    asked = cancel_run(factory.store, factory.clock, TENANT, walk.run.id, "ada", undo=True)
    assert (asked.status, asked.undo_requested_by) == (RunStatus.RUNNING, "ada")
    with pytest.raises(IllegalTransitionError):
        factory.undo(walk.run)
    end_run(factory.store, factory.clock, TENANT, asked.id, RunStatus.CANCELLED, "cancelled")
    factory.tidy()
    undoing = factory.undoing(walk.run)
    assert undoing is not None
    assert undoing.requested_by == "ada"
    assert set(factory.jobs(undoing)) == {"undo-generate"}
    factory.walk(undoing)
    assert factory.repository(walk.run) is None
    assert audit(factory, walk.run)[0] == ("ada", "run.cancel")


def test_a_commit_that_a_cancelled_job_could_not_report_is_taken_back_too(factory: UndoFactory):
    walk = factory.start(SERVICE)
    factory.finish(walk, "generate")
    begun = factory.begin(walk, "layer[a]")
    context = AttemptContext(factory.engine, walk, begun)
    factory.job_types["layer"].publish(context, {"repository": "orders", "source": "files"}, None)
    assert "layer[a]" in (factory.repository(walk.run) or [])
    cancel_run(factory.store, factory.clock, TENANT, walk.run.id, "ada", undo=True)
    end_run(factory.store, factory.clock, TENANT, walk.run.id, RunStatus.CANCELLED, "cancelled")
    assert factory.ledger(walk.run)["layer[a] commit"] is EffectStatus.INTENDED
    assert factory.undoer.undo(TENANT, walk.run.id, "ada") is None, "it may still be at it"
    factory.tidy()
    undoing = factory.undoing(walk.run)
    assert undoing is not None
    assert set(factory.jobs(undoing)) == {"undo-generate", "undo-layer[a]"}
    factory.walk(undoing)
    assert factory.ledger(walk.run)["layer[a] commit"] is UNDONE
    assert factory.repository(walk.run) is None


def test_a_run_nobody_executes_is_cancelled_and_undone(factory: UndoFactory):
    factory.template(SERVICE)
    run = factory.request()
    ended = cancel_run(factory.store, factory.clock, TENANT, run.id, "ada", undo=True)
    assert (ended.status, ended.undo_requested_by) == (RunStatus.CANCELLED, "ada")
    factory.tidy()
    assert factory.undoing(run) is not None
    cancelled = cancel_run(factory.store, factory.clock, TENANT, run.id, "ada", undo=True)
    assert cancelled.status is RunStatus.CANCELLED


def test_a_run_that_succeeded_in_spite_of_a_cancel_keeps_what_it_made(factory: UndoFactory):
    walk = factory.start(SERVICE)
    for name in ("generate", "layer[a]", "layer[b]", "plain"):
        factory.finish(walk, name)
    begun = factory.begin(walk, "last")
    cancel_run(factory.store, factory.clock, TENANT, walk.run.id, "ada", undo=True)
    publish_attempt(factory.engine, walk, begun, None)
    assert factory.run(walk.run).status is RunStatus.SUCCEEDED
    factory.tidy()
    assert factory.undoing(walk.run) is None


COMPENSATING = """
steps:
  - {name: generate, type: repo, undo: delete-repository, with: {repository: orders, source: files}}
  - {name: wrong, type: act, needs: [generate], on_failure: compensate, retry: {max_attempts: 1}}
  - {name: beside, type: layer, needs: [generate], undo: revert-commit,
     with: {repository: orders, source: files}}
  - {name: behind, type: layer, needs: [beside], undo: revert-commit,
     with: {repository: orders, source: files}}
  - {name: free, type: act}
"""


def test_a_failure_that_says_so_has_the_run_undone(factory: UndoFactory):
    factory.on["wrong"] = fails(ValueError("no"))
    walk = factory.start(COMPENSATING)
    factory.finish(walk, "generate")
    begun = factory.begin(walk, "beside")
    factory.finish(walk, "wrong")
    publish_attempt(factory.engine, walk, begun, None)  # it was under way, and finishes
    ended = factory.drive(walk)
    assert (ended.status, ended.undo_requested_by) == (RunStatus.FAILED, "system")
    jobs = factory.jobs(ended)
    assert jobs["beside"].status is JobStatus.SUCCEEDED
    for name in ("behind", "free"):  # whether or not they need it
        assert jobs[name].skip_reason is SkipReason.NEED_FAILED
    factory.tidy()
    undoing = factory.undoing(ended)
    assert undoing is not None
    assert undoing.requested_by == "system"
    assert factory.walk(undoing).status is RunStatus.SUCCEEDED
    assert factory.repository(ended) is None


def test_a_job_between_two_attempts_finishes_before_the_run_is_undone(factory: UndoFactory):
    factory.on["wrong"] = fails(ValueError("no"))
    factory.on["beside"] = fails(busy(), times=1)
    walk = factory.start(COMPENSATING)
    factory.finish(walk, "generate")
    factory.attempt(walk, "beside")
    factory.finish(walk, "wrong")
    ended = factory.drive(walk)
    assert factory.jobs(ended)["beside"].status is JobStatus.SUCCEEDED


def test_a_failure_that_is_rescued_undoes_nothing(factory: UndoFactory):
    text = steps(
        "bad: on_failure: {fallback: worse}",
        "worse: on_failure: {fallback: well}",
        "well: on_failure: compensate",
        "after: needs: [bad]",
    )
    factory.on["bad"] = factory.on["worse"] = fails(ValueError("no"))
    assert factory.made(text).status is RunStatus.SUCCEEDED
    assert factory.messages(UNDO_RUN) == []


# --- against a retry


def failed_run(factory: UndoFactory) -> Run:
    factory.on["plain"] = fails(ValueError("no"), times=1)
    run = factory.made()
    assert run.status is RunStatus.FAILED
    return run


def test_a_run_that_is_being_undone_is_not_retried(factory: UndoFactory):
    run = failed_run(factory)
    factory.undo(run)
    with pytest.raises(ConflictError, match="being undone"):
        retry_run(factory.store, factory.clock, TENANT, run.id, "eve")
    assert factory.run(run).status is RunStatus.FAILED


def test_a_run_that_was_retried_is_not_undone(factory: UndoFactory):
    run = failed_run(factory)
    retry_run(factory.store, factory.clock, TENANT, run.id, "eve")
    with pytest.raises(IllegalTransitionError):
        factory.undo(run)
    assert factory.walk(factory.run(run)).status is RunStatus.SUCCEEDED
    assert factory.undoing(run) is None


def test_of_a_retry_and_an_undo_at_once_exactly_one_wins(factory: UndoFactory):
    for _ in range(4):
        run = failed_run(factory)
        barrier = Barrier(2)

        def undo(run: Run = run, barrier: Barrier = barrier) -> Run:
            barrier.wait()
            return factory.undo(run)

        def retry(run: Run = run, barrier: Barrier = barrier) -> Run:
            barrier.wait()
            return retry_run(factory.store, factory.clock, TENANT, run.id, "eve")

        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(undo), pool.submit(retry)]
        errors = [one.exception() for one in both]
        assert len([error for error in errors if error is None]) == 1
        assert all(isinstance(error, ConflictError) for error in errors if error is not None)
        retried = factory.run(run).status is RunStatus.QUEUED
        assert retried is (factory.undoing(run) is None)


def test_what_failed_in_an_undone_run_waits_for_nobody_any_more(factory: UndoFactory):
    run = failed_run(factory)
    with factory.store.begin(TENANT, read_only=True) as tx:
        letter = tx.find_dead_letter(run.id, "plain")
    assert letter is not None
    undoing = factory.undo(run)
    with factory.store.begin(TENANT, read_only=True) as tx:
        closed = tx.get_dead_letter(letter.id)
    assert (closed.status, closed.closed_by) == (LetterStatus.DISCARDED, "ada")
    assert closed.reason == f"undone by {undoing.id}"
    with pytest.raises(ConflictError, match="being undone"):
        redriver(factory).redrive(TENANT, letter.id, "eve")


# --- an undo that fails


def test_an_undo_out_of_attempts_is_sent_round_again_and_ends(factory: UndoFactory):
    run = factory.made()
    undoing = factory.undo(run)

    def unwilling(context: JobContext, with_: Mapping[str, Any]) -> None:
        del with_
        raise ValueError(f"not now, {context.facts.step}")

    factory.on["undo-layer[a]"] = unwilling  # pyright: ignore[reportArgumentType] - gives nothing
    failed = factory.walk(undoing)
    assert failed.status is RunStatus.FAILED
    factory.tidy()
    assert factory.ledger(run)["layer[a] commit"] is ORPHANED
    assert "its undo failed: ValueError: not now" in (factory.reasons(run)["layer[a] commit"] or "")
    assert factory.ledger(run)["generate repository"] is ORPHANED, "its undo was not reached"
    assert factory.undo(run) == factory.run(undoing)
    with factory.store.begin(TENANT, read_only=True) as tx:
        letter = tx.find_dead_letter(undoing.id, "undo-layer[a]")
    assert letter is not None

    del factory.on["undo-layer[a]"]
    redriver(factory).redrive(TENANT, letter.id, "ada")
    assert factory.walk(factory.run(undoing)).status is RunStatus.SUCCEEDED
    factory.tidy()
    assert set(factory.ledger(run).values()) == {UNDONE}
    assert factory.repository(run) is None
    with factory.store.begin(TENANT, read_only=True) as tx:
        assert tx.get_dead_letter(letter.id).status is LetterStatus.RESOLVED


def test_a_type_that_offers_the_undo_no_more_fails_its_job(factory: UndoFactory):
    run = factory.made()
    layer = factory.job_types["layer"]
    layer.facts = replace(layer.facts, undos=())  # pyright: ignore[reportAttributeAccessIssue]
    assert factory.walk(factory.undo(run)).status is RunStatus.FAILED
    factory.tidy()
    assert "offers no undo 'revert-commit'" in (factory.reasons(run)["last commit"] or "")


def test_the_plan_of_an_undo_is_the_same_for_the_same_run(factory: UndoFactory):
    run = factory.made()
    assert run.plan is not None
    assert run.plan.reference is not None
    plan = plan_from_json(factory.storage.read(TENANT, run.plan.reference.digest).decode())
    undo = compile_undo(plan, factory.effects(run))
    assert plan_to_json(undo) == plan_to_json(compile_undo(plan, factory.effects(run)))
    assert plan_from_json(plan_to_json(undo)) == undo
    assert [job.undo_of for job in undo.jobs] == ["last", "layer[b]", "layer[a]", "generate"]
