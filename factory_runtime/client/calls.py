"""The API's operations, each as the call that asks for it. A client sends them.

Names and bodies are those of the API's own document. What asks for something new carries a key, so
that it may be sent again and does no more than once.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import TypedDict, Unpack

from factory_runtime.client.call import Call, body_of, path_of, query_of
from factory_runtime.client.events import StreamEvent
from factory_runtime.domain.approval import ApprovalStatus
from factory_runtime.domain.artifact import ArtifactKind
from factory_runtime.domain.dead_letter import LetterStatus
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import RunStatus
from factory_runtime.domain.webhook import DeliveryStatus
from factory_runtime.wire.approval import ApprovalAnswer, ApprovalDetail, Deny, Grant
from factory_runtime.wire.audit import AuditEntryAnswer
from factory_runtime.wire.bulk import (
    BulkCancel,
    BulkResult,
    BulkRetry,
    Cancel,
    Change,
    Count,
)
from factory_runtime.wire.callback import CallbackAnswer, CallbackWithSecret, NewCallback
from factory_runtime.wire.context import ContextAnswer, ContextQuestion
from factory_runtime.wire.document import AddedAnswer, NewDocument
from factory_runtime.wire.effect import EffectAnswer, Undoing
from factory_runtime.wire.forgotten import ErasedAnswer
from factory_runtime.wire.health import HealthAnswer
from factory_runtime.wire.hints import HintsAnswer
from factory_runtime.wire.history import ArtifactAnswer, EventAnswer, LogLine
from factory_runtime.wire.job import JobAnswer
from factory_runtime.wire.key import GivenKey, KeyAnswer, Me, NewKey, Rotate
from factory_runtime.wire.letter import (
    BulkDiscard,
    BulkDiscarded,
    BulkRedrive,
    Discard,
    GroupAnswer,
    LetterAnswer,
    LetterDetail,
    OrderAnswer,
    Redrive,
    StopOrder,
)
from factory_runtime.wire.memory import MemoryQuestion, RecalledAnswer
from factory_runtime.wire.memory_use import ShownMemoryAnswer
from factory_runtime.wire.page import Part
from factory_runtime.wire.plan import PlanAnswer, PreviewAnswer
from factory_runtime.wire.run import NewRun, RunDetail, RunSummary
from factory_runtime.wire.suggestion import SuggestionAnswer, SuggestQuestion
from factory_runtime.wire.template import TemplateDetail, TemplateSummary
from factory_runtime.wire.webhook import (
    DeliveryAnswer,
    NewSource,
    Rotation,
    SourceAnswer,
    SourceWithSecret,
)


class RunChoice(TypedDict, total=False):
    """Which runs are meant; all that is given must hold."""

    status: list[RunStatus]
    project: str | None
    template: str | None
    requester: str | None
    module_id: str | None
    trace_id: str | None
    correlation_id: str | None
    external_id: str | None
    since: datetime | None
    until: datetime | None
    ended_since: datetime | None
    ended_until: datetime | None
    not_since_succeeded: bool | None
    text: str | None
    error: str | None
    can_be_retried: bool | None


class LetterChoice(TypedDict, total=False):
    """Which dead letters are meant."""

    fingerprint: str | None
    type: str | None
    template: str | None
    project: str | None
    since: datetime | None
    until: datetime | None


# runs


def request_run(asked: NewRun, *, idempotency_key: str | None = None) -> Call[RunSummary]:
    """Ask for a run; the same key and body give the same run."""
    key = {"Idempotency-Key": idempotency_key or secrets.token_hex(16)}
    return Call("POST", "/runs", RunSummary, body=body_of(asked), headers=key)


def preview_run(asked: NewRun) -> Call[PreviewAnswer]:
    """What a run would do; nothing is recorded."""
    return Call("POST", "/runs/preview", PreviewAnswer, body=body_of(asked))


def list_runs(
    *,
    limit: int = 50,
    cursor: str | None = None,
    standing: bool | None = None,
    with_count: bool | None = None,
    **chosen: Unpack[RunChoice],
) -> Call[Part[RunSummary]]:
    """Runs, the newest request first; with why they wait, and how many there are, if asked."""
    more = {"standing": standing, "with_count": with_count}
    query = query_of(limit=limit, cursor=cursor, **more, **chosen)
    return Call("GET", "/runs", Part[RunSummary], query)


def get_run(run_id: str, *, standing: bool | None = None) -> Call[RunDetail]:
    """A run with its inputs and outputs; with why it waits, if asked."""
    return Call("GET", path_of("runs", run_id), RunDetail, query_of(standing=standing))


def list_jobs(run_id: str, *, step: str | None = None) -> Call[Part[JobAnswer]]:
    """A run's jobs with their attempts; or one of them, and more of it."""
    return Call("GET", path_of("runs", run_id, "jobs"), Part[JobAnswer], query_of(step=step))


def list_run_artifacts(run_id: str) -> Call[Part[ArtifactAnswer]]:
    """What a run has made."""
    return Call("GET", path_of("runs", run_id, "artifacts"), Part[ArtifactAnswer])


def list_run_effects(run_id: str) -> Call[Part[EffectAnswer]]:
    """What a run did outside."""
    return Call("GET", path_of("runs", run_id, "effects"), Part[EffectAnswer])


def list_run_memories(run_id: str) -> Call[Part[ShownMemoryAnswer]]:
    """What a run was shown of the memory."""
    return Call("GET", path_of("runs", run_id, "memories"), Part[ShownMemoryAnswer])


def list_events(run_id: str, *, after: int = 0, limit: int = 200) -> Call[Part[EventAnswer]]:
    """A run's history."""
    path = path_of("runs", run_id, "events")
    return Call("GET", path, Part[EventAnswer], query_of(after=after, limit=limit))


def follow_run(run_id: str, *, after: int = 0) -> Call[StreamEvent]:
    """A run's history as it happens; for ``stream``."""
    accept = {"Accept": "text/event-stream"}
    path = path_of("runs", run_id, "events")
    return Call("GET", path, StreamEvent, query_of(after=after), headers=accept)


def list_logs(
    run_id: str, *, step: str | None = None, after: int = 0, limit: int = 1000
) -> Call[Part[LogLine]]:
    """What a run's jobs have said."""
    path = path_of("runs", run_id, "logs")
    return Call("GET", path, Part[LogLine], query_of(step=step, after=after, limit=limit))


def get_plan(run_id: str) -> Call[PlanAnswer]:
    """The plan that a run goes by."""
    return Call("GET", path_of("runs", run_id, "plan"), PlanAnswer)


def cancel_run(run_id: str, *, undo: bool = False) -> Call[RunSummary]:
    """Stop a run for good."""
    path = path_of("runs", run_id, "cancel")
    return Call("POST", path, RunSummary, body=body_of(Cancel(undo=undo)))


def pause_run(run_id: str) -> Call[RunSummary]:
    """Put a run aside."""
    return Call("POST", path_of("runs", run_id, "pause"), RunSummary)


def resume_run(run_id: str) -> Call[RunSummary]:
    """Let a paused run go on."""
    return Call("POST", path_of("runs", run_id, "resume"), RunSummary)


def retry_run(run_id: str, change: Change | None = None) -> Call[RunSummary]:
    """Send a failed run round again."""
    path = path_of("runs", run_id, "retry")
    return Call("POST", path, RunSummary, body=body_of(change), is_repeatable=False)


def retry_job(run_id: str, step: str, change: Change | None = None) -> Call[RunSummary]:
    """Send one job of a failed run round again."""
    path = path_of("runs", run_id, "jobs", step, "retry")
    return Call("POST", path, RunSummary, body=body_of(change), is_repeatable=False)


def undo_run(run_id: str) -> Call[Undoing]:
    """Take back what an ended run did."""
    return Call("POST", path_of("runs", run_id, "undo"), Undoing)


def count_to_cancel(**chosen: Unpack[RunChoice]) -> Call[Count]:
    """How many runs a bulk cancel would stop."""
    return Call("GET", "/runs/actions/cancel", Count, query_of(**chosen))


def cancel_runs(asked: BulkCancel, **chosen: Unpack[RunChoice]) -> Call[BulkResult]:
    """Stop all that are chosen."""
    path, query = "/runs/actions/cancel", query_of(**chosen)
    return Call("POST", path, BulkResult, query, body_of(asked), is_repeatable=False)


def count_to_retry(**chosen: Unpack[RunChoice]) -> Call[Count]:
    """How many runs a bulk retry would send round again."""
    return Call("GET", "/runs/actions/retry", Count, query_of(**chosen))


def retry_runs(asked: BulkRetry, **chosen: Unpack[RunChoice]) -> Call[BulkResult]:
    """Send all round again that are chosen."""
    path, query = "/runs/actions/retry", query_of(**chosen)
    return Call("POST", path, BulkResult, query, body_of(asked), is_repeatable=False)


# dead letters


def list_letters(
    *,
    status: list[LetterStatus] | None = None,
    run: str | None = None,
    can_go_round: bool | None = None,
    with_count: bool | None = None,
    limit: int = 50,
    cursor: str | None = None,
    **chosen: Unpack[LetterChoice],
) -> Call[Part[LetterAnswer]]:
    """Dead letters, the newest failure first; the open ones unless a status is named."""
    named = {"status": status, "run": run, "can_go_round": can_go_round}
    query = query_of(**named, with_count=with_count, limit=limit, cursor=cursor, **chosen)
    return Call("GET", "/dead-letters", Part[LetterAnswer], query)


def list_letter_groups(*, limit: int = 200) -> Call[Part[GroupAnswer]]:
    """Open dead letters by kind of failure."""
    return Call("GET", "/dead-letters/groups", Part[GroupAnswer], query_of(limit=limit))


def get_letter(letter_id: str) -> Call[LetterDetail]:
    """A dead letter."""
    return Call("GET", path_of("dead-letters", letter_id), LetterDetail)


def get_hints(letter_id: str) -> Call[HintsAnswer]:
    """What is known of failures like a letter's."""
    return Call("GET", path_of("dead-letters", letter_id, "hints"), HintsAnswer)


def redrive_letter(letter_id: str, change: Redrive | None = None) -> Call[RunSummary]:
    """Send the job of a letter round again."""
    path = path_of("dead-letters", letter_id, "retry")
    return Call("POST", path, RunSummary, body=body_of(change), is_repeatable=False)


def discard_letter(letter_id: str, asked: Discard) -> Call[LetterAnswer]:
    """Close a letter for a reason."""
    path = path_of("dead-letters", letter_id, "discard")
    return Call("POST", path, LetterAnswer, body=body_of(asked))


def redrive_letters(asked: BulkRedrive, **chosen: Unpack[LetterChoice]) -> Call[OrderAnswer]:
    """Order that all go round again that are chosen."""
    path, query = "/dead-letters/actions/retry", query_of(**chosen)
    return Call("POST", path, OrderAnswer, query, body_of(asked), is_repeatable=False)


def discard_letters(asked: BulkDiscard, **chosen: Unpack[LetterChoice]) -> Call[BulkDiscarded]:
    """Close all that are chosen."""
    path, query = "/dead-letters/actions/discard", query_of(**chosen)
    return Call("POST", path, BulkDiscarded, query, body_of(asked), is_repeatable=False)


def list_orders(*, limit: int = 50, cursor: str | None = None) -> Call[Part[OrderAnswer]]:
    """Orders to send letters round again, the newest first."""
    query = query_of(limit=limit, cursor=cursor)
    return Call("GET", "/redrive-orders", Part[OrderAnswer], query)


def get_order(order_id: str) -> Call[OrderAnswer]:
    """An order, and how far it is."""
    return Call("GET", path_of("redrive-orders", order_id), OrderAnswer)


def stop_order(order_id: str, reason: str) -> Call[OrderAnswer]:
    """Send no more of its letters round."""
    path, asked = path_of("redrive-orders", order_id, "stop"), StopOrder(reason=reason)
    return Call("POST", path, OrderAnswer, body=body_of(asked))


# what people decide on, and what there is


def list_approvals(
    *,
    status: ApprovalStatus | None = None,
    run_id: str | None = None,
    limit: int = 200,
    cursor: str | None = None,
) -> Call[Part[ApprovalAnswer]]:
    """What waits for people."""
    query = query_of(status=status, run=run_id, limit=limit, cursor=cursor)
    return Call("GET", "/approvals", Part[ApprovalAnswer], query)


def get_approval(approval_id: str) -> Call[ApprovalDetail]:
    """What exactly somebody would approve."""
    return Call("GET", path_of("approvals", approval_id), ApprovalDetail)


def grant_approval(approval_id: str, comment: str = "") -> Call[ApprovalDetail]:
    """Say yes."""
    path, asked = path_of("approvals", approval_id, "grant"), Grant(comment=comment)
    return Call("POST", path, ApprovalDetail, body=body_of(asked))


def deny_approval(approval_id: str, comment: str) -> Call[ApprovalDetail]:
    """Say no, and why."""
    path, asked = path_of("approvals", approval_id, "deny"), Deny(comment=comment)
    return Call("POST", path, ApprovalDetail, body=body_of(asked))


def list_effects(
    *,
    run_id: str | None = None,
    step: str | None = None,
    status: EffectStatus | None = None,
    limit: int = 200,
    cursor: str | None = None,
) -> Call[Part[EffectAnswer]]:
    """What runs did outside."""
    query = query_of(run=run_id, step=step, status=status, limit=limit, cursor=cursor)
    return Call("GET", "/effects", Part[EffectAnswer], query)


def list_artifacts(
    *,
    run_id: str | None = None,
    project: str | None = None,
    kind: ArtifactKind | None = None,
    limit: int = 200,
    cursor: str | None = None,
) -> Call[Part[ArtifactAnswer]]:
    """What runs have made, the newest first; of one run the oldest first."""
    query = query_of(run=run_id, project=project, kind=kind, limit=limit, cursor=cursor)
    return Call("GET", "/artifacts", Part[ArtifactAnswer], query)


def get_artifact(artifact_id: str) -> Call[ArtifactAnswer]:
    """One thing that a run made."""
    return Call("GET", path_of("artifacts", artifact_id), ArtifactAnswer)


def get_artifact_body(artifact_id: str) -> Call[bytes]:
    """Its bytes; for ``download``."""
    return Call("GET", path_of("artifacts", artifact_id, "body"), bytes)


def list_templates() -> Call[Part[TemplateSummary]]:
    """The templates that the tenant may ask for."""
    return Call("GET", "/templates", Part[TemplateSummary])


def get_template(template_id: str, version: str | None = None) -> Call[TemplateDetail]:
    """A template and its inputs, in a version or as a run would get it now."""
    beside = () if version is None else ("versions", version)
    return Call("GET", path_of("templates", template_id, *beside), TemplateDetail)


def suggest_template(asked: SuggestQuestion) -> Call[SuggestionAnswer]:
    """A template that fits what somebody wants."""
    return Call("POST", "/templates/suggest", SuggestionAnswer, body=body_of(asked))


def search_memory(asked: MemoryQuestion) -> Call[Part[RecalledAnswer]]:
    """What the factory remembers."""
    return Call("POST", "/memory/search", Part[RecalledAnswer], body=body_of(asked))


def make_context(asked: ContextQuestion) -> Call[ContextAnswer]:
    """What is known about a task."""
    return Call("POST", "/memory/context", ContextAnswer, body=body_of(asked))


def add_document(asked: NewDocument) -> Call[AddedAnswer]:
    """Keep a document's sections."""
    return Call("POST", "/memory/documents", AddedAnswer, body=body_of(asked))


def get_context(package_id: str) -> Call[ContextAnswer]:
    """A context package, until it expires."""
    return Call("GET", path_of("memory", "context", package_id), ContextAnswer)


def forget_run(run_id: str) -> Call[ErasedAnswer]:
    """Erase what a run taught, for good."""
    return Call("DELETE", path_of("memory", "runs", run_id), ErasedAnswer)


def forget_project(project_id: str) -> Call[ErasedAnswer]:
    """Erase what the runs and documents of a project taught, for good."""
    return Call("DELETE", path_of("memory", "projects", project_id), ErasedAnswer)


def forget_everything(tenant: str) -> Call[ErasedAnswer]:
    """Erase the whole memory of one's tenant, for good: it is named to say what is meant."""
    return Call("DELETE", "/memory", ErasedAnswer, query_of(tenant=tenant))


# access, and what is written of it


def list_keys(*, limit: int = 200, cursor: str | None = None) -> Call[Part[KeyAnswer]]:
    """Keys, the newest first; also those that are good no longer."""
    return Call("GET", "/keys", Part[KeyAnswer], query_of(limit=limit, cursor=cursor))


def add_key(asked: NewKey) -> Call[GivenKey]:
    """Make a key; a second time it is another one."""
    return Call("POST", "/keys", GivenKey, body=body_of(asked), is_repeatable=False)


def rotate_key(key_id: str, asked: Rotate) -> Call[GivenKey]:
    """Make a key that may do the same."""
    path = path_of("keys", key_id, "rotate")
    return Call("POST", path, GivenKey, body=body_of(asked), is_repeatable=False)


def revoke_key(key_id: str) -> Call[KeyAnswer]:
    """Have a key be good no longer."""
    return Call("POST", path_of("keys", key_id, "revoke"), KeyAnswer)


def list_audit(
    *,
    actor: str | None = None,
    action: str | None = None,
    subject: str | None = None,
    since: datetime | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Call[Part[AuditEntryAnswer]]:
    """Who did what, the newest first."""
    named = {"actor": actor, "action": action, "subject": subject, "since": since}
    query = query_of(**named, limit=limit, cursor=cursor)
    return Call("GET", "/audit", Part[AuditEntryAnswer], query)


# webhooks and callbacks


def list_sources() -> Call[Part[SourceAnswer]]:
    """Who may send webhooks, by name."""
    return Call("GET", "/webhooks", Part[SourceAnswer])


def add_source(asked: NewSource) -> Call[SourceWithSecret]:
    """Let somebody send webhooks."""
    return Call("POST", "/webhooks", SourceWithSecret, body=body_of(asked), is_repeatable=False)


def rotate_source(named: str, asked: Rotation) -> Call[SourceWithSecret]:
    """Give a source another secret."""
    path = path_of("webhooks", named, "rotate")
    return Call("POST", path, SourceWithSecret, body=body_of(asked), is_repeatable=False)


def disable_source(named: str) -> Call[SourceAnswer]:
    """Take nothing of a source any more."""
    return Call("POST", path_of("webhooks", named, "disable"), SourceAnswer)


def list_deliveries(
    *,
    source: str | None = None,
    status: DeliveryStatus | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Call[Part[DeliveryAnswer]]:
    """What was sent in the last week, the newest first."""
    query = query_of(source=source, status=status, limit=limit, cursor=cursor)
    return Call("GET", "/webhooks/deliveries", Part[DeliveryAnswer], query)


def decide_again(delivery_id: str) -> Call[DeliveryAnswer]:
    """Have a delivery decided once more."""
    return Call("POST", path_of("webhooks", "deliveries", delivery_id, "again"), DeliveryAnswer)


def list_callbacks() -> Call[Part[CallbackAnswer]]:
    """Who is told of ends, the oldest first."""
    return Call("GET", "/callbacks", Part[CallbackAnswer])


def add_callback(asked: NewCallback) -> Call[CallbackWithSecret]:
    """Have an address told of ends."""
    return Call("POST", "/callbacks", CallbackWithSecret, body=body_of(asked), is_repeatable=False)


def remove_callback(callback_id: str) -> Call[CallbackAnswer]:
    """Tell an address no more."""
    return Call("DELETE", path_of("callbacks", callback_id), CallbackAnswer)


def who_am_i() -> Call[Me]:
    """As whom the API takes this client, and what that one may do."""
    return Call("GET", "/me", Me)


def get_health() -> Call[HealthAnswer]:
    """How the factory does."""
    return Call("GET", "/health", HealthAnswer)
