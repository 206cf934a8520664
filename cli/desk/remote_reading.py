"""What pages read, asked of a Factory API."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from cli.desk import from_wire
from factory_runtime.client import FactoryClient, calls
from factory_runtime.client.call import Call
from factory_runtime.domain.dead_letter import LetterStatus
from factory_runtime.domain.errors import JobNotFoundError, NotFoundError
from factory_runtime.domain.run import Run
from factory_runtime.ports import Page

if TYPE_CHECKING:
    from factory_runtime.client.calls import LetterChoice, RunChoice
    from factory_runtime.domain.approval import Approval, ApprovalStatus, Vote
    from factory_runtime.domain.artifact import Artifact, ArtifactKind
    from factory_runtime.domain.attempt import Attempt
    from factory_runtime.domain.dead_letter import DeadLetter, LetterFilter, RedriveOrder
    from factory_runtime.domain.job import Job
    from factory_runtime.domain.records import Checkpoint, Effect, RunEvent
    from factory_runtime.ports import RunFilter
    from factory_runtime.wire.job import JobAnswer
    from factory_runtime.wire.letter import LetterAnswer
    from factory_runtime.wire.page import Part
    from factory_runtime.wire.run import RunDetail

AT_ONCE = 200
"""The most that the API gives of a list at once."""

T = TypeVar("T")


def run_choice(where: RunFilter) -> RunChoice:
    """The runs that a filter means, as the API is asked for them."""
    return {
        "status": list(where.statuses),
        "project": where.project_id,
        "template": where.template_id,
        "requester": where.requested_by,
        "since": where.since,
        "until": where.until,
        "ended_since": where.ended_since,
        "ended_until": where.ended_until,
        "error": where.error,
        "not_since_succeeded": where.not_since_succeeded or None,
        "can_be_retried": where.can_be_retried or None,
    }


def letter_choice(where: LetterFilter) -> LetterChoice:
    """The letters that a filter means, of whatever status."""
    return {
        "fingerprint": where.fingerprint,
        "type": where.job_type,
        "template": where.template_id,
        "project": where.project_id,
        "since": where.since,
        "until": where.until,
    }


def some(
    client: FactoryClient, call: Call[Part[T]], limit: int
) -> tuple[tuple[T, ...], str | None]:
    """The first of a list, and the cursor of those that follow."""
    found: list[T] = []
    while True:
        size = min(AT_ONCE, limit - len(found))
        part = client.send(replace(call, query={**call.query, "limit": size}))
        found += part.items
        if part.next_cursor is None or len(found) >= limit:
            return tuple(found), part.next_cursor
        call = replace(call, query={**call.query, "cursor": part.next_cursor})


@dataclass
class RemoteReading:
    """Each thing is asked for once, so that what stands on a page stands so throughout."""

    client: FactoryClient
    tenant: str
    _runs: dict[str, RunDetail] = field(default_factory=dict[str, "RunDetail"])
    _jobs: dict[tuple[str, str | None], tuple[JobAnswer, ...]] = field(
        default_factory=dict[tuple[str, "str | None"], "tuple[JobAnswer, ...]"]
    )

    def get_run(self, run_id: str) -> Run:
        return from_wire.run_of(self._run(run_id))

    def find_undoing_run(self, run_id: str) -> Run | None:
        undone_by = self._run(run_id).undone_by
        return None if undone_by is None else self.get_run(undone_by)

    def list_runs(
        self, where: RunFilter, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Run]:
        call = calls.list_runs(cursor=cursor, **run_choice(where))
        found, more = some(self.client, call, limit)
        return Page(tuple(map(from_wire.run_of, found)), more)

    def count_runs(self, where: RunFilter) -> int:
        call = calls.list_runs(limit=1, with_count=True, **run_choice(where))
        return self.client.send(call).count or 0

    def list_jobs(self, run_id: str) -> tuple[Job, ...]:
        found = enumerate(self._jobs_of(run_id, None))
        return tuple(from_wire.job_of(job, self.tenant, place) for place, job in found)

    def get_job(self, run_id: str, step: str) -> Job:
        if not (found := self._jobs_of(run_id, step)):
            raise JobNotFoundError(f"no job {step} in run {run_id}")
        return from_wire.job_of(found[0], self.tenant, found[0].position)

    def list_attempts(self, run_id: str, step: str | None = None) -> tuple[Attempt, ...]:
        return _joined(
            from_wire.attempts_of(job, self.tenant) for job in self._jobs_of(run_id, step)
        )

    def find_checkpoint(self, run_id: str, step: str) -> Checkpoint | None:
        found = self._jobs_of(run_id, step)
        more = found[0].more if found else None
        if more is None or more.checkpoint is None:
            return None
        return from_wire.checkpoint_of(more.checkpoint, self.tenant, run_id, step)

    def list_events(
        self, run_id: str, *, after: int = 0, limit: int = 1000
    ) -> tuple[RunEvent, ...]:
        part = self.client.send(calls.list_events(run_id, after=after, limit=limit))
        return tuple(from_wire.event_of(event, self.tenant, run_id) for event in part.items)

    def list_artifacts(
        self,
        *,
        run_id: str | None = None,
        project_id: str | None = None,
        kind: ArtifactKind | None = None,
        limit: int = 200,
    ) -> tuple[Artifact, ...]:
        call = calls.list_artifacts(run_id=run_id, project=project_id, kind=kind)
        found, _ = some(self.client, call, limit)
        return tuple(from_wire.artifact_of(one, self.tenant) for one in found)

    def get_artifact(self, artifact_id: str) -> Artifact:
        return from_wire.artifact_of(self.client.send(calls.get_artifact(artifact_id)), self.tenant)

    def list_effects(self, *, run_id: str | None = None, limit: int = 1000) -> tuple[Effect, ...]:
        found, _ = some(self.client, calls.list_effects(run_id=run_id), limit)
        return tuple(from_wire.effect_of(one, self.tenant) for one in found)

    def list_approvals(
        self,
        *,
        status: ApprovalStatus | None = None,
        run_id: str | None = None,
        limit: int = 200,
    ) -> tuple[Approval, ...]:
        found, _ = some(self.client, calls.list_approvals(status=status, run_id=run_id), limit)
        return tuple(from_wire.approval_of(one, self.tenant) for one in found)

    def get_approval(self, approval_id: str) -> Approval:
        found = self.client.send(calls.get_approval(approval_id))
        return from_wire.approval_of(found.approval, self.tenant)

    def list_votes(self, approval_id: str) -> tuple[Vote, ...]:
        found = self.client.send(calls.get_approval(approval_id))
        return tuple(from_wire.vote_of(one, approval_id, self.tenant) for one in found.votes)

    def list_dead_letters(self, where: LetterFilter, *, limit: int = 50) -> tuple[DeadLetter, ...]:
        found, _ = some(self.client, self._letters(where), limit)
        return tuple(from_wire.letter_of(one, self.tenant) for one in found)

    def count_dead_letters(self, where: LetterFilter) -> int:
        call = self._letters(where)
        query = {**call.query, "limit": 1, "withCount": "true"}
        return self.client.send(replace(call, query=query)).count or 0

    def get_dead_letter(self, letter_id: str) -> DeadLetter:
        return from_wire.whole_letter_of(self.client.send(calls.get_letter(letter_id)), self.tenant)

    def list_redrive_orders(self, *, limit: int = 50) -> tuple[RedriveOrder, ...]:
        found, _ = some(self.client, calls.list_orders(), limit)
        return tuple(from_wire.order_of(one, self.tenant) for one in found)

    def find_redrive_order(self, order_id: str) -> RedriveOrder | None:
        try:
            return from_wire.order_of(self.client.send(calls.get_order(order_id)), self.tenant)
        except NotFoundError:
            return None

    def _run(self, run_id: str) -> RunDetail:
        if run_id not in self._runs:
            self._runs[run_id] = self.client.send(calls.get_run(run_id))
        return self._runs[run_id]

    def _jobs_of(self, run_id: str, step: str | None) -> tuple[JobAnswer, ...]:
        if (run_id, step) not in self._jobs:
            found = self.client.send(calls.list_jobs(run_id, step=step))
            self._jobs[run_id, step] = found.items
        return self._jobs[run_id, step]

    def _letters(self, where: LetterFilter) -> Call[Part[LetterAnswer]]:
        return calls.list_letters(
            status=list(where.statuses or LetterStatus),
            run=where.run_id,
            can_go_round=where.can_go_round or None,
            **letter_choice(where),
        )


def _joined(groups: Iterable[tuple[T, ...]]) -> tuple[T, ...]:
    return tuple(itertools.chain.from_iterable(groups))
