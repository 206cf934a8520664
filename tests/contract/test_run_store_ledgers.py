"""The run store's contract: artifacts, effects, outbox, templates, requests, locks, memories."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory_runtime.domain.artifact import ArtifactKind, Classification
from factory_runtime.domain.errors import (
    ArtifactNotFoundError,
    ConflictError,
    NotFoundError,
    StaleVersionError,
    TemplateChangedError,
)
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunStore
from tests.builders import (
    TENANT,
    a_message,
    a_request_record,
    a_run,
    a_template_record,
    after,
    an_artifact,
    an_effect,
)

# --- artifacts


def test_an_artifact_comes_back_as_it_went_in(run_store: RunStore, run: Run) -> None:
    artifact = an_artifact(
        run,
        size=2**40,
        sha256="d" * 64,
        classification=Classification.CONFIDENTIAL,
        accessed_at=after(1),
        expires_at=after(2),
        metadata={"branch": "main"},
    )
    with run_store.begin(TENANT) as tx:
        tx.add_artifacts([artifact])
    with run_store.begin(TENANT) as tx:
        assert tx.get_artifact(artifact.id) == artifact


def test_an_artifact_recorded_again_is_replaced_but_keeps_its_identity(
    run_store: RunStore, run: Run
) -> None:
    first = an_artifact(run, uri="artifact:sha256:old")
    second = an_artifact(run, uri="artifact:sha256:new", created_at=after(9), creator="another")
    with run_store.begin(TENANT) as tx:
        tx.add_artifacts([first])
        tx.touch_artifact(first.id, after(5))
        tx.add_artifacts([second, second])
        assert tx.list_artifacts(run_id=run.id) == (
            replace(first, uri="artifact:sha256:new", accessed_at=after(5)),
        )
        with pytest.raises(ArtifactNotFoundError):
            tx.get_artifact(second.id)


def test_artifacts_are_listed_oldest_first_in_a_run_and_newest_first_elsewhere(
    run_store: RunStore, run: Run
) -> None:
    other = a_run(project_id="bank")
    old = an_artifact(run, created_at=after(1))
    new = an_artifact(run, created_at=after(3), kind=ArtifactKind.COMMIT)
    elsewhere = an_artifact(other, created_at=after(2))
    with run_store.begin(TENANT) as tx:
        tx.add_run(other)
        tx.add_artifacts([new, elsewhere, old])
        assert tx.list_artifacts(run_id=run.id) == (old, new)
        assert tx.list_artifacts() == (new, elsewhere, old)
        assert tx.list_artifacts(limit=1) == (new,)
        assert tx.list_artifacts(project_id="bank") == (elsewhere,)
        assert tx.list_artifacts(project_id="shop") == (new, old)
        assert tx.list_artifacts(kind=ArtifactKind.COMMIT) == (new,)
        assert tx.list_artifacts(run_id="run-none") == ()
        assert tx.list_artifacts(projects=("bank", "mill")) == (elsewhere,)
        assert tx.list_artifacts(projects=()) == ()
        assert tx.list_artifacts(after=new) == (elsewhere, old)
        assert tx.list_artifacts(run_id=run.id, after=old) == (new,)


def test_an_unknown_artifact_is_not_found(run_store: RunStore) -> None:
    with run_store.begin(TENANT) as tx:
        with pytest.raises(ArtifactNotFoundError):
            tx.get_artifact("art-none")
        with pytest.raises(ArtifactNotFoundError):
            tx.touch_artifact("art-none", after(1))


def test_an_artifact_belongs_to_a_run(run_store: RunStore) -> None:
    with pytest.raises(NotFoundError), run_store.begin(TENANT) as tx:
        tx.add_artifacts([an_artifact(a_run())])


# --- effects


def test_an_effect_is_intended_once_and_gives_what_stands(run_store: RunStore, run: Run) -> None:
    effect = an_effect(run)
    with run_store.begin(TENANT) as tx:
        assert tx.intend_effect(effect) == effect
    with run_store.begin(TENANT) as tx:
        tx.confirm_effect(effect.effect_key, effect.kind, "orders.git", after(1))
    confirmed = replace(
        effect, status=EffectStatus.CONFIRMED, reference="orders.git", confirmed_at=after(1)
    )
    with run_store.begin(TENANT) as tx:
        assert tx.intend_effect(an_effect(run, intended_at=after(9))) == confirmed
        assert tx.list_effects(run_id=run.id) == (confirmed,)


def test_an_effect_confirmed_again_changes_nothing(run_store: RunStore, run: Run) -> None:
    effect = an_effect(run)
    with run_store.begin(TENANT) as tx:
        tx.intend_effect(effect)
        tx.confirm_effect(effect.effect_key, effect.kind, "orders.git", after(1))
        tx.confirm_effect(effect.effect_key, effect.kind, "orders.git", after(2))
        assert tx.list_effects()[0].confirmed_at == after(1)


def test_one_effect_does_not_leave_two_results(run_store: RunStore, run: Run) -> None:
    effect = an_effect(run)
    with run_store.begin(TENANT) as tx:
        tx.intend_effect(effect)
        tx.confirm_effect(effect.effect_key, effect.kind, "orders.git", after(1))
        with pytest.raises(ConflictError, match=r"orders\.git, and now orders2\.git"):
            tx.confirm_effect(effect.effect_key, effect.kind, "orders2.git", after(2))
        assert tx.list_effects()[0].reference == "orders.git"


def test_an_effect_that_is_only_intended_can_be_intended_elsewhere(
    run_store: RunStore, run: Run
) -> None:
    first = an_effect(run)
    second = replace(first, target="orders2", facts={"name": "orders2"}, intended_at=after(5))
    with run_store.begin(TENANT) as tx:
        tx.intend_effect(first)
    for _ in range(2):  # once more is a no-op
        with run_store.begin(TENANT) as tx:
            tx.intend_elsewhere(first, second)
    with run_store.begin(TENANT) as tx:
        assert tx.list_effects(run_id=run.id) == (second,)
        with pytest.raises(ConflictError, match="changed meanwhile: orders2"):
            tx.intend_elsewhere(first, replace(first, target="orders3"))
        tx.confirm_effect(first.effect_key, first.kind, "x", after(6))
        with pytest.raises(ConflictError):
            tx.intend_elsewhere(second, first)
        assert [one.target for one in tx.list_effects()] == ["orders2"]


def test_an_effect_that_was_never_intended_cannot_be_confirmed(run_store: RunStore) -> None:
    with run_store.begin(TENANT) as tx, pytest.raises(NotFoundError):
        tx.confirm_effect("run-1:generate-repo", "repository", "x", after(1))


def test_a_link_that_was_not_known_is_kept_and_never_lost(run_store: RunStore, run: Run) -> None:
    effect = an_effect(run)
    with run_store.begin(TENANT) as tx:
        tx.intend_effect(effect)
        tx.confirm_effect(effect.effect_key, effect.kind, "orders.git", after(1))
        tx.confirm_effect(effect.effect_key, effect.kind, "orders.git", after(2), link="file:///o")
        tx.confirm_effect(effect.effect_key, effect.kind, "orders.git", after(3))
        (stands,) = tx.list_effects()
        assert (stands.link, stands.confirmed_at) == ("file:///o", after(1))


def test_effects_are_listed_by_step_and_in_parts(run_store: RunStore, run: Run) -> None:
    effects = [
        an_effect(run, effect_key=f"{run.id}:{step}", step=step, kind=kind, intended_at=after(at))
        for at, step, kind in ((1, "a", "x"), (0, "b", "x"), (0, "b", "y"), (0, "c", "x"))
    ]
    with run_store.begin(TENANT) as tx:
        for effect in effects:
            tx.intend_effect(effect)
        assert [e.kind for e in tx.list_effects(run_id=run.id, step="b")] == ["x", "y"]
        found = list(tx.list_effects(limit=1))
        while part := tx.list_effects(limit=1, after=found[-1]):
            found += part
    assert [(e.step, e.kind) for e in found] == [("b", "x"), ("b", "y"), ("c", "x"), ("a", "x")]


def test_effects_are_listed_by_run_and_status(run_store: RunStore, run: Run) -> None:
    repository = an_effect(run)
    commit = an_effect(run, kind="commit", intended_at=after(1))
    with run_store.begin(TENANT) as tx:
        tx.intend_effect(commit)
        tx.intend_effect(repository)
        tx.confirm_effect(commit.effect_key, "commit", "abc", after(2))
        assert [e.kind for e in tx.list_effects(run_id=run.id)] == ["repository", "commit"]
        assert [e.kind for e in tx.list_effects(status=EffectStatus.INTENDED)] == ["repository"]
        assert tx.list_effects(run_id="run-none") == ()
        assert tx.list_effects(projects=(run.project_id,)) == tx.list_effects(run_id=run.id)
        assert tx.list_effects(projects=("bank",)) == ()
        assert len(tx.list_effects(limit=1)) == 1


# --- outbox


def test_a_message_of_the_same_topic_and_key_is_the_same_message(run_store: RunStore) -> None:
    first = a_message(key="run-1", payload={"a": 1})
    with run_store.begin(TENANT) as tx:
        tx.add_message(first)
        tx.add_message(a_message(key="run-1", payload={"a": 2}))
    other_topic = a_message(key="run-1", topic="run.started", created_at=after(1))
    with run_store.begin("umbrella") as tx:
        tx.add_message(replace(first, tenant_id="umbrella", created_at=after(2)))
    with run_store.begin(TENANT) as tx:
        tx.add_message(other_topic)
    due = run_store.due_messages(after(9))
    assert due[:2] == (first, other_topic)
    assert [message.tenant_id for message in due] == [TENANT, TENANT, "umbrella"]


def test_due_are_the_open_messages_whose_time_has_come(run_store: RunStore) -> None:
    early, late = a_message(created_at=after(1)), a_message(created_at=after(2))
    later = a_message(created_at=after(0), not_before=after(60))
    done = a_message(created_at=after(0))
    with run_store.begin(TENANT) as tx:
        for message in (late, early, later, done):
            tx.add_message(message)
        tx.save_message(replace(done, attempts=1, done_at=after(3)))
    assert run_store.due_messages(after(5)) == (early, late)
    assert run_store.due_messages(after(5), limit=1) == (early,)
    assert run_store.due_messages(after(60)) == (later, early, late)


def test_a_message_that_failed_comes_back_when_its_wait_is_over(run_store: RunStore) -> None:
    message = a_message()
    failed = replace(message, attempts=1, not_before=after(30), error="memory is broken")
    with run_store.begin(TENANT) as tx:
        tx.add_message(message)
        tx.save_message(failed)
        tx.save_message(failed)
    assert run_store.due_messages(after(29)) == ()
    assert run_store.due_messages(after(30)) == (failed,)


def test_an_unknown_message_is_not_found(run_store: RunStore) -> None:
    with run_store.begin(TENANT) as tx, pytest.raises(NotFoundError):
        tx.save_message(a_message())


# --- templates and requests


def test_a_published_version_is_immutable(run_store: RunStore) -> None:
    template = a_template_record(inputs_schema={"properties": {"z": {}, "a": {}}})
    with run_store.begin(TENANT) as tx:
        assert tx.register_template(template) is True
        assert tx.register_template(replace(template, published_at=after(5))) is False
        with pytest.raises(TemplateChangedError, match=r"microservice 1\.2\.0"):
            tx.register_template(replace(template, digest="e" * 64))
        assert tx.register_template(replace(template, version="1.3.0", digest="e" * 64)) is True
        stored = tx.list_templates()
    assert stored[0] == template
    assert list(stored[0].inputs_schema["properties"]) == ["z", "a"]
    assert [t.version for t in stored] == ["1.2.0", "1.3.0"]


def test_tenants_publish_versions_of_their_own(run_store: RunStore) -> None:
    with run_store.begin(TENANT) as tx:
        tx.register_template(a_template_record())
    with run_store.begin("umbrella") as tx:
        assert tx.register_template(a_template_record(tenant_id="umbrella", digest="e" * 64))


def test_an_idempotency_key_is_used_once(run_store: RunStore) -> None:
    request = a_request_record()
    with run_store.begin(TENANT) as tx:
        assert tx.find_request(request.idempotency_key) is None
        tx.add_request(request)
    with pytest.raises(StaleVersionError), run_store.begin(TENANT) as tx:
        tx.add_request(replace(request, run_id="run-2"))
    with run_store.begin(TENANT) as tx:
        assert tx.find_request(request.idempotency_key) == request


# --- locks


def test_a_lock_has_one_holder_until_it_expires(run_store: RunStore) -> None:
    with run_store.begin(TENANT) as tx:
        assert tx.try_lock("cache", "ada", after(0), after(10))
        assert not tx.try_lock("cache", "bob", after(9), after(20))
        assert tx.find_lock_holder("cache", after(9)) == "ada"
        assert tx.find_lock_holder("cache", after(10)) is None
        assert tx.try_lock("cache", "bob", after(10), after(20))
        assert tx.find_lock_holder("cache", after(10)) == "bob"


def test_a_holder_renews_its_lock(run_store: RunStore) -> None:
    with run_store.begin(TENANT) as tx:
        assert tx.try_lock("cache", "ada", after(0), after(10))
        assert tx.try_lock("cache", "ada", after(5), after(15))
        assert not tx.try_lock("cache", "bob", after(12), after(20))


def test_only_its_holder_gives_a_lock_back(run_store: RunStore) -> None:
    with run_store.begin(TENANT) as tx:
        tx.try_lock("cache", "ada", after(0), after(10))
        tx.unlock("cache", "bob")
        assert tx.find_lock_holder("cache", after(1)) == "ada"
        tx.unlock("cache", "ada")
        tx.unlock("cache", "ada")
        assert tx.find_lock_holder("cache", after(1)) is None
        assert tx.try_lock("cache", "bob", after(1), after(10))
