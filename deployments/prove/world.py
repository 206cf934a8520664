"""What a run has left: in the record, in its repositories, in the world as its job types see it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.artifact import Artifact
from factory_runtime.domain.errors import FactoryError
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.records import Effect, EffectStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.hosts.git import git
from factory_runtime.hosts.history import head_of, paths_at, read_log
from factory_runtime.ports import RepositoryCopies

_MANY = 100_000

ArtifactKey = tuple[str, str, str]
"""Step, kind and media type."""


@dataclass(frozen=True)
class LeftRepository:
    """One repository of the run's project.

    Attributes:
        tree: git's id of the default branch's tree; None before the first commit.
        commits: how many each step has made; others have made those under ``""``.
    """

    tree: str | None
    paths: tuple[str, ...]
    commits: Counter[str]


@dataclass(frozen=True)
class LeftEffect:
    """One line of the ledger.

    Attributes:
        found: what the probe of its job type says came of it.
        trouble: why that cannot be told.
    """

    step: str
    kind: str
    status: EffectStatus
    reference: str | None
    found: str | None = None
    trouble: str | None = None


@dataclass(frozen=True)
class Left:
    """What a run has left.

    Attributes:
        error: of the run, for people.
        flow_run: the type of the state that Prefect shows of it.
        jobs: how each stands.
        skipped: why some are.
        repositories: by name; where it names the run or its project, by what it would be for all.
        artifacts: digests, sorted, of each sort; "" for what has none.
        effects: those of the ledger, and what each one's probe finds.
        attempts: how many each job has had.
        unclosed: keys of attempts that stand as if they were under way.
        undone: effects of the run that this one undoes; None where it undoes none.
    """

    status: RunStatus
    error: str | None
    flow_run: str | None
    jobs: Mapping[str, JobStatus]
    skipped: Mapping[str, str]
    repositories: Mapping[str, LeftRepository]
    artifacts: Mapping[ArtifactKey, tuple[str, ...]]
    effects: tuple[LeftEffect, ...]
    attempts: Mapping[str, int]
    unclosed: tuple[str, ...]
    undone: tuple[LeftEffect, ...] | None = None


NOTHING = Left(RunStatus.REQUESTED, None, None, {}, {}, {}, {}, (), {}, ())


def attempts_of_finished(runtime: Runtime, run: Run) -> Mapping[str, int]:
    """How many attempts each job has had that has Succeeded by now."""
    with runtime.store.begin(run.tenant_id, read_only=True) as tx:
        jobs = tx.list_jobs(run.id)
        numbers = Counter(attempt.step for attempt in tx.list_attempts(run.id))
    return {job.step: numbers[job.step] for job in jobs if job.status is JobStatus.SUCCEEDED}


def look(runtime: Runtime, run: Run, flow_run: Callable[[str], str | None]) -> Left:
    """Everything that a run has left by now; ``flow_run`` asks Prefect for the state of one."""
    with runtime.store.begin(run.tenant_id, read_only=True) as tx:
        current = tx.get_run(run.id)
        jobs = tx.list_jobs(run.id)
        attempts = tx.list_attempts(run.id)
        artifacts = tx.list_artifacts(run_id=run.id, limit=_MANY)
    return Left(
        status=current.status,
        error=current.error,
        flow_run=flow_run(current.flow_run_id) if current.flow_run_id else None,
        jobs={job.step: job.status for job in jobs},
        skipped={job.step: _why_skipped(job) for job in jobs if job.status is JobStatus.SKIPPED},
        repositories=_repositories(runtime, run),
        artifacts=_by_sort(artifacts),
        effects=_effects(runtime, run.tenant_id, run.id),
        attempts=Counter(attempt.step for attempt in attempts),
        unclosed=tuple(attempt.key for attempt in attempts if attempt.outcome is None),
        undone=None if run.undoes is None else _effects(runtime, run.tenant_id, run.undoes),
    )


def _effects(runtime: Runtime, tenant_id: str, run_id: str) -> tuple[LeftEffect, ...]:
    with runtime.store.begin(tenant_id, read_only=True) as tx:
        types = {job.step: job.type for job in tx.list_jobs(run_id)}
        effects = tx.list_effects(run_id=run_id, limit=_MANY)
    return tuple(_probed(runtime, types[effect.step], effect) for effect in effects)


def _why_skipped(job: Job) -> str:
    return "" if job.skip_reason is None else job.skip_reason.value


def _by_sort(artifacts: tuple[Artifact, ...]) -> Mapping[ArtifactKey, tuple[str, ...]]:
    sorts: dict[ArtifactKey, list[str]] = {}
    for one in artifacts:
        key = (one.step, one.kind.value, one.media_type)
        sorts.setdefault(key, []).append(one.sha256 or "")
    return {key: tuple(sorted(digests)) for key, digests in sorts.items()}


def _repositories(runtime: Runtime, run: Run) -> Mapping[str, LeftRepository]:
    host = runtime.host
    if not isinstance(host, RepositoryCopies):
        raise TypeError(f"what was left at {host.name} cannot be seen")
    places = host.copies_of(run.tenant_id, run.project_id)
    return {_for_all(name, run): _repository(place, run) for name, place in places.items()}


def _for_all(name: str, run: Run) -> str:
    return name.replace(run.id, "<run>").replace(run.project_id, "<project>")


def _repository(place: Path, run: Run) -> LeftRepository:
    head = head_of(place)
    tree = None if head is None else git(place, "rev-parse", f"{head}^{{tree}}").decode().strip()
    commits: Counter[str] = Counter()
    for logged in read_log(place, head):
        trailers = dict(logged.trailers)
        ours = trailers.get("Factory-Run") in (run.id, run.undoes or run.id)
        commits[trailers.get("Factory-Step", "") if ours else ""] += 1
    return LeftRepository(tree, tuple(sorted(paths_at(place, head))), commits)


def _probed(runtime: Runtime, job_type: str, effect: Effect) -> LeftEffect:
    found = trouble = None
    try:
        found = runtime.job_types[job_type].probe(runtime.host, effect)
    except FactoryError as error:
        trouble = error.explain()
    except Exception as error:  # job types are other people's code
        trouble = repr(error)
    return LeftEffect(effect.step, effect.kind, effect.status, effect.reference, found, trouble)
