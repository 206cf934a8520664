"""Every method of the run store's transaction, called by a tenant on what another has recorded.

A new method needs a line in one of the tables, by what comes of it: ``NOT_FOUND``, ``CONFLICT``,
``EMPTY`` or ``BESIDE``; one that takes rows has one in ``SMUGGLED`` too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from factory_runtime.domain.access import Grant, Role
from factory_runtime.domain.api_key import ApiKey
from factory_runtime.domain.body import Body, BodyReference
from factory_runtime.domain.callback import Callback
from factory_runtime.domain.dead_letter import LetterFilter, LetterStatus
from factory_runtime.domain.hold import Hold, HoldScope
from factory_runtime.domain.memory import (
    ContextPackage,
    ForgetScope,
    Forgotten,
    MemoryModel,
    MemoryUse,
    MemoryVector,
    ModelStatus,
    Observation,
    ObservationKind,
)
from factory_runtime.domain.records import EffectStatus, SetAside, TopicWait
from factory_runtime.domain.run import RunStatus
from factory_runtime.domain.tally import ASKED, Tally
from factory_runtime.domain.webhook import (
    DeliveryFilter,
    DeliveryStatus,
    SourceKind,
    SourceSecret,
    WebhookDelivery,
    WebhookSource,
)
from factory_runtime.ports import RunFilter, RunStore, RunTransaction
from tests.builders import (
    FINGERPRINT,
    TENANT,
    a_breaker,
    a_checkpoint,
    a_claimed_job,
    a_deployment,
    a_failure_kind,
    a_letter,
    a_memory,
    a_message,
    a_policy_record,
    a_publication,
    a_redrive_order,
    a_request_record,
    a_run,
    a_seal,
    a_template_record,
    a_vote,
    after,
    an_approval,
    an_artifact,
    an_attempt,
    an_audit_entry,
    an_effect,
    an_event,
)

INTRUDER = "umbrella"

PLAN = Body(reference=BodyReference("c" * 64, 999))
RUN = a_run(id="run-1", status=RunStatus.VALIDATED, flow_run_id="flow-1", plan=PLAN)
JOB = a_claimed_job(RUN)
CHECKPOINT = a_checkpoint(JOB)
BREAKER = a_breaker(failures=5, open_until=after(60))
ATTEMPT = an_attempt(JOB)
ARTIFACT = an_artifact(RUN, uri="artifact:sha256:" + "a" * 64, sha256="a" * 64, expires_at=after(2))
HOLD = Hold(TENANT, "hold-1", HoldScope.RUN, RUN.id, RUN.project_id, "asked", after(0), "ada")
DYING = "b" * 64
EFFECT = an_effect(RUN)
MESSAGE = a_message()
TEMPLATE = a_template_record()
REQUEST = a_request_record()
# Its times are those of one that the release before has rewritten.
MEMORY = a_memory(run_id=RUN.id, project_id=RUN.project_id, changed_at=after(-1))
VECTOR = MemoryVector(TENANT, "minilm/1", MEMORY.text_digest, (1.0, 0.0))
MODEL = MemoryModel(TENANT, VECTOR.model, "minilm", 2, ModelStatus.ACTIVE, after(0))
SEEN = Observation(
    TENANT, "mem-pattern", ObservationKind.FAILED, RUN.id, JOB.step, 0, "", after(0), RUN.project_id
)
USE = MemoryUse(TENANT, RUN.id, JOB.step, MEMORY.id, RUN.project_id, 1, 0.9, after(0))
GONE = Forgotten(TENANT, ForgetScope.RUN, "run-0", after(0))
TALLY = Tally(TENANT, ASKED, 1, after(60))
PACKAGE = ContextPackage(TENANT, "ctx-1", "d" * 64, (MEMORY.id,), (0.9,), 2000, after(0), after(60))
UNDOING = a_run(id="run-2", undoes=RUN.id)
LETTER = a_letter(JOB)
KIND = a_failure_kind()
ORDER = a_redrive_order()
APPROVAL = an_approval(JOB)
VOTE = a_vote(APPROVAL)
POLICY = a_policy_record()
DEPLOYMENT = a_deployment()
PUBLICATION = a_publication()
AUDIT = an_audit_entry()
WAITING = an_audit_entry()
SEAL = a_seal(AUDIT)
ASIDE = SetAside(TENANT, RUN.id, 1, after(60), "it fails")
WAIT = TopicWait(TENANT, RUN.id, JOB.step, JOB.type, JOB.priority, after(0), after(1))
SECRET = SourceSecret("sealed", after(0))
SOURCE = WebhookSource(
    TENANT, "hook-1", "ours", SourceKind.GITHUB, RUN.project_id, (SECRET,), after(0), "ada"
)
DELIVERY = WebhookDelivery(
    TENANT,
    "delivery-1",
    SOURCE.id,
    "theirs-1",
    replay_key="6" * 64,
    body_digest="7" * 64,
    type="push",
    received_at=after(0),
    asked_at=after(0),
    event=Body({"ref": "main"}),
    status=DeliveryStatus.MATCHED,
)
CALLBACK = Callback(
    TENANT, "callback-1", "https://example.org/ends", "sealed", after(0), "ada", run_id=RUN.id
)
CALLBACK_OF_ALL = replace(CALLBACK, id="callback-2", run_id=None)
KEY = ApiKey(
    TENANT,
    "key-1",
    prefix="a" * 12,
    hash="8" * 64,
    name="ci",
    grants=(Grant(Role.VIEWER),),
    groups=(),
    created_at=after(0),
    created_by="ada",
    replaces="key-0",
)
LETTERS = LetterFilter()


def foreign(value: Any) -> Any:
    """The same row, claimed by the other tenant."""
    return replace(value, tenant_id=INTRUDER)


Call = Callable[[RunTransaction], Any]
MOVED = RUN.move_to(RunStatus.QUEUED, after(1))
NOT_FOUND: dict[str, Call] = {
    "get_run": lambda tx: tx.get_run(RUN.id),
    "lock_run": lambda tx: tx.lock_run(RUN.id),
    "save_run": lambda tx: tx.save_run(foreign(RUN), foreign(MOVED)),
    "get_job": lambda tx: tx.get_job(RUN.id, JOB.step),
    "save_job": lambda tx: tx.save_job(foreign(JOB), foreign(JOB.changed(after(1)))),
    "add_jobs": lambda tx: tx.add_jobs([foreign(replace(JOB, id="job-9", step="x"))]),
    "add_attempt": lambda tx: tx.add_attempt(foreign(replace(ATTEMPT, key="run-1:x:2"))),
    "save_attempt": lambda tx: tx.save_attempt(foreign(ATTEMPT)),
    "add_artifacts": lambda tx: tx.add_artifacts([foreign(ARTIFACT)]),
    "get_artifact": lambda tx: tx.get_artifact(ARTIFACT.id),
    "touch_artifact": lambda tx: tx.touch_artifact(ARTIFACT.id, after(1)),
    "set_expiry": lambda tx: tx.set_expiry(ARTIFACT.id, after(1), once_downloaded=True),
    "get_hold": lambda tx: tx.get_hold(HOLD.id),
    "save_hold": lambda tx: tx.save_hold(replace(foreign(HOLD), reason="stolen")),
    "add_event": lambda tx: tx.add_event(foreign(an_event(RUN))),
    "intend_effect": lambda tx: tx.intend_effect(foreign(EFFECT)),
    "intend_elsewhere": lambda tx: tx.intend_elsewhere(EFFECT, replace(EFFECT, target="stolen")),
    "confirm_effect": lambda tx: tx.confirm_effect(EFFECT.effect_key, EFFECT.kind, "x", after(1)),
    "save_message": lambda tx: tx.save_message(foreign(MESSAGE)),
    "get_dead_letter": lambda tx: tx.get_dead_letter(LETTER.id),
    "add_dead_letter": lambda tx: tx.add_dead_letter(foreign(LETTER)),
    "lock_redrive_order": lambda tx: tx.lock_redrive_order(ORDER.id),
    "get_approval": lambda tx: tx.get_approval(APPROVAL.id),
    "add_approval": lambda tx: tx.add_approval(foreign(APPROVAL)),
    "add_vote": lambda tx: tx.add_vote(foreign(VOTE)),
    "save_set_aside": lambda tx: tx.save_set_aside(foreign(ASIDE)),
    "settle_effect": lambda tx: tx.settle_effect(
        EFFECT.effect_key, EFFECT.kind, EffectStatus.UNDONE, after(1)
    ),
    "get_webhook_source": lambda tx: tx.get_webhook_source(SOURCE.name),
    "add_delivery": lambda tx: tx.add_delivery(foreign(DELIVERY)),
    "get_delivery": lambda tx: tx.get_delivery(DELIVERY.id),
    "add_callback": lambda tx: tx.add_callback(foreign(CALLBACK)),
    "get_callback": lambda tx: tx.get_callback(CALLBACK.id),
    "get_api_key": lambda tx: tx.get_api_key(KEY.id),
    "lock_api_key": lambda tx: tx.lock_api_key(KEY.id),
    "save_api_key": lambda tx: tx.save_api_key(replace(foreign(KEY), name="stolen")),
}
CONFLICT: dict[str, Call] = {
    "hold_job": lambda tx: tx.hold_job(JOB),
    "note_progress": lambda tx: tx.note_progress(JOB, 0.5, "stolen"),
    "save_checkpoint": lambda tx: tx.save_checkpoint(JOB, foreign(CHECKPOINT)),
    "save_dead_letter": lambda tx: tx.save_dead_letter(
        foreign(LETTER), foreign(LETTER.move_to(LetterStatus.DISCARDED))
    ),
    "save_redrive_order": lambda tx: tx.save_redrive_order(foreign(ORDER.changed(redriven=9))),
    "save_approval": lambda tx: tx.save_approval(foreign(APPROVAL), foreign(APPROVAL.changed())),
    "save_deployment": lambda tx: tx.save_deployment(foreign(DEPLOYMENT)),
    "add_api_key": lambda tx: tx.add_api_key(foreign(KEY)),
    "add_webhook_source": lambda tx: tx.add_webhook_source(foreign(SOURCE)),
    "save_webhook_source": lambda tx: tx.save_webhook_source(
        foreign(SOURCE), replace(foreign(SOURCE), project_id="stolen", version=2)
    ),
}
EMPTY: dict[str, Call] = {
    "list_runs": lambda tx: tx.list_runs(RunFilter()).items,
    "count_runs": lambda tx: tx.count_runs(RunFilter()),
    "find_run_by_flow_run": lambda tx: tx.find_run_by_flow_run("flow-1"),
    "list_jobs": lambda tx: tx.list_jobs(RUN.id),
    "list_attempts": lambda tx: tx.list_attempts(RUN.id),
    "list_artifacts": lambda tx: tx.list_artifacts(),
    "expired_artifacts": lambda tx: tx.expired_artifacts(after(99), 9),
    "list_holds": lambda tx: tx.list_holds(),
    "is_held": lambda tx: tx.is_held(ARTIFACT),
    "dying_bodies": lambda tx: tx.dying_bodies(9),
    "count_dying": lambda tx: tx.count_dying(),
    "kept_digests": lambda tx: tx.kept_digests([str(ARTIFACT.sha256)], after(1)),
    "referred_digests": lambda tx: tx.referred_digests([TEMPLATE.digest]),
    "named_by_living_runs": lambda tx: tx.named_by_living_runs(9).bodies,
    "oldest_attempt": lambda tx: tx.oldest_attempt(),
    "find_last_event": lambda tx: tx.find_last_event(RUN.id),
    "list_events": lambda tx: tx.list_events(RUN.id),
    "list_effects": lambda tx: tx.list_effects(),
    "list_templates": lambda tx: tx.list_templates(),
    "find_message": lambda tx: tx.find_message(MESSAGE.id),
    "find_request": lambda tx: tx.find_request(REQUEST.idempotency_key),
    "find_lock_holder": lambda tx: tx.find_lock_holder("cache", after(1)),
    "find_memories": lambda tx: tx.find_memories([MEMORY.id]),
    "list_memories": lambda tx: tx.list_memories(),
    "count_memories": lambda tx: tx.count_memories(),
    "memories_without_prose": lambda tx: tx.memories_without_prose([MEMORY.kind], after(9), 9),
    "unindexed_memories": lambda tx: tx.unindexed_memories(9),
    "find_vectors": lambda tx: tx.find_vectors(VECTOR.model, [VECTOR.text_digest]),
    "memories_without_vector": lambda tx: tx.memories_without_vector("other/1", 9),
    "count_vectors": lambda tx: tx.count_vectors(VECTOR.model),
    "unadopted_memories": lambda tx: tx.unadopted_memories(9),
    "unused_vectors": lambda tx: tx.unused_vectors(9),
    "list_models": lambda tx: tx.list_models(),
    "list_observations": lambda tx: tx.list_observations(subject=SEEN.subject),
    "list_uses": lambda tx: tx.list_uses(run_id=RUN.id),
    "count_reuse": lambda tx: tx.count_reuse().shown,
    "unindexed_line": lambda tx: tx.unindexed_line(),
    "find_forgotten": lambda tx: tx.find_forgotten(GONE.scope, GONE.key),
    "forgotten_since": lambda tx: tx.forgotten_since(GONE.at),
    "find_tally": lambda tx: tx.find_tally(TALLY.about),
    "find_package": lambda tx: tx.find_package(PACKAGE.id),
    "find_package_of": lambda tx: tx.find_package_of(PACKAGE.task_digest, after(1)),
    "find_checkpoint": lambda tx: tx.find_checkpoint(RUN.id, JOB.step),
    "find_breaker": lambda tx: tx.find_breaker(BREAKER.host),
    "find_last_artifact": lambda tx: tx.find_last_artifact(
        RUN.project_id, ARTIFACT.kind, ARTIFACT.name
    ),
    "find_dead_letter": lambda tx: tx.find_dead_letter(RUN.id, JOB.step),
    "list_dead_letters": lambda tx: tx.list_dead_letters(LETTERS),
    "count_dead_letters": lambda tx: tx.count_dead_letters(LETTERS),
    "find_failure_kind": lambda tx: tx.find_failure_kind(FINGERPRINT),
    "find_fingerprints": lambda tx: tx.find_fingerprints(FINGERPRINT[:6], 2),
    "find_redrive_order": lambda tx: tx.find_redrive_order(ORDER.id),
    "list_redrive_orders": lambda tx: tx.list_redrive_orders(),
    "find_approval": lambda tx: tx.find_approval(RUN.id, JOB.step, APPROVAL.plan_digest),
    "list_approvals": lambda tx: tx.list_approvals(),
    "list_votes": lambda tx: tx.list_votes(APPROVAL.id),
    "find_undoing_run": lambda tx: tx.find_undoing_run(RUN.id),
    "find_policy": lambda tx: tx.find_policy(),
    "count_runs_since": lambda tx: tx.count_runs_since(after(-60)),
    "find_set_aside": lambda tx: tx.find_set_aside(RUN.id),
    "find_topic_wait": lambda tx: tx.find_topic_wait(RUN.id, JOB.step),
    "list_topic_waits": lambda tx: tx.list_topic_waits(RUN.id),
    "open_breakers": lambda tx: tx.open_breakers(after(1)),
    "list_audit": lambda tx: tx.list_audit(),
    "find_audit": lambda tx: tx.find_audit([AUDIT.id]),
    "unsealed_audit": lambda tx: tx.unsealed_audit(9),
    "count_unsealed": lambda tx: tx.count_unsealed(),
    "last_seal": lambda tx: tx.last_seal(),
    "list_seals": lambda tx: tx.list_seals(after=0, limit=9),
    "find_deployment": lambda tx: tx.find_deployment(DEPLOYMENT.template_id),
    "list_deployments": lambda tx: tx.list_deployments(),
    "find_template": lambda tx: tx.find_template(TEMPLATE.template_id, TEMPLATE.version),
    "find_publication": lambda tx: tx.find_publication(
        PUBLICATION.template_id, PUBLICATION.version
    ),
    "list_publications": lambda tx: tx.list_publications(),
    "list_letter_groups": lambda tx: tx.list_letter_groups([RUN.project_id]),
    "list_webhook_sources": lambda tx: tx.list_webhook_sources(),
    "list_deliveries": lambda tx: tx.list_deliveries(DeliveryFilter()),
    "list_callbacks": lambda tx: tx.list_callbacks(run_id=RUN.id),
    "list_callbacks_of": lambda tx: tx.list_callbacks_of(RUN),
    "count_callbacks": lambda tx: tx.count_callbacks(),
    "find_replacement": lambda tx: tx.find_replacement("key-0"),
    "list_api_keys": lambda tx: tx.list_api_keys(),
}
# Each makes a row of the intruder's own under a key that the other tenant uses too, or nothing.
BESIDE: dict[str, Call] = {
    "add_run": lambda tx: tx.add_run(foreign(RUN), [foreign(JOB)]),
    "add_message": lambda tx: tx.add_message(foreign(MESSAGE)),
    "register_template": lambda tx: tx.register_template(
        replace(foreign(TEMPLATE), digest="e" * 64)
    ),
    "add_request": lambda tx: tx.add_request(foreign(REQUEST)),
    "try_lock": lambda tx: tx.try_lock("cache", "intruder", after(1), after(99)),
    "unlock": lambda tx: tx.unlock("cache", "ada"),
    "renew_lock": lambda tx: tx.renew_lock("cache", "ada", after(99)),
    "wake_job": lambda tx: tx.wake_job(RUN.id, JOB.step, after(1)),
    "renew_leases": lambda tx: tx.renew_leases(RUN.id, str(JOB.lease_owner), after(99)),
    "lock_breaker": lambda tx: tx.lock_breaker(BREAKER.host),
    "save_breaker": lambda tx: tx.save_breaker(replace(foreign(BREAKER), failures=9)),
    "save_memories": lambda tx: tx.save_memories([replace(foreign(MEMORY), text="stolen")]),
    "save_prose": lambda tx: tx.save_prose(MEMORY, "stolen"),
    "delete_memories": lambda tx: tx.delete_memories([MEMORY.id]),
    "adopt_memories": lambda tx: tx.adopt_memories([MEMORY.id]),
    "mark_indexed": lambda tx: tx.mark_indexed([MEMORY], after(9)),
    "mark_unindexed": lambda tx: tx.mark_unindexed([MEMORY.id]),
    "mark_all_unindexed": lambda tx: tx.mark_all_unindexed(after(9)),
    "save_vectors": lambda tx: tx.save_vectors([replace(foreign(VECTOR), vector=(0.0, 1.0))]),
    "drop_vectors": lambda tx: tx.drop_vectors(VECTOR.model),
    "drop_unused_vectors": lambda tx: tx.drop_unused_vectors([VECTOR.text_digest]),
    "overwrite_deleted": lambda tx: tx.overwrite_deleted(),
    "save_model": lambda tx: tx.save_model(replace(foreign(MODEL), dimensions=9)),
    "drop_model": lambda tx: tx.drop_model(MODEL.model),
    "add_observations": lambda tx: tx.add_observations([foreign(SEEN)]),
    "delete_observations": lambda tx: tx.delete_observations(),
    "add_uses": lambda tx: tx.add_uses([foreign(USE)]),
    "mark_used": lambda tx: tx.mark_used(RUN.id, [MEMORY.id], after(9)),
    "unname_uses": lambda tx: tx.unname_uses([MEMORY.id]),
    "delete_uses": lambda tx: tx.delete_uses(),
    "add_forgotten": lambda tx: tx.add_forgotten(replace(foreign(GONE), at=after(9))),
    "add_package": lambda tx: tx.add_package(foreign(PACKAGE)),
    "save_tally": lambda tx: tx.save_tally(replace(foreign(TALLY), times=9)),
    "drop_packages": lambda tx: tx.drop_packages(after(99)),
    "add_failure_kind": lambda tx: tx.add_failure_kind(foreign(KIND)),
    "add_redrive_order": lambda tx: tx.add_redrive_order(foreign(ORDER)),
    "save_policy": lambda tx: tx.save_policy(foreign(POLICY)),
    "save_publication": lambda tx: tx.save_publication(
        replace(foreign(PUBLICATION), origin="stolen")
    ),
    "add_hold": lambda tx: tx.add_hold(foreign(HOLD)),
    "mark_dying": lambda tx: tx.mark_dying([DYING], after(9)),
    "take_mark": lambda tx: tx.take_mark([DYING]),
    "lock_dying": lambda tx: tx.lock_dying(DYING),
    "note_body_deleted": lambda tx: tx.note_body_deleted(str(ARTIFACT.sha256), after(9)),
    "add_audit": lambda tx: tx.add_audit([foreign(AUDIT)]),
    "add_seals": lambda tx: tx.add_seals([foreign(SEAL)]),
    "stray_audit": lambda tx: tx.stray_audit(9),
    "lost_audit": lambda tx: tx.lost_audit(9),
    "drop_set_aside": lambda tx: tx.drop_set_aside(RUN.id),
    "lock_topic": lambda tx: tx.lock_topic(JOB.type),
    "note_route": lambda tx: tx.note_route(JOB, "flow-9", "stolen"),
    "save_topic_wait": lambda tx: tx.save_topic_wait(foreign(WAIT)),
    "drop_topic_waits": lambda tx: tx.drop_topic_waits(RUN.id),
    "save_delivery": lambda tx: tx.save_delivery(replace(foreign(DELIVERY), error="stolen")),
    "touch_api_key": lambda tx: tx.touch_api_key(KEY.id, after(9), unless_since=after(8)),
    "drop_deliveries": lambda tx: tx.drop_deliveries(after(9), limit=9),
    "save_callback": lambda tx: tx.save_callback(replace(foreign(CALLBACK), reason="stolen")),
}
SMUGGLED: dict[str, Call] = {
    "add_run": lambda tx: tx.add_run(RUN),
    "add_jobs": lambda tx: tx.add_jobs([replace(JOB, id="job-9", step="x")]),
    "add_attempt": lambda tx: tx.add_attempt(ATTEMPT),
    "save_attempt": lambda tx: tx.save_attempt(ATTEMPT),
    "add_artifacts": lambda tx: tx.add_artifacts([ARTIFACT]),
    "intend_effect": lambda tx: tx.intend_effect(EFFECT),
    "add_message": lambda tx: tx.add_message(MESSAGE),
    "save_message": lambda tx: tx.save_message(MESSAGE),
    "register_template": lambda tx: tx.register_template(TEMPLATE),
    "add_request": lambda tx: tx.add_request(REQUEST),
    "save_memories": lambda tx: tx.save_memories([MEMORY]),
    "save_vectors": lambda tx: tx.save_vectors([VECTOR]),
    "save_model": lambda tx: tx.save_model(MODEL),
    "add_observations": lambda tx: tx.add_observations([SEEN]),
    "add_uses": lambda tx: tx.add_uses([USE]),
    "add_forgotten": lambda tx: tx.add_forgotten(GONE),
    "add_package": lambda tx: tx.add_package(PACKAGE),
    "save_tally": lambda tx: tx.save_tally(TALLY),
    "save_breaker": lambda tx: tx.save_breaker(BREAKER),
    "add_dead_letter": lambda tx: tx.add_dead_letter(LETTER),
    "add_failure_kind": lambda tx: tx.add_failure_kind(a_failure_kind(fingerprint="0" * 64)),
    "add_redrive_order": lambda tx: tx.add_redrive_order(ORDER),
    "save_redrive_order": lambda tx: tx.save_redrive_order(ORDER.changed(redriven=9)),
    "add_approval": lambda tx: tx.add_approval(APPROVAL),
    "add_vote": lambda tx: tx.add_vote(VOTE),
    "save_policy": lambda tx: tx.save_policy(POLICY),
    "save_deployment": lambda tx: tx.save_deployment(DEPLOYMENT),
    "save_publication": lambda tx: tx.save_publication(PUBLICATION),
    "add_hold": lambda tx: tx.add_hold(HOLD),
    "add_audit": lambda tx: tx.add_audit([AUDIT]),
    "add_seals": lambda tx: tx.add_seals([SEAL]),
    "save_set_aside": lambda tx: tx.save_set_aside(ASIDE),
    "save_topic_wait": lambda tx: tx.save_topic_wait(WAIT),
    "add_webhook_source": lambda tx: tx.add_webhook_source(SOURCE),
    "add_delivery": lambda tx: tx.add_delivery(DELIVERY),
    "add_callback": lambda tx: tx.add_callback(CALLBACK),
    "add_api_key": lambda tx: tx.add_api_key(KEY),
    "save_api_key": lambda tx: tx.save_api_key(KEY),
}


GOT = tuple(name for name in NOT_FOUND if name.startswith("get_"))
"""What is found by its id."""


def everything_of(store: RunStore) -> list[Any]:
    """All that the first tenant can read."""
    with store.begin(TENANT, read_only=True) as tx:
        calls = [*EMPTY.values(), *(NOT_FOUND[name] for name in GOT)]
        return [*(call(tx) for call in calls), tx.find_lock_holder("cache", after(59))]


def settle(store: RunStore) -> None:
    """Have the first tenant record a row of every kind."""
    with store.begin(TENANT) as tx:
        tx.add_run(RUN, [JOB])
        tx.add_attempt(ATTEMPT)
        tx.add_artifacts([ARTIFACT])
        tx.add_hold(HOLD)
        tx.mark_dying([DYING], after(0))
        tx.intend_effect(EFFECT)
        tx.add_message(MESSAGE)
        tx.register_template(TEMPLATE)
        tx.add_request(REQUEST)
        tx.save_memories([MEMORY])
        tx.save_vectors([VECTOR, replace(VECTOR, text_digest="9" * 64)])
        tx.save_model(MODEL)
        tx.add_observations([SEEN])
        tx.add_uses([USE])
        tx.add_forgotten(GONE)
        tx.add_package(PACKAGE)
        tx.save_tally(TALLY)
        tx.save_checkpoint(JOB, CHECKPOINT)
        tx.save_breaker(BREAKER)
        tx.add_run(UNDOING)
        tx.add_dead_letter(LETTER)
        tx.add_failure_kind(KIND)
        tx.add_redrive_order(ORDER)
        tx.add_approval(APPROVAL)
        tx.add_vote(VOTE)
        tx.save_policy(POLICY)
        tx.save_deployment(DEPLOYMENT)
        tx.save_publication(PUBLICATION)
        tx.add_audit([AUDIT, WAITING])
        tx.add_seals([SEAL])
        tx.save_set_aside(ASIDE)
        tx.save_topic_wait(WAIT)
        tx.add_webhook_source(SOURCE)
        tx.add_delivery(DELIVERY)
        tx.add_callback(CALLBACK)
        tx.add_callback(CALLBACK_OF_ALL)
        tx.add_api_key(KEY)
        assert tx.try_lock("cache", "ada", after(0), after(60))
