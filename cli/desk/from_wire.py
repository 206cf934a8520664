"""Answers of the Factory API as the values that the pages show."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from factory_runtime.domain.access import Grant
from factory_runtime.domain.api_key import ApiKey
from factory_runtime.domain.approval import Approval, Question, Vote
from factory_runtime.domain.artifact import Artifact
from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.body import Body
from factory_runtime.domain.callback import Callback
from factory_runtime.domain.dead_letter import DeadLetter, LetterGroup, RedriveOrder
from factory_runtime.domain.durations import parse_duration
from factory_runtime.domain.hold import Hold
from factory_runtime.domain.job import Job
from factory_runtime.domain.memory import Memory, MemoryUse, Recalled
from factory_runtime.domain.plan import Plan
from factory_runtime.domain.policy import ApprovalRule
from factory_runtime.domain.publication import Publication
from factory_runtime.domain.records import AuditEntry, Checkpoint, Effect, RunEvent
from factory_runtime.domain.run import Run
from factory_runtime.domain.shown_memory import ShownMemory
from factory_runtime.domain.template import Step, Template
from factory_runtime.domain.webhook import (
    Begun,
    SourceSecret,
    Subscription,
    WebhookDelivery,
    WebhookSource,
)
from factory_runtime.services.standing import Reason, ReasonKind
from factory_runtime.wire.run import RunDetail, RunSummary

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from factory_runtime.services.preview import Preview
    from factory_runtime.wire.approval import ApprovalAnswer, VoteAnswer
    from factory_runtime.wire.audit import AuditEntryAnswer
    from factory_runtime.wire.callback import CallbackAnswer
    from factory_runtime.wire.effect import EffectAnswer
    from factory_runtime.wire.history import ArtifactAnswer, EventAnswer
    from factory_runtime.wire.job import AttemptAnswer, CheckpointAnswer, JobAnswer
    from factory_runtime.wire.keeping import HoldAnswer
    from factory_runtime.wire.key import KeyAnswer
    from factory_runtime.wire.letter import (
        GroupAnswer,
        LetterAnswer,
        LetterDetail,
        OrderAnswer,
        TriedAnswer,
    )
    from factory_runtime.wire.memory import RecalledAnswer
    from factory_runtime.wire.memory_use import ShownMemoryAnswer
    from factory_runtime.wire.plan import PlanAnswer, PreviewAnswer
    from factory_runtime.wire.standing import ReasonAnswer
    from factory_runtime.wire.template import PublicationAnswer, TemplateDetail
    from factory_runtime.wire.webhook import DeliveryAnswer, SourceAnswer, SubscriptionAnswer

    D = TypeVar("D", bound=DataclassInstance)


def _made(kind: type[D], answer: BaseModel, /, **given: Any) -> D:
    """The value, of what is given and of the answer's fields that have the same names."""
    given_to_it = {field.name for field in fields(kind) if field.init}
    names = given_to_it & type(answer).model_fields.keys()
    return kind(**{name: getattr(answer, name) for name in names} | given)


def run_of(answer: RunSummary) -> Run:
    """A run; its inputs and outputs where they were told, and of its plan only that it has one."""
    inputs = outputs = None
    if isinstance(answer, RunDetail):
        inputs, outputs = answer.inputs, _body(answer.outputs)
    return _made(
        Run,
        answer,
        id=answer.run_id,
        template_id=answer.template_recipe_id,
        inputs=Body(inputs),
        plan=None if answer.refused else Body(),
        outputs=outputs,
    )


def reason_of(answer: ReasonAnswer) -> Reason:
    """A reason."""
    return _made(Reason, answer, kind=ReasonKind(answer.kind))


def job_of(answer: JobAnswer, tenant: str, position: int) -> Job:
    """A job; its outputs where they were told."""
    outputs = None if answer.more is None else _body(answer.more.outputs)
    given = {"tenant_id": tenant, "position": position, "outputs": outputs}
    return _made(Job, answer, id=answer.job_id, **given)


def attempts_of(answer: JobAnswer, tenant: str) -> tuple[Attempt, ...]:
    """A job's attempts; the last that failed has its traceback, where that was told."""
    made = [_attempt_of(one, answer, tenant) for one in answer.attempts]
    if answer.more is not None and answer.more.traceback is not None:
        last = max(n for n, one in enumerate(made) if one.error is not None)
        told = _attempt_of(answer.attempts[last], answer, tenant, Body(answer.more.traceback))
        made[last] = told
    return tuple(made)


def _attempt_of(
    answer: AttemptAnswer, job: JobAnswer, tenant: str, traceback: Body | None = None
) -> Attempt:
    given: dict[str, Any] = {"tenant_id": tenant, "run_id": job.run_id, "step": job.step}
    return _made(Attempt, answer, key=answer.attempt_key, traceback=traceback, **given)


def checkpoint_of(answer: CheckpointAnswer, tenant: str, run_id: str, step: str) -> Checkpoint:
    """A checkpoint with its state."""
    given: dict[str, Any] = {"tenant_id": tenant, "run_id": run_id, "step": step}
    return _made(Checkpoint, answer, state=Body(answer.state), **given)


def event_of(answer: EventAnswer, tenant: str, run_id: str) -> RunEvent:
    """A line of a run's history."""
    return _made(RunEvent, answer, tenant_id=tenant, run_id=run_id)


def artifact_of(answer: ArtifactAnswer, tenant: str) -> Artifact:
    """What is recorded of an artifact."""
    given: dict[str, Any] = {"tenant_id": tenant, "creator": answer.creator or ""}
    return _made(Artifact, answer, id=answer.artifact_id, **given)


def hold_of(answer: HoldAnswer, tenant: str) -> Hold:
    """A hold."""
    return _made(Hold, answer, id=answer.hold_id, tenant_id=tenant)


def effect_of(answer: EffectAnswer, tenant: str) -> Effect:
    """A line of the ledger."""
    return _made(Effect, answer, tenant_id=tenant)


def approval_of(answer: ApprovalAnswer, tenant: str) -> Approval:
    """A question to people."""
    return _made(Approval, answer, id=answer.approval_id, tenant_id=tenant)


def vote_of(answer: VoteAnswer, approval_id: str, tenant: str) -> Vote:
    """What one person said."""
    return _made(Vote, answer, approval_id=approval_id, tenant_id=tenant)


def letter_of(answer: LetterAnswer, tenant: str) -> DeadLetter:
    """A dead letter, as a list has it."""
    return _made(DeadLetter, answer, id=answer.letter_id, tenant_id=tenant)


def whole_letter_of(answer: LetterDetail, tenant: str) -> DeadLetter:
    """A dead letter with what its job was told, and where it failed."""
    told, traceback = _body(answer.told), _body(answer.traceback)
    given: dict[str, Any] = {"tenant_id": tenant, "with_": told, "traceback": traceback}
    return _made(DeadLetter, answer, id=answer.letter_id, **given)


def tried_of(answer: TriedAnswer, letter_id: str, tenant: str) -> AuditEntry:
    """What somebody did with a letter."""
    return _made(AuditEntry, answer, tenant_id=tenant, subject=letter_id)


def group_of(answer: GroupAnswer, tenant: str) -> LetterGroup:
    """A kind of failure."""
    return _made(LetterGroup, answer, tenants=(tenant,), tenant_count=1)


def order_of(answer: OrderAnswer, tenant: str) -> RedriveOrder:
    """An order to send letters round again."""
    change = _body(answer.change)
    return _made(RedriveOrder, answer, id=answer.order_id, tenant_id=tenant, change=change)


def entry_of(answer: AuditEntryAnswer, tenant: str) -> AuditEntry:
    """A line of the audit."""
    return _made(AuditEntry, answer, tenant_id=tenant)


def key_of(answer: KeyAnswer, tenant: str) -> ApiKey:
    """What is told of a key; of its hash, nothing."""
    grants = tuple(Grant(one.role, one.project_id) for one in answer.grants)
    return _made(ApiKey, answer, id=answer.key_id, tenant_id=tenant, hash="", grants=grants)


def source_of(answer: SourceAnswer, tenant: str) -> WebhookSource:
    """Who may send events; of its secrets, when they count."""
    from factory_runtime.wire.webhook import SourceOptions

    options = SourceOptions.model_validate(answer.options).model_dump(exclude_none=True)
    secrets = tuple(SourceSecret("", one.since, one.until) for one in answer.secrets)
    given: dict[str, Any] = {"tenant_id": tenant, "options": options, "secrets": secrets}
    return _made(WebhookSource, answer, id=answer.source_id, **given)


def subscription_of(answer: SubscriptionAnswer) -> Subscription:
    """What a host tells a source of."""
    return _made(Subscription, answer, id=answer.subscription_id)


def delivery_of(answer: DeliveryAnswer, tenant: str) -> WebhookDelivery:
    """What a source sent, without the event."""
    begun = tuple(Begun(one.template_recipe_id, one.run_id, one.error) for one in answer.matched)
    return _made(
        WebhookDelivery,
        answer,
        tenant_id=tenant,
        begun=begun,
        event=Body(),
        replay_key="",
        body_digest="",
        asked_at=answer.received_at,
    )


def callback_of(answer: CallbackAnswer, tenant: str) -> Callback:
    """Who is told of ends; of its secret, nothing."""
    return _made(Callback, answer, id=answer.callback_id, tenant_id=tenant, secret="")


def recalled_of(answer: RecalledAnswer, tenant: str) -> Recalled:
    """A memory, with its scores."""
    memory = _made(Memory, answer, id=answer.memory_id, tenant_id=tenant)
    return _made(Recalled, answer, memory=memory)


def shown_of(answer: ShownMemoryAnswer, tenant: str, run_id: str) -> ShownMemory:
    """A memory that a run was shown."""
    given: dict[str, Any] = {"tenant_id": tenant, "run_id": run_id, "project_id": ""}
    use = _made(MemoryUse, answer, step=answer.step or "", **given)
    return _made(ShownMemory, answer, use=use)


def plan_of(answer: PlanAnswer) -> Plan:
    """The whole plan.

    Raises:
        CorruptStoreError: the answer is of an older server, which does not tell it, or is no plan.
    """
    from factory_runtime.compiler.plan import plan_from_json

    return plan_from_json(json.dumps(answer.record))


def preview_of(answer: PreviewAnswer) -> Preview:
    """What a run would do."""
    from factory_runtime.services.policy_check import Ruling
    from factory_runtime.services.preview import Preview, RenderForecast

    approvals = tuple(
        ApprovalRule(one.name, Question(one.message, one.by, one.count), one.templates, one.when)
        for one in answer.approvals
    )
    seconds = answer.max_deadline_seconds
    longest = None if seconds is None else timedelta(seconds=seconds)
    return Preview(
        plan=plan_of(answer.plan),
        renders={name: RenderForecast(one) for name, one in answer.renders.items()},
        with_={},
        ruling=Ruling(approvals=approvals, max_deadline=longest),
        capped=answer.capped,
        warnings=answer.warnings,
    )


def publication_of(answer: PublicationAnswer, template: str, tenant: str) -> Publication:
    """That somebody published a version; where it came from is not told."""
    return _made(Publication, answer, template_id=template, tenant_id=tenant, origin="")


def template_of(answer: TemplateDetail) -> Template:
    """What a template says of itself; where its folder lies is not told."""
    deadline = None if answer.deadline is None else parse_duration(answer.deadline)
    steps = tuple(_made(Step, step) for step in answer.steps)
    given: dict[str, Any] = {"folder": Path(), "deadline": deadline, "steps": steps}
    return _made(Template, answer, id=answer.template_id, **given)


def _body(value: Any) -> Body | None:
    return None if value is None else Body(value)
