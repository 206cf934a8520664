"""An attempt under way: what this process knows of it, and what its job type is lent."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from factory_runtime.domain.approval import Approval, Question, Vote
from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.attempt import Attempt, Outcome
from factory_runtime.domain.errors import CancelledError, FactoryError, SuspendedError
from factory_runtime.domain.ids import digest_of, effect_key
from factory_runtime.domain.job import Job
from factory_runtime.domain.memory import Kind, Recalled
from factory_runtime.domain.plan import PlannedJob
from factory_runtime.domain.progress import ancestors, compensates
from factory_runtime.domain.records import Checkpoint, Effect
from factory_runtime.domain.result import RenderOrder
from factory_runtime.domain.secrets import Secrets
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.ports import ArtifactStorage, Credentials, GitHost, JobFacts
from factory_runtime.services.ask_memory import ask_memory, query_of
from factory_runtime.services.ask_people import ask
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.bodies import from_body, to_body
from factory_runtime.services.child_output import STDERR, STDOUT, harmless
from factory_runtime.services.children import Children
from factory_runtime.services.credentials import CREDENTIALS
from factory_runtime.services.engine import Engine, Walk
from factory_runtime.services.guards import guarded_host, guarded_storage
from factory_runtime.services.intend import intend
from factory_runtime.services.memory_uses import Drawing
from factory_runtime.services.run_host import host_of
from factory_runtime.services.run_secrets import lend
from factory_runtime.services.steadily import steadily

LogLine = tuple[datetime, str]

_MANY = 10_000
"""Effects of a run."""


@dataclass
class Begun:
    """An attempt under way, known to this process alone.

    Attributes:
        order: what its type wants rendered; None where it renders nothing.
        hosts: outside hosts that it needs.
        stopped: set to make its halves give up: cancelled, or over time.
        children: programs that its type has started.
        logs: lines for people that are not written down yet.
        progress: the last that its type told, share and phrase.
        cpu_seconds: of the children it waited for, so far.
        asked: what its type asked of people, as it stood when it was told.
        refusal: why its render failed: Prefect keeps only that it did.
        secrets: what its run came to know, and it may not leave anywhere: its walk's own.
        drawing: what its type was shown of the memory.
    """

    planned: PlannedJob
    job: Job
    attempt: Attempt
    with_: Mapping[str, Any] = field(default_factory=dict[str, Any])
    order: RenderOrder | None = None
    hosts: tuple[str, ...] = ()
    stopped: threading.Event = field(default_factory=threading.Event)
    children: Children = field(default_factory=Children)
    logs: list[LogLine] = field(default_factory=list[LogLine])
    progress: tuple[float, str] | None = None
    cpu_seconds: float = 0.0
    peak_memory_bytes: int | None = None
    cached: bool | None = None
    asked: Approval | None = None
    refusal: FactoryError | None = None
    secrets: Secrets = field(default_factory=Secrets)
    drawing: Drawing = field(default_factory=Drawing)
    _progress_told: bool = True
    _taking: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def with_digest(self) -> str:
        """Of what its type is told."""
        return digest_of(self.with_)

    def stop(self) -> None:
        """Make it give up: it is asked to, and what it has started is killed."""
        self.stopped.set()
        self.children.kill_all()

    def tell_progress(self, share: float, phrase: str) -> None:
        self.progress = (min(1.0, max(0.0, share)), phrase)
        self._progress_told = False

    def take_progress(self) -> tuple[float, str] | None:
        """What it told since this was asked last."""
        with self._taking:
            told, self._progress_told = self._progress_told, True
            return None if told else self.progress

    def add_log(self, at: datetime, message: str) -> None:
        with self._taking:
            self.logs.append((at, message))

    def take_logs(self) -> list[LogLine]:
        """The lines since this was asked last."""
        with self._taking:
            lines, self.logs = self.logs, []
            return lines

    def return_logs(self, lines: list[LogLine]) -> None:
        """Lines that were taken and could not be written down."""
        with self._taking:
            self.logs[:0] = lines


@dataclass(frozen=True, slots=True)
class AnotherAttempt:
    """The attempt is over, the job is not: another one is to follow, not earlier than this.

    Attributes:
        outcome: ``TRANSIENT`` where it failed; ``WAITING`` where the job waits for something
            outside, ``SUSPENDED`` where it was asked to stop at a safe point.
        reason: why, for people.
        away_until: of a job in line for its topic: when it looks again where its run is put down
            meanwhile; a look by itself is no task.
    """

    not_before: datetime
    outcome: Outcome
    reason: str
    away_until: datetime | None = None

    @property
    def comes_back_at(self) -> datetime:
        """When its run, put down meanwhile, has to be there again."""
        return self.away_until or self.not_before


class AttemptContext:
    """Implements ports.JobContext for one attempt."""

    def __init__(self, engine: Engine, walk: Walk, begun: Begun) -> None:
        self._engine = engine
        self._walk = walk
        self._begun = begun
        run = walk.run
        self.facts = JobFacts(
            tenant_id=run.tenant_id,
            project_id=run.project_id,
            run_id=run.id,
            step=begun.job.step,
            attempt=begun.attempt.number,
            effect_key=effect_key(run.id, begun.job.step),
            template_id=run.template_id,
            template_version=run.template_version,
            requested_by=run.requested_by,
            module_id=run.module_id,
            follows=ancestors(walk.plan, begun.job.step),
            last_attempt=begun.job.failures + 1 >= begun.job.max_attempts,
            undoes=run.undoes,
            trace_id=run.trace_id,
            page=engine.pages.of(run),
        )

    @property
    def _kind(self) -> JobTypeFacts:
        return self._engine.job_types[self._begun.planned.type].facts

    @property
    def host(self) -> GitHost:
        return guarded_host(host_of(self._engine.host, self._walk.run), self._begun.secrets)

    @property
    def storage(self) -> ArtifactStorage:
        return guarded_storage(self._engine.storage, self._begun.secrets)

    def credentials(self) -> Credentials:
        told = self._begun.with_.get(CREDENTIALS)
        found = lend(self._engine, self._walk, self._kind, told)
        self._note_loan(str(told))
        return found

    def _note_loan(self, block: str) -> None:
        """Write down on whose behalf credentials are used, before they are."""
        job, kind = self._begun.job, self._kind.credentials
        detail = {"kind": kind, "run_id": job.run_id, "step": job.step, "attempt": job.attempt}
        with self._engine.store.begin(self.facts.tenant_id) as tx:
            tx.hold_job(job)
            run = tx.get_run(job.run_id)
            actor, trace_id = run.requested_by, run.trace_id
            leave_audit(tx, actor, "credentials.lend", block, detail, self.now(), trace_id=trace_id)

    def now(self) -> datetime:
        return self._engine.clock.now()

    # effects

    def intend(
        self, kind: str, target: str, facts: Mapping[str, Any] = MappingProxyType({})
    ) -> str | None:
        mine = self.facts
        intended = Effect(
            effect_key=mine.effect_key,
            kind=kind,
            tenant_id=mine.tenant_id,
            run_id=mine.run_id,
            step=mine.step,
            target=target,
            intended_at=self.now(),
            facts=dict(facts),
        )
        intended = self._begun.secrets.hide(intended)

        self.check_cancelled()
        return intend(self._engine, self._walk, self._begun, intended)

    def check_lease(self) -> None:
        self.check_cancelled()
        with self._engine.store.begin(self.facts.tenant_id) as tx:
            tx.hold_job(self._begun.job)

    def list_effects(self) -> tuple[Effect, ...]:
        with self._engine.store.begin(self.facts.tenant_id, read_only=True) as tx:
            return tx.list_effects(run_id=self.facts.run_id, limit=_MANY)

    # checkpoints and progress

    def checkpoint(self) -> Mapping[str, Any] | None:
        facts, saved, kind = self.facts, self._saved(), self._kind
        if saved is None:
            return None
        readable = {kind.version, *kind.reads_checkpoints_of}
        if saved.job_type != kind.name or saved.job_type_version not in readable:
            self.log(
                f"begins anew: its checkpoint is of version {saved.job_type_version} of"
                f" {saved.job_type}, which version {kind.version} of {kind.name} does not read"
            )
            return None
        if saved.with_digest not in (None, self._begun.with_digest):
            self.log("begins anew: its checkpoint is of other inputs than it is given now")
            return None
        return from_body(self._engine.storage, facts.tenant_id, saved.state)

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        facts, last, kind = self.facts, self._saved(), self._kind
        state = self._begun.secrets.hide(state)
        saved = Checkpoint(
            tenant_id=facts.tenant_id,
            run_id=facts.run_id,
            step=facts.step,
            number=1 if last is None else last.number + 1,
            attempt=facts.attempt,
            job_type=kind.name,
            job_type_version=kind.version,
            saved_at=self.now(),
            state=to_body(self._engine.storage, facts.tenant_id, state),
            with_digest=self._begun.with_digest,
        )

        def write(again: bool) -> None:
            del again  # the same once more
            with self._engine.store.begin(facts.tenant_id) as tx:
                tx.save_checkpoint(self._begun.job, saved)

        steadily(write, self._engine.lease)

    def _saved(self) -> Checkpoint | None:
        with self._engine.store.begin(self.facts.tenant_id, read_only=True) as tx:
            return tx.find_checkpoint(self.facts.run_id, self.facts.step)

    def progress(self, share: float, phrase: str) -> None:
        self._begun.tell_progress(share, self._begun.secrets.hide_in(phrase))

    def safe_point(self) -> None:
        self.check_cancelled()
        if self._walk.suspending.is_set():
            raise SuspendedError(f"job {self.facts.step} stopped at a safe point")

    # the rest

    def start_child(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: IO[bytes] | int = subprocess.DEVNULL,
        stdout: IO[bytes] | int | None = None,
        stderr: IO[bytes] | int | None = None,
    ) -> subprocess.Popen[bytes]:
        with (
            harmless(stdout, STDOUT, self._begun.secrets) as out,
            harmless(stderr, STDERR, self._begun.secrets) as err,
        ):
            return self._begun.children.start(
                arguments, cwd=cwd, env=env, stdin=stdin, stdout=out, stderr=err
            )

    def ask(self, question: Question) -> Approval:
        walk, question = self._walk, self._begun.secrets.hide(question)

        def write(again: bool) -> Approval:
            del again  # what stands is given as it stands
            is_over = compensates(walk.plan, walk.endings)
            with self._engine.store.begin(self.facts.tenant_id) as tx:
                return ask(tx, walk.run, self._begun.job, question, self.now(), is_over=is_over)

        self.check_cancelled()
        with walk.lock:  # a job that has the run undone ends before this, or withdraws what it asks
            self._begun.asked = steadily(write, self._engine.lease)
        return self._begun.asked

    def list_votes(self, approval: Approval) -> tuple[Vote, ...]:
        with self._engine.store.begin(self.facts.tenant_id, read_only=True) as tx:
            return tx.list_votes(approval.id)

    def find_last_copy(self, kind: ArtifactKind, name: str) -> Artifact | None:
        mine = self.facts
        with self._engine.store.begin(mine.tenant_id, read_only=True) as tx:
            return tx.find_last_artifact(mine.project_id, kind, name)

    def recall(
        self, query: str, kinds: Collection[Kind] | None = None, k: int = 5
    ) -> tuple[Recalled, ...]:
        wanted = query_of(self.facts, self._begun.secrets.hide_in(query), kinds, k)
        self.check_cancelled()
        ask, stopped = self._engine.recall, self._begun.stopped
        told = ask_memory(ask, self.facts.tenant_id, wanted, stopped)
        self.check_cancelled()
        if told.trouble is not None:
            self.log(f"recalled nothing: {told.trouble}")
        self._begun.drawing.note(self.facts, told.found, self.now())
        return told.found

    def log(self, message: str) -> None:
        self._begun.add_log(self.now(), self._begun.secrets.hide_in(message))

    def check_cancelled(self) -> None:
        if self._begun.stopped.is_set():
            raise CancelledError(f"job {self.facts.step} was asked to stop")
