"""Values for tests: each whole and plausible, with what the test cares about given by name."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from factory_runtime.domain.access import Grant, Role
from factory_runtime.domain.api_key import ApiKey
from factory_runtime.domain.approval import Approval, Vote
from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.audit import AuditSeal
from factory_runtime.domain.body import Body
from factory_runtime.domain.dead_letter import (
    DeadLetter,
    FailureKind,
    OrderStatus,
    RedriveOrder,
)
from factory_runtime.domain.deployment import Deployment
from factory_runtime.domain.ids import attempt_key, effect_key, new_id
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.memory import Kind, Memory
from factory_runtime.domain.policy import PolicyRecord
from factory_runtime.domain.publication import Publication
from factory_runtime.domain.records import (
    AuditEntry,
    Breaker,
    Checkpoint,
    Effect,
    OutboxMessage,
    RequestRecord,
    RunEvent,
    TemplateRecord,
)
from factory_runtime.domain.run import Priority, Run, RunRequest, RunStatus
from factory_runtime.domain.template import Step, Template

TENANT = "acme"
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def after(seconds: float = 0) -> datetime:
    """A moment that many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def a_run(**values: Any) -> Run:
    """A Requested run of ``microservice``; its id is new."""
    return replace(
        Run(
            id=new_id("run"),
            tenant_id=TENANT,
            project_id="shop",
            template_id="microservice",
            template_version="1.2.0",
            template_digest="a" * 64,
            status=RunStatus.REQUESTED,
            inputs=Body(inline={"service_name": "orders"}),
            requested_by="ada",
            requested_at=NOON,
            updated_at=NOON,
            trace_id="0af7651916cd43dd8448eb211c80319c",
            correlation_id="order-4711",
        ),
        **values,
    )


def a_run_request(**values: Any) -> RunRequest:
    return replace(
        RunRequest(
            tenant_id=TENANT,
            project_id="shop",
            template="microservice",
            inputs={"service_name": "orders"},
            requested_by="ada",
        ),
        **values,
    )


def a_job(run: Run | None = None, **values: Any) -> Job:
    """A Pending job of the run (or of ``run_id``), first of its plan."""
    return replace(
        Job(
            id=new_id("job"),
            tenant_id=run.tenant_id if run else TENANT,
            run_id=run.id if run else "run-1",
            step="generate-repo",
            position=0,
            type="repo-generation",
            status=JobStatus.PENDING,
            needs=(),
            max_attempts=5,
            updated_at=NOON,
        ),
        **values,
    )


def an_attempt(job: Job, number: int = 1, **values: Any) -> Attempt:
    """A running attempt of the job."""
    return replace(
        Attempt(
            key=attempt_key(job.run_id, job.step, number),
            tenant_id=job.tenant_id,
            run_id=job.run_id,
            step=job.step,
            number=number,
            fencing_token=job.fencing_token,
            started_at=NOON,
            worker="build-7:4211",
            environment="embedded python-3.11.7",
        ),
        **values,
    )


def a_claimed_job(run: Run | None = None, **values: Any) -> Job:
    """A Running job of the run, claimed at noon for a minute."""
    return a_job(
        run,
        **{
            "status": JobStatus.RUNNING,
            "version": 2,
            "attempt": 1,
            "fencing_token": 1,
            "lease_owner": "build-7:4211-walk",
            "lease_expires_at": after(60),
            "started_at": NOON,
            "last_attempt_at": NOON,
            **values,
        },
    )


def a_checkpoint(job: Job, **values: Any) -> Checkpoint:
    """The job's first checkpoint, of its current attempt."""
    return replace(
        Checkpoint(
            tenant_id=job.tenant_id,
            run_id=job.run_id,
            step=job.step,
            number=1,
            attempt=job.attempt,
            job_type=job.type,
            job_type_version="1",
            saved_at=NOON,
            state=Body(inline={"done": ["a"]}),
        ),
        **values,
    )


def a_breaker(**values: Any) -> Breaker:
    """A host that has just answered."""
    return replace(
        Breaker(tenant_id=TENANT, host="azure-devops", failures=0, changed_at=NOON), **values
    )


def an_artifact(run: Run, **values: Any) -> Artifact:
    """A repository that the run made."""
    return replace(
        Artifact(
            id=new_id("art"),
            tenant_id=run.tenant_id,
            run_id=run.id,
            step="generate-repo",
            kind=ArtifactKind.REPOSITORY,
            name="orders",
            uri="file:///git/shop/orders.git",
            media_type="application/x-git",
            creator=attempt_key(run.id, "generate-repo", 1),
            created_at=NOON,
            project_id=run.project_id,
        ),
        **values,
    )


def an_event(run: Run, **values: Any) -> RunEvent:
    return replace(
        RunEvent(
            tenant_id=run.tenant_id,
            run_id=run.id,
            at=NOON,
            kind="note",
        ),
        **values,
    )


def an_effect(run: Run, **values: Any) -> Effect:
    """An intended effect: the run's repository."""
    return replace(
        Effect(
            effect_key=effect_key(run.id, "generate-repo"),
            kind="repository",
            tenant_id=run.tenant_id,
            run_id=run.id,
            step="generate-repo",
            target="repository shop/orders",
            intended_at=NOON,
        ),
        **values,
    )


def a_message(**values: Any) -> OutboxMessage:
    """A message that is due at noon."""
    identity = new_id("msg")
    return replace(
        OutboxMessage(
            id=identity,
            tenant_id=TENANT,
            topic="run.finished",
            key=identity,
            payload={"run_id": "run-1"},
            created_at=NOON,
            not_before=NOON,
        ),
        **values,
    )


def a_request_record(**values: Any) -> RequestRecord:
    return replace(
        RequestRecord(
            tenant_id=TENANT,
            idempotency_key="order-4711",
            body_digest="b" * 64,
            run_id="run-1",
            created_at=NOON,
        ),
        **values,
    )


def a_template_record(**values: Any) -> TemplateRecord:
    return replace(
        TemplateRecord(
            tenant_id=TENANT,
            template_id="microservice",
            version="1.2.0",
            digest="a" * 64,
            title="Microservice",
            description="A service repository with domain, infrastructure, pipelines and docs.",
            published_at=NOON,
            inputs_schema={"type": "object"},
        ),
        **values,
    )


def a_memory(**values: Any) -> Memory:
    """What was learned from a run, not embedded yet."""
    return replace(
        Memory(
            id=new_id("mem"),
            tenant_id=TENANT,
            kind=Kind.RUN,
            title="orders",
            text="A microservice named orders was made.",
            created_at=NOON,
        ),
        **values,
    )


FINGERPRINT = "f" * 64


def a_letter(job: Job, **values: Any) -> DeadLetter:
    """The open dead letter of a job that failed at noon."""
    return replace(
        DeadLetter(
            id=new_id("letter"),
            tenant_id=job.tenant_id,
            run_id=job.run_id,
            step=job.step,
            project_id="shop",
            template_id="microservice",
            template_version="1.2.0",
            job_type=job.type,
            fingerprint=FINGERPRINT,
            error_code="host-rejected",
            error="the host refuses orders",
            attempts=5,
            trace_id="0af7651916cd43dd8448eb211c80319c",
            first_failed_at=NOON,
            failed_at=NOON,
        ),
        **values,
    )


def a_failure_kind(**values: Any) -> FailureKind:
    return replace(
        FailureKind(
            tenant_id=TENANT,
            fingerprint=FINGERPRINT,
            job_type="repo-generation",
            error_code="host-rejected",
            message="the host refuses <value>",
            first_seen=NOON,
        ),
        **values,
    )


def a_redrive_order(**values: Any) -> RedriveOrder:
    """An order that is at work on ten letters."""
    return replace(
        RedriveOrder(
            id=new_id("order"),
            tenant_id=TENANT,
            fingerprint=FINGERPRINT,
            status=OrderStatus.RELEASING,
            requested_by="ada",
            requested_at=NOON,
            total=10,
        ),
        **values,
    )


def an_approval(job: Job, **values: Any) -> Approval:
    """An open approval that the job waits for."""
    return replace(
        Approval(
            id=new_id("apr"),
            tenant_id=job.tenant_id,
            run_id=job.run_id,
            step=job.step,
            project_id="shop",
            plan_digest="d" * 64,
            requested_by="ada",
            message="may it go to production?",
            by=("grace", "group:leads"),
            count=2,
            requested_at=NOON,
            expires_at=after(3600),
        ),
        **values,
    )


def a_vote(approval: Approval, **values: Any) -> Vote:
    return replace(
        Vote(
            tenant_id=approval.tenant_id,
            approval_id=approval.id,
            person="grace",
            granted=True,
            at=NOON,
        ),
        **values,
    )


def a_deployment(**values: Any) -> Deployment:
    return replace(
        Deployment(
            tenant_id=TENANT,
            template_id="microservice",
            prefect_id="5f0c2a52-9d34-4f0a-8a5c-6f2f1b6c0001",
            version="1.2.0",
            project_id="shop",
            schema_digest="a" * 64,
            priority=Priority.HIGH,
            deployed_at=NOON,
            deployed_by="ada",
        ),
        **values,
    )


def a_publication(**values: Any) -> Publication:
    return replace(
        Publication(
            tenant_id=TENANT,
            template_id="microservice",
            version="1.2.0",
            origin="git+https://git.example/platform/templates#subdirectory=microservice",
            published_at=NOON,
            published_by="ada",
            ref="v1.2.0",
            commit_id="c" * 40,
        ),
        **values,
    )


def a_policy_record(**values: Any) -> PolicyRecord:
    return replace(
        PolicyRecord(
            tenant_id=TENANT,
            version=1,
            document="runs_per_day: 5\n",
            digest="9" * 64,
            updated_at=NOON,
            updated_by="ada",
        ),
        **values,
    )


def a_seal(entry: AuditEntry, **values: Any) -> AuditSeal:
    return replace(AuditSeal(entry.tenant_id, 1, entry.id, "5" * 64, NOON), **values)


def an_api_key(**values: Any) -> ApiKey:
    return replace(
        ApiKey(
            tenant_id=TENANT,
            id="key-1",
            prefix="a" * 12,
            hash="6" * 64,
            name="deploys",
            grants=(Grant(Role.OPERATOR, "shop"), Grant(Role.VIEWER)),
            groups=("ops",),
            created_at=NOON,
            created_by="ada",
        ),
        **values,
    )


def an_audit_entry(**values: Any) -> AuditEntry:
    return replace(
        AuditEntry(
            tenant_id=TENANT,
            id=new_id("aud"),
            at=NOON,
            actor="ada",
            action="dead-letter.discard",
            subject="letter-1",
            detail={"reason": "nobody wants it"},
        ),
        **values,
    )


def a_step(name: str = "generate-repo", **values: Any) -> Step:
    return replace(
        Step(
            name=name,
            type="repo-generation",
        ),
        **values,
    )


def a_template(**values: Any) -> Template:
    """A template of one step; its folder is nowhere."""
    return replace(
        Template(
            id="microservice",
            version="1.2.0",
            title="Microservice",
            description="A service repository.",
            folder=Path("/nowhere/microservice"),
            digest="a" * 64,
            inputs_schema={
                "type": "object",
                "properties": {"service_name": {"type": "string"}},
                "additionalProperties": False,
            },
            steps=(a_step(),),
        ),
        **values,
    )
