"""One attempt of one job: whether it runs, what it claims and what it records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from factory_runtime.domain.artifact import ArtifactDraft, ArtifactKind, ArtifactType
from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.body import INLINE_LIMIT
from factory_runtime.domain.errors import PermanentError
from factory_runtime.domain.job import JobStatus, SkipReason
from factory_runtime.domain.policy import Expiry
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.result import ConfirmedEffect, JobResult, RenderOrder
from factory_runtime.domain.run import RunStatus
from factory_runtime.domain.tree import TreeReference
from factory_runtime.ports import FileTree, JobContext
from factory_runtime.services.bodies import from_body
from factory_runtime.services.run_attempt import (
    publish_attempt,
)
from factory_runtime.telemetry.trace_context import job_span_id
from tests.builders import NOON, TENANT, after
from tests.small_factory import (
    SUCCEEDED,
    Act,
    SmallFactory,
    gives,
    steps,
)

# --- the happy path


def test_a_claim_opens_the_attempt_and_leases_the_job(factory: SmallFactory):
    walk = factory.start(steps("a: with: {text: hi}"))
    begun = factory.begin(walk, "a")
    job, (attempt,) = factory.jobs(walk.run)["a"], factory.attempts(walk.run)
    assert job == begun.job == walk.jobs["a"]
    assert (job.status, job.attempt, job.fencing_token) == (JobStatus.RUNNING, 1, 1)
    assert (job.lease_owner, job.lease_expires_at) == (
        walk.holder,
        NOON + factory.engine.lease,
    )
    assert job.started_at == job.last_attempt_at == NOON
    assert attempt == begun.attempt
    assert attempt.key == f"{walk.run.id}:a:1"
    assert (attempt.worker, attempt.environment) == (factory.engine.worker, "tests")
    assert (attempt.outcome, attempt.completed_at) == (None, None)
    assert job.span_id == job_span_id(walk.run.id, "a")
    assert attempt.span_id not in (None, job.span_id)
    assert begun.with_ == {"text": "hi"}
    assert factory.detail(walk.run, "a", JobStatus.RUNNING) == {"attempt": 1}


def test_a_success_records_job_attempt_and_event(factory: SmallFactory):
    walk = factory.start(steps("a:", "b:"))
    factory.on["a"] = gives(url="u", count=3)
    begun = factory.begin(walk, "a")
    begun.cached = True
    begun.peak_memory_bytes = 4096
    factory.clock.pass_time(timedelta(seconds=2.5))
    assert publish_attempt(factory.engine, walk, begun, None) == SUCCEEDED
    job, (attempt,) = factory.jobs(walk.run)["a"], factory.attempts(walk.run)
    assert job.status is JobStatus.SUCCEEDED
    assert (job.completed_at, job.cached, job.error) == (after(2.5), True, None)
    assert (job.lease_owner, job.lease_expires_at) == (None, None)
    assert from_body(factory.storage, TENANT, job.outputs) == {"url": "u", "count": 3}
    assert (attempt.outcome, attempt.completed_at) == (Outcome.SUCCEEDED, after(2.5))
    assert (attempt.cached, attempt.peak_memory_bytes) == (True, 4096)
    assert attempt.cpu_seconds is not None
    assert factory.detail(walk.run, "a", JobStatus.SUCCEEDED) == {
        "attempt": 1,
        "seconds": 2.5,
        "cached": True,
    }
    assert factory.run(walk.run).status is RunStatus.RUNNING


def test_a_success_records_artifacts_effects_and_log_lines(factory: SmallFactory):
    def publish(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        assert context.intend("repository", "repository shop/orders") is None
        context.log("made it")
        draft = ArtifactDraft(ArtifactKind.REPOSITORY, "orders", "memory://orders", "text/x-git")
        return JobResult(artifacts=(draft,), effects=(ConfirmedEffect("repository", "r-1"),))

    factory.on["a"] = publish
    run = factory.complete(steps("a:"))
    with factory.store.begin(TENANT, read_only=True) as tx:
        (artifact,) = tx.list_artifacts(run_id=run.id)
        (effect,) = tx.list_effects(run_id=run.id)
    assert (artifact.name, artifact.creator) == ("orders", f"{run.id}:a:1")
    assert (artifact.project_id, artifact.created_at) == (run.project_id, NOON)
    assert (effect.status, effect.reference) == (EffectStatus.CONFIRMED, "r-1")
    (line,) = factory.events(run, "log")
    assert (line.step, dict(line.detail)) == ("a", {"message": "made it", "attempt": 1})


def test_an_artifact_is_kept_as_long_as_its_job_says(factory: SmallFactory):
    def publish(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        log = ArtifactDraft(ArtifactKind.LOG, "log", "memory://log", "text/plain")
        rows = replace(
            log,
            name="rows",
            type=ArtifactType.DATA_EXPORT,
            expires=timedelta(days=30),
            once_downloaded=True,
        )
        return JobResult(artifacts=(log, rows))

    factory.on["a"] = publish
    run = factory.complete(steps("a:"))
    with factory.store.begin(TENANT, read_only=True) as tx:
        found = {one.name: one for one in tx.list_artifacts(run_id=run.id)}
    log, rows = found["log"], found["rows"]
    assert (log.type, log.expires_at) == (ArtifactType.ANALYSIS_RESULT, None)
    assert (rows.type, rows.once_downloaded) == (ArtifactType.DATA_EXPORT, True)
    assert rows.expires_at == rows.created_at + timedelta(days=30)


KEPT = {
    ArtifactType.DATA_EXPORT: Expiry(timedelta(days=7)),
    ArtifactType.ANALYSIS_RESULT: Expiry(once_downloaded=True),
    ArtifactType.GENERATED_FILE: Expiry(timedelta(days=1)),
}


def test_what_a_job_says_nothing_of_is_kept_as_its_tenants_policy_says(factory: SmallFactory):
    factory.engine = replace(factory.engine, expiry_of={TENANT: KEPT}.__getitem__)
    lies = f"artifact:sha256:{'0' * 64}"

    def publish(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        log = ArtifactDraft(ArtifactKind.LOG, "log", lies, "text/plain")
        rows = replace(log, name="rows", type=ArtifactType.DATA_EXPORT)
        told = replace(rows, name="told", expires=timedelta(days=30))
        once = replace(rows, name="once", once_downloaded=True)
        said = replace(rows, name="said", type=ArtifactType.MESSAGE_CONTENT)
        host = "https://host/orders.git"
        repo = ArtifactDraft(ArtifactKind.REPOSITORY, "repo", host, "application/x-git")
        return JobResult(artifacts=(log, rows, told, once, said, repo))

    factory.on["a"] = publish
    run = factory.complete(steps("a:"))
    with factory.store.begin(TENANT, read_only=True) as tx:
        found = {one.name: one for one in tx.list_artifacts(run_id=run.id)}
    days = {name: one.expires_at and (one.expires_at - NOON).days for name, one in found.items()}
    nothing = {"log": None, "once": None, "said": None, "repo": None}
    assert days == {"rows": 7, "told": 30, **nothing}
    assert {name for name, one in found.items() if one.once_downloaded} == {"log", "once"}


def test_what_a_failed_job_leaves_behind_is_kept_as_the_policy_says(factory: SmallFactory):
    factory.engine = replace(factory.engine, expiry_of={TENANT: KEPT}.__getitem__)
    left = ArtifactDraft(ArtifactKind.FILE, "left", f"artifact:sha256:{'0' * 64}", "text/plain")

    def fail(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        raise PermanentError("no", artifacts=(left,))

    factory.on["a"] = fail
    run = factory.complete(steps("a:"))
    with factory.store.begin(TENANT, read_only=True) as tx:
        (found,) = tx.list_artifacts(run_id=run.id)
    assert found.expires_at == found.created_at + timedelta(days=1)


def test_a_job_type_learns_who_it_works_for(factory: SmallFactory):
    seen: list[Any] = []

    def publish(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        seen.append((context.facts, context.now(), context.host, context.storage))
        return JobResult()

    factory.on["c"] = publish
    walk = factory.start(steps("a:", "b: needs: [a]", "c: needs: [b]", "d:"), module_id="m-1")
    factory.drive(walk)
    ((facts, now, host, storage),) = seen
    assert (facts.effect_key, facts.attempt) == (f"{walk.run.id}:c", 1)
    assert (facts.tenant_id, facts.project_id, facts.module_id) == (TENANT, "shop", "m-1")
    assert (facts.template_id, facts.template_version, facts.requested_by) == (
        "demo",
        "1.0.0",
        "ada",
    )
    assert facts.follows == {"a", "b"}
    assert (now, host.name) == (NOON, factory.host.name)
    assert factory.storage.exists(TENANT, storage.put(TENANT, b"a body").digest)


def test_outputs_larger_than_a_row_go_to_storage_and_later_steps_read_them(factory: SmallFactory):
    factory.on["big"] = gives(text="x" * INLINE_LIMIT, tail="end")
    walk = factory.start(
        steps("big:", "b: needs: [big], with: {text: '${{ steps.big.outputs.tail }}'}")
    )
    assert factory.finish(walk, "big") == SUCCEEDED
    stored = factory.jobs(walk.run)["big"].outputs
    assert stored is not None
    assert stored.reference is not None
    resumed = factory.take_over(walk)
    assert factory.begin(resumed, "b").with_ == {"text": "end"}


def test_external_ids_land_on_the_job_and_on_the_run(factory: SmallFactory):
    ids = {"repo_id": "r-1", "build_id": "b-2", "pipeline_id": "p-3", "work_item_id": "w-4"}
    factory.on["a"] = lambda _context, _with: JobResult(external_ids=ids)
    factory.on["b"] = lambda _context, _with: JobResult(external_ids={"build_id": "b-9"})
    walk = factory.start(steps("a:", "b: needs: [a]"))
    factory.finish(walk, "a")
    for record in (factory.jobs(walk.run)["a"], factory.run(walk.run), walk.run):
        assert {name: getattr(record, name) for name in ids} == ids
    run = factory.drive(walk)
    assert (run.status, run.build_id, run.repo_id) == (RunStatus.SUCCEEDED, "b-9", "r-1")


def test_an_external_id_that_no_record_has_fails_the_job(factory: SmallFactory):
    factory.on["a"] = lambda _context, _with: JobResult(external_ids={"colour": "red"})
    run = factory.complete(steps("a:"))
    assert run.status is RunStatus.FAILED
    assert "colour" in str(factory.jobs(run)["a"].error)


def test_a_job_with_sources_says_what_it_wants_rendered(factory: SmallFactory):
    walk = factory.start(
        "steps: [{name: a, type: paint, with: {source: files, data: {name: '${{ run.id }}'}}}]"
    )
    order = factory.begin(walk, "a").order
    assert order is not None
    (layer,) = order.layers
    assert (layer.source, layer.data) == ("files", {"name": walk.run.id})
    assert layer.source in walk.plan.sources


# --- conditions


@pytest.mark.parametrize(
    ("when", "runs"),
    [("${{ inputs.go }}", False), ("${{ not inputs.go }}", True),
     ("${{ steps.a.outputs.n > 2 }}", True), ("${{ steps.a.outputs.n > 3 }}", False),
     ("${{ run.project == 'shop' }}", True), ("${{ run.module }}", False)],
)  # fmt: skip
def test_a_condition_decides_whether_a_job_runs(factory: SmallFactory, when: str, runs: bool):
    head = "inputs: {type: object, properties: {go: {type: boolean, default: false}}}\n"
    factory.on["a"] = gives(n=3)
    text = head + steps("a:", f'b: needs: [a], when: "{when}"', "c: needs: [b]")
    run = factory.complete(text)
    jobs = factory.jobs(run)
    assert jobs["b"].status is (JobStatus.SUCCEEDED if runs else JobStatus.SKIPPED)
    assert jobs["b"].skip_reason is (None if runs else SkipReason.CONDITION)
    assert jobs["c"].status is JobStatus.SUCCEEDED
    assert run.status is RunStatus.SUCCEEDED
    if not runs:
        assert factory.attempts(run, "b") == ()
        assert factory.detail(run, "b", JobStatus.SKIPPED) == {"reason": "condition"}


def test_a_condition_that_cannot_be_worked_out_fails_its_job(factory: SmallFactory):
    run = factory.complete(steps("a:", "b: needs: [a], when: '${{ steps.a.outputs.missing }}'"))
    job, (attempt,) = factory.jobs(run)["b"], factory.attempts(run, "b")
    assert (job.status, job.attempt) == (JobStatus.FAILED, 1)
    assert "steps.a.outputs.missing" in str(job.error)
    assert (attempt.outcome, attempt.error_code) == (Outcome.PERMANENT, "expression")


def test_a_value_that_turns_out_wrong_fails_its_job_with_every_problem(factory: SmallFactory):
    factory.on["a"] = gives(n="three", t=4)
    run = factory.complete(
        steps(
            "a:",
            "b: needs: [a], with: {number: '${{ steps.a.outputs.n }}',"
            " text: '${{ steps.a.outputs.t }}'}",
        )
    )
    job, (attempt,) = factory.jobs(run)["b"], factory.attempts(run, "b")
    assert (run.status, job.status, job.attempt) == (RunStatus.FAILED, JobStatus.FAILED, 1)
    for part in ("number", "three", "text", "4"):
        assert part in str(job.error)
    assert attempt.error_code == "invalid-inputs"


def test_what_an_output_holds_is_never_read_as_an_expression(factory: SmallFactory):
    factory.on["a"] = gives(t="${{ run.id }}")
    walk = factory.start(steps("a:", "b: needs: [a], with: {text: '${{ steps.a.outputs.t }}'}"))
    factory.finish(walk, "a")
    assert factory.begin(walk, "b").with_ == {"text": "${{ run.id }}"}


def test_a_job_type_that_raises_while_it_plans_its_render_fails_its_job(factory: SmallFactory):
    class Broken(Act):
        def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
            raise RuntimeError("no render today")

    factory.job_types["act"] = Broken({})
    run = factory.complete(steps("a:"))
    assert factory.jobs(run)["a"].error == "RuntimeError: no render today"


def test_a_job_type_that_is_gone_since_the_plan_was_made_fails_its_job(factory: SmallFactory):
    walk = factory.start(steps("a:"))
    del factory.job_types["act"]
    run = factory.drive(walk)
    assert run.status is RunStatus.FAILED
    assert "act" in str(factory.jobs(run)["a"].error)


# --- trees


def test_a_tree_is_read_as_often_as_a_job_type_likes(factory: SmallFactory):
    names: list[list[str]] = []

    class Reader(Act):
        def publish(
            self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
        ) -> JobResult:
            assert tree is not None
            names.extend([file.path for file in tree.files()] for _ in range(2))
            return JobResult()

    factory.job_types["act"] = Reader({})
    walk = factory.start(
        "steps: [{name: a, type: act}, {name: b, type: paint, with: {source: files}}]"
    )
    digest = walk.plan.sources["files"]
    reference = TreeReference(digest, len(factory.storage.bodies[TENANT, digest]), 1)
    publish_attempt(factory.engine, walk, factory.begin(walk, "a"), reference)
    assert names == [["readme.txt"]] * 2
