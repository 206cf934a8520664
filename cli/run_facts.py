"""Everything there is to tell about one run, read in one go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from cli.as_json import to_json, without
from cli.door import Door
from cli.screen import status_style
from cli.text import duration, first_line, local_time, one_line, size
from factory_runtime.domain.approval import Approval
from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.records import Effect
from factory_runtime.domain.run import Run
from factory_runtime.domain.shown_memory import ShownMemory

_MANY = 10_000
_NAMED = 3
"""Memories that a line names."""
_TITLE = 60
"""Characters of each one's title there."""


@dataclass(frozen=True)
class RunFacts:
    """One run with all that belongs to it.

    Attributes:
        undoing: the run that undoes it, if one does.
        memories: that it was shown.
    """

    run: Run
    inputs: Any
    outputs: Any
    jobs: tuple[Job, ...]
    attempts: tuple[Attempt, ...]
    artifacts: tuple[Artifact, ...]
    effects: tuple[Effect, ...]
    approvals: tuple[Approval, ...] = ()
    undoing: Run | None = None
    memories: tuple[ShownMemory, ...] = ()

    @property
    def repositories(self) -> tuple[Artifact, ...]:
        return tuple(a for a in self.artifacts if a.kind is ArtifactKind.REPOSITORY)

    @property
    def commits(self) -> tuple[Artifact, ...]:
        return tuple(a for a in self.artifacts if a.kind is ArtifactKind.COMMIT)

    @property
    def used(self) -> tuple[ShownMemory, ...]:
        """What it drew on: each memory once, whichever steps used it."""
        of_id = {one.use.memory_id: one for one in self.memories if one.use.used_at is not None}
        return tuple(of_id.values())

    @property
    def failed_jobs(self) -> tuple[Job, ...]:
        return tuple(job for job in self.jobs if job.status is JobStatus.FAILED)

    @property
    def took(self) -> str:
        """How long it ran, in words; empty where it did not start or has not ended."""
        if self.run.started_at is None or self.run.completed_at is None:
            return ""
        return duration(self.run.completed_at - self.run.started_at)


def read_run(door: Door, run_id: str) -> RunFacts:
    """Read a run and all that belongs to it.

    Raises:
        RunNotFoundError: no such run.
    """
    with door.desk.reading() as tx:
        run = tx.get_run(run_id)
        jobs = tx.list_jobs(run_id)
        attempts = tx.list_attempts(run_id)
        artifacts = tx.list_artifacts(run_id=run_id, limit=_MANY)
        effects = tx.list_effects(run_id=run_id, limit=_MANY)
        approvals = tx.list_approvals(run_id=run_id)
        undoing = tx.find_undoing_run(run_id)
    inputs, outputs = door.desk.value_of(run.inputs), door.desk.value_of(run.outputs)
    made = (jobs, attempts, artifacts, effects, approvals)
    return RunFacts(run, inputs, outputs, *made, undoing, door.desk.memories_of(run_id))


def facts_as_json(facts: RunFacts, flow_run_url: str | None) -> dict[str, Any]:
    """The whole of it, for another program."""
    return {
        "run": {
            **without(facts.run, "inputs", "outputs", "plan"),
            "inputs": to_json(facts.inputs),
            "outputs": to_json(facts.outputs),
        },
        "flow_run_url": flow_run_url,
        "undone_by": facts.undoing.id if facts.undoing is not None else None,
        "jobs": [without(job, "outputs") for job in facts.jobs],
        "attempts": [without(attempt, "traceback") for attempt in facts.attempts],
        "artifacts": to_json(facts.artifacts),
        "effects": to_json(facts.effects),
        "approvals": to_json(facts.approvals),
        "memories": [_shown_as_json(one) for one in facts.memories],
        "repositories": [{"name": a.name, "url": a.uri} for a in facts.repositories],
        "commits": [{"step": a.step, "sha": sha_of(a), "url": a.uri} for a in facts.commits],
    }


def flow_run_url(run: Run, ui_url: str | None) -> str | None:
    """The flow run's address in the Prefect UI."""
    if run.flow_run_id is None or ui_url is None:
        return None
    return f"{ui_url}/runs/flow-run/{run.flow_run_id}"


def sha_of(commit: Artifact) -> str:
    """A commit artifact's object id."""
    return str(commit.metadata.get("sha") or PurePosixPath(commit.uri).name)


def show_made(door: Door, facts: RunFacts) -> None:
    """Repositories, commits and artifacts, each with what is needed to get at it."""
    screen = door.screen
    if facts.repositories:
        screen.heading("Repository" if len(facts.repositories) == 1 else "Repositories")
        for repository in facts.repositories:
            screen.line(f"git clone {repository.uri}")
    if facts.commits:
        screen.heading("Commits")
        rows = [(a.step, sha_of(a)[:12], _files(a)) for a in facts.commits]
        screen.table(("step", "commit", "files"), rows)
    bodies = [a for a in facts.artifacts if a.has_body]
    if bodies:
        screen.heading("Artifacts")
        show_artifacts(door, bodies)


def show_artifacts(door: Door, artifacts: list[Artifact]) -> None:
    """A table of artifacts; ids and digests complete."""
    door.screen.table(
        ("id", "kind", "name", "size", "digest"),
        [(a.id, a.kind, a.name, size(a.size), a.sha256 or "") for a in artifacts],
        flexible=("name", "digest"),
    )


def show_run_facts(door: Door, facts: RunFacts, ui_url: str | None, standing: str) -> None:
    """The run's own facts; ``standing`` is why it stands where it does."""
    run = facts.run
    door.screen.facts(
        [
            ("run", run.id),
            ("status", run.status + (f": {standing}" if standing else "")),
            ("cycle", f"{run.cycle}, sent round again so often" if run.cycle else ""),
            ("error", run.error or ""),
            ("undoes", run.undoes or ""),
            ("undone by", _undone_by(facts)),
            ("template", f"{run.template_id} {run.template_version}"),
            ("project", run.project_id + (f", module {run.module_id}" if run.module_id else "")),
            ("requested", f"{local_time(run.requested_at)} by {run.requested_by}"),
            ("started", local_time(run.started_at)),
            (
                "completed",
                local_time(run.completed_at) + (f", took {facts.took}" if facts.took else ""),
            ),
            ("drew on", _drew_on(facts)),
            ("deadline", _deadline(run)),
            ("priority", run.priority),
            ("trace", run.trace_id),
            ("flow run", flow_run_url(run, ui_url) or run.flow_run_id or ""),
        ]
    )


def _deadline(run: Run) -> str:
    stands_still = run.deadline_at is not None and run.people_asked_at is not None
    still = ": it stands still while people are asked" if stands_still else ""
    return f"{local_time(run.deadline_at)}{still}"


def _drew_on(facts: RunFacts) -> str:
    """What it used of the memory, and of how many that it was shown."""
    if not facts.memories:
        return ""
    shown = len({one.use.memory_id for one in facts.memories})
    names = [_memory_name(one) for one in facts.used]
    left = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{'; '.join(names[:_NAMED]) or 'nothing'}{left}, of {shown} that it was shown"


def _memory_name(shown: ShownMemory) -> str:
    """A memory's id and title; the id alone where no more is known of it."""
    if not shown.title:
        return shown.use.memory_id
    title = one_line(shown.title)
    return f"{shown.use.memory_id} {title if len(title) <= _TITLE else f'{title[: _TITLE - 1]}…'}"


def _shown_as_json(shown: ShownMemory) -> dict[str, Any]:
    """In one piece: what was shown, and what that is."""
    return {**without(shown, "use"), **without(shown.use, "tenant_id", "run_id", "project_id")}


def _undone_by(facts: RunFacts) -> str:
    run = facts.run
    if facts.undoing is not None:
        return f"{facts.undoing.id}, {facts.undoing.status}"
    return f"a run of its own soon, for {run.undo_requested_by}" if run.undo_requested_by else ""


def show_failures(door: Door, facts: RunFacts) -> None:
    """What failed, in the words of the jobs themselves."""
    if facts.run.error and not facts.failed_jobs:
        door.screen.line(facts.run.error, status_style(facts.run.status))
    for job in facts.failed_jobs:
        tries = _tries(job)
        door.screen.line(f"{job.step} failed{tries}: {job.error or 'no reason given'}", "bad")


def _tries(job: Job) -> str:
    if not job.attempt:
        return ""
    budget = f" of {job.max_attempts}" if job.attempt <= job.max_attempts else ""
    return f" in attempt {job.attempt}{budget}"


def error_line(text: str | None) -> str:
    """An error for a table's cell."""
    return first_line(text or "")


def _files(commit: Artifact) -> str:
    count = commit.metadata.get("files")
    return "" if count is None else str(count)
