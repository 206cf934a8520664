"""What runs that have not come to their end stand on: what an upgrade must not take away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from factory_runtime.domain.errors import FactoryError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.plan import Plan
from factory_runtime.domain.run import Run
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.ports import ArtifactStorage, RunKey, RunStore
from factory_runtime.services.plans import read_plan

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A run that is open, or that has open dead letters.

    Attributes:
        sources: whether each of its plan's is kept, by name.
        has_template: whether the whole template is kept, so that it can be compiled anew.
        gone_types: job types of jobs to be done that are not installed.
        other_types: likewise, those that are installed in another version: from the plan's to it.
        plan_problem: why its plan cannot be read; None where it can.
    """

    run: Run
    sources: Mapping[str, bool] = field(default_factory=dict[str, bool])
    has_template: bool = False
    gone_types: tuple[str, ...] = ()
    other_types: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    plan_problem: str | None = None

    @property
    def lost_sources(self) -> tuple[str, ...]:
        return tuple(name for name, is_kept in self.sources.items() if not is_kept)

    @property
    def goes_on(self) -> bool:
        """Whether all is there that it goes on with."""
        return not (self.plan_problem or self.gone_types or self.lost_sources)


def find_unfinished(
    store: RunStore, storage: ArtifactStorage, job_types: Mapping[str, JobTypeFacts]
) -> Iterator[Unfinished]:
    """Every such run of all tenants, as it stands with these job types; nothing is changed."""
    after: RunKey | None = None
    while page := store.unfinished_runs(after=after, limit=_PAGE):
        for run in page:
            yield _look_at(store, storage, job_types, run)
        after = RunKey(page[-1].tenant_id, page[-1].id)


def _look_at(
    store: RunStore,
    storage: ArtifactStorage,
    job_types: Mapping[str, JobTypeFacts],
    run: Run,
) -> Unfinished:
    has_template = bool(run.template_digest) and storage.exists(run.tenant_id, run.template_digest)
    try:
        plan = read_plan(storage, run)
    except FactoryError as error:
        return Unfinished(run, has_template=has_template, plan_problem=str(error))
    sources = {name: storage.exists(run.tenant_id, one) for name, one in plan.sources.items()}
    to_do = _types_to_do(store, run, plan)
    gone = tuple(sorted(to_do.keys() - job_types.keys()))
    other = {
        name: (version, job_types[name].version)
        for name, version in sorted(to_do.items())
        if name in job_types and job_types[name].version != version
    }
    return Unfinished(run, sources, has_template, gone, other)


def _types_to_do(store: RunStore, run: Run, plan: Plan) -> dict[str, str]:
    """Job types of the jobs that have not succeeded, with the version that they were planned for."""
    with store.begin(run.tenant_id, read_only=True) as tx:
        done = {job.step for job in tx.list_jobs(run.id) if job.status is JobStatus.SUCCEEDED}
    return {job.type: job.type_version for job in plan.jobs if job.name not in done}
