"""What the commands' pages read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from factory_runtime.domain.approval import Approval, ApprovalStatus, Vote
    from factory_runtime.domain.artifact import Artifact, ArtifactKind
    from factory_runtime.domain.attempt import Attempt
    from factory_runtime.domain.dead_letter import DeadLetter, LetterFilter, RedriveOrder
    from factory_runtime.domain.job import Job
    from factory_runtime.domain.records import Checkpoint, Effect, RunEvent
    from factory_runtime.domain.run import Run
    from factory_runtime.ports import Page, RunFilter


class Reading(Protocol):
    """What pages read. Names and errors are those of ``RunTransaction``."""

    def get_run(self, run_id: str) -> Run: ...

    def list_runs(
        self, where: RunFilter, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Run]: ...

    def count_runs(self, where: RunFilter) -> int: ...

    def find_undoing_run(self, run_id: str) -> Run | None: ...

    def list_jobs(self, run_id: str) -> tuple[Job, ...]: ...

    def get_job(self, run_id: str, step: str) -> Job: ...

    def list_attempts(self, run_id: str, step: str | None = None) -> tuple[Attempt, ...]: ...

    def find_checkpoint(self, run_id: str, step: str) -> Checkpoint | None: ...

    def list_events(
        self, run_id: str, *, after: int = 0, limit: int = 1000
    ) -> tuple[RunEvent, ...]: ...

    def list_artifacts(
        self,
        *,
        run_id: str | None = None,
        project_id: str | None = None,
        kind: ArtifactKind | None = None,
        limit: int = 200,
    ) -> tuple[Artifact, ...]: ...

    def get_artifact(self, artifact_id: str) -> Artifact: ...

    def list_effects(
        self, *, run_id: str | None = None, limit: int = 1000
    ) -> tuple[Effect, ...]: ...

    def list_approvals(
        self,
        *,
        status: ApprovalStatus | None = None,
        run_id: str | None = None,
        limit: int = 200,
    ) -> tuple[Approval, ...]: ...

    def get_approval(self, approval_id: str) -> Approval: ...

    def list_votes(self, approval_id: str) -> tuple[Vote, ...]: ...

    def list_dead_letters(
        self, where: LetterFilter, *, limit: int = 50
    ) -> tuple[DeadLetter, ...]: ...

    def count_dead_letters(self, where: LetterFilter) -> int: ...

    def get_dead_letter(self, letter_id: str) -> DeadLetter: ...

    def list_redrive_orders(self, *, limit: int = 50) -> tuple[RedriveOrder, ...]: ...

    def find_redrive_order(self, order_id: str) -> RedriveOrder | None: ...
