"""How long artifacts are kept: what the store says refers to their bodies, on every database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from factory_runtime.domain.artifact import Artifact, ArtifactType
from factory_runtime.domain.body import Body, BodyReference
from factory_runtime.domain.errors import ArtifactNotFoundError, HoldNotFoundError
from factory_runtime.domain.hold import Hold, HoldScope
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunStore
from tests.builders import (
    TENANT,
    a_checkpoint,
    a_claimed_job,
    a_job,
    a_letter,
    a_run,
    a_template_record,
    after,
    an_approval,
    an_artifact,
    an_attempt,
)
from tests.stored import added

DIGEST = "d" * 64
OTHER = "e" * 64
ENDED = {"status": RunStatus.SUCCEEDED, "completed_at": after(1)}


def a_body(run: Run, digest: str = DIGEST, **values: Any) -> Artifact:
    """An artifact that has expired, with its bytes in artifact storage."""
    facts = {"uri": f"artifact:sha256:{digest}", "sha256": digest, "expires_at": after(5)}
    return an_artifact(run, **{**facts, **values})


def a_hold(run: Run, **values: Any) -> Hold:
    hold = Hold(
        TENANT, "hold-1", HoldScope.RUN, run.id, run.project_id, "asked for", after(0), "ada"
    )
    return replace(hold, **values)


def test_an_artifact_keeps_its_type_and_when_it_expires(run_store: RunStore, run: Run) -> None:
    made = a_body(run, type=ArtifactType.DATA_EXPORT, once_downloaded=True)
    with run_store.begin(TENANT) as tx:
        tx.add_artifacts([made])
        assert tx.get_artifact(made.id) == made
        tx.set_expiry(made.id, None, once_downloaded=False)
        assert tx.get_artifact(made.id) == replace(made, expires_at=None, once_downloaded=False)
        with pytest.raises(ArtifactNotFoundError):
            tx.set_expiry("art-none", None, once_downloaded=False)


def test_the_sweep_finds_what_has_expired_and_has_a_body_yet(run_store: RunStore, run: Run) -> None:
    late = a_body(run, name="late", expires_at=after(6))
    early = a_body(run, name="early", expires_at=after(4))
    gone = a_body(run, name="gone", body_deleted_at=after(4))
    elsewhere = a_body(run, name="elsewhere", uri="file:///git/orders.git")
    with run_store.begin(TENANT) as tx:
        tx.add_artifacts(
            [late, early, gone, elsewhere, a_body(run, name="for good", expires_at=None)]
        )
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.expired_artifacts(after(3), 9) == ()
        assert tx.expired_artifacts(after(6), 9) == (early, late)
        assert tx.expired_artifacts(after(6), 1, after=early) == (late,)
    assert run_store.tenants_of_expired_artifacts(after(3)) == ()
    assert run_store.tenants_of_expired_artifacts(after(6)) == (TENANT,)


def test_holds_stand_until_they_are_released(run_store: RunStore, run: Run) -> None:
    artifact = a_body(run)
    on_run = a_hold(run)
    on_other = a_hold(run, id="hold-2", subject_id="run-other", created_at=after(1))
    with run_store.begin(TENANT) as tx:
        assert not tx.is_held(artifact)
        tx.add_hold(on_run)
        tx.add_hold(on_other)
        assert tx.is_held(artifact)
        assert tx.list_holds() == (on_run, on_other)
        assert tx.list_holds(after=on_run) == (on_other,)
        assert tx.list_holds(projects=["mill"]) == ()
        released = replace(on_run, released_at=after(9), released_by="bob")
        tx.save_hold(released)
        assert not tx.is_held(artifact)
        assert tx.list_holds() == (on_other,)
        assert tx.list_holds(standing=False) == (released, on_other)
        with pytest.raises(HoldNotFoundError):
            tx.get_hold("hold-none")
        with pytest.raises(HoldNotFoundError):
            tx.save_hold(a_hold(run, id="hold-none"))


def test_a_mark_is_as_old_as_it_was_made_first(run_store: RunStore) -> None:
    with run_store.begin(TENANT) as tx:
        tx.mark_dying([DIGEST], after(0))
    with run_store.begin(TENANT) as tx:
        tx.mark_dying([DIGEST, OTHER], after(9))
        assert tx.count_dying() == 2
        first, second = tx.dying_bodies(9)
        assert (first.digest, first.marked_at) == (DIGEST, after(0))
        assert tx.dying_bodies(9, until=after(8)) == (first,)
        assert tx.dying_bodies(9, after=first) == (second,)
        assert tx.lock_dying(DIGEST) == first
        assert tx.take_mark([DIGEST]) == 1
        assert tx.lock_dying(DIGEST) is None
        assert tx.take_mark([DIGEST]) == 0
    assert run_store.tenants_of_expired_artifacts(after(0)) == (TENANT,)


def test_a_deleted_body_is_noted_with_all_that_had_it(run_store: RunStore, run: Run) -> None:
    one, two = a_body(run, id="art-1", name="one"), a_body(run, id="art-2", name="two")
    with run_store.begin(TENANT) as tx:
        tx.add_artifacts([one, two, a_body(run, OTHER, name="other")])
        assert tx.note_body_deleted(DIGEST, after(9)) == ("art-1", "art-2")
        assert tx.note_body_deleted(DIGEST, after(99)) == ()
        found = tx.get_artifact("art-1")
    assert (found.body_deleted_at, found.has_body) == (after(9), False)


def test_an_artifact_keeps_its_body_unless_it_has_expired(run_store: RunStore) -> None:
    run = added(run_store, a_run(**ENDED))
    with run_store.begin(TENANT) as tx:
        tx.add_artifacts([a_body(run)])
        assert tx.kept_digests([DIGEST, OTHER], after(4)) == {DIGEST}
        assert tx.kept_digests([DIGEST, OTHER], after(5)) == frozenset()
        tx.add_artifacts([a_body(run, name="another", expires_at=None)])
        assert tx.kept_digests([DIGEST], after(5)) == {DIGEST}


@pytest.mark.parametrize("scope", HoldScope)
def test_a_hold_keeps_a_body(run_store: RunStore, scope: HoldScope) -> None:
    run = added(run_store, a_run(**ENDED))
    artifact = a_body(run)
    subject = run.id if scope is HoldScope.RUN else artifact.id
    hold = a_hold(run, scope=scope, subject_id=subject)
    with run_store.begin(TENANT) as tx:
        tx.add_artifacts([artifact])
        tx.add_hold(hold)
        assert tx.kept_digests([DIGEST], after(5)) == {DIGEST}
        tx.save_hold(replace(hold, released_at=after(5)))
        assert tx.kept_digests([DIGEST], after(5)) == frozenset()


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.FAILED])
def test_a_run_that_may_go_on_keeps_a_body(run_store: RunStore, status: RunStatus) -> None:
    run = added(run_store, a_run(status=status))
    with run_store.begin(TENANT) as tx:
        tx.add_artifacts([a_body(run)])
        assert tx.kept_digests([DIGEST], after(5)) == {DIGEST}


def test_every_row_that_has_a_large_body_refers_to_it(run_store: RunStore) -> None:
    """Also one of a run that has ended: people read it."""
    names = iter("0123456789")

    def body() -> Body:
        return Body(reference=BodyReference(next(names) * 64, 99_999))

    run = a_run(**ENDED, inputs=body(), plan=body(), outputs=body())
    job = replace(a_claimed_job(run), outputs=body())
    approval = an_approval(job, plan_digest="8" * 64)
    added(run_store, run, job)
    with run_store.begin(TENANT) as tx:
        tx.add_attempt(an_attempt(job, traceback=body()))
        tx.save_checkpoint(job, a_checkpoint(job, state=body()))
        tx.add_dead_letter(a_letter(job, with_=body(), traceback=body()))
        tx.add_approval(approval)
        tx.register_template(a_template_record(digest="9" * 64))
    asked = [digit * 64 for digit in "0123456789abcdef"]
    with run_store.begin(TENANT, read_only=True) as tx:
        found = tx.referred_digests(asked)
    assert sorted(digest[0] for digest in found) == sorted([*"0123456789", run.template_digest[0]])


def test_what_runs_name_counts_as_long_as_they_may_go_on(run_store: RunStore) -> None:
    plan = Body(reference=BodyReference("1" * 64, 99_999))
    inputs = Body(inline={"copy": f"artifact:sha256:{DIGEST}", "no": "f" * 65})
    first = a_run(id="run-1", status=RunStatus.FAILED, plan=plan, inputs=inputs)
    second = a_run(id="run-2", status=RunStatus.RUNNING)
    job = a_claimed_job(second)
    ended = a_run(id="run-3", **ENDED, inputs=Body(inline=["2" * 64]))
    added(run_store, first)
    added(run_store, second, job)
    added(run_store, ended, a_job(ended, outputs=Body(inline=["3" * 64])))
    with run_store.begin(TENANT) as tx:
        tx.save_checkpoint(job, a_checkpoint(job, state=Body(inline={"tree": OTHER})))
    with run_store.begin(TENANT, read_only=True) as tx:
        part = tx.named_by_living_runs(1)
        assert (part.named, part.bodies, part.last) == ({DIGEST}, {"1" * 64}, "run-1")
        rest = tx.named_by_living_runs(9, after=part.last)
    assert (rest.named, rest.bodies, rest.last) == ({OTHER}, frozenset(), None)


def test_the_oldest_attempt_is_one_that_runs(run_store: RunStore) -> None:
    run = a_run(status=RunStatus.RUNNING)
    old = a_claimed_job(run, last_attempt_at=after(3))
    new = replace(a_claimed_job(run, last_attempt_at=after(7)), id="job-2", step="second")
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.oldest_attempt() is None
    added(run_store, run, new, old)
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.oldest_attempt() == after(3)


def test_the_last_artifact_is_one_that_has_its_body_yet(run_store: RunStore, run: Run) -> None:
    old = a_body(run, step="first")
    new = a_body(run, step="second", created_at=after(9), body_deleted_at=after(9))
    with run_store.begin(TENANT) as tx:
        tx.add_artifacts([old, new])
        assert tx.find_last_artifact(run.project_id, old.kind, old.name) == old
