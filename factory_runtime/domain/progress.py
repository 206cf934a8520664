"""How a run's jobs stand, and what follows for the jobs behind them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from factory_runtime.domain.job import JobStatus, SkipReason
from factory_runtime.domain.plan import Plan, PlannedJob
from factory_runtime.domain.run import RunStatus


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended, as far as the jobs behind it care."""

    status: JobStatus
    skip_reason: SkipReason | None = None


class Verdict(Enum):
    """What to do with a job whose needs have all ended."""

    RUN = "run"
    SKIP_CONDITION = SkipReason.CONDITION
    SKIP_NEED_FAILED = SkipReason.NEED_FAILED
    SKIP_FALLBACK_NOT_NEEDED = SkipReason.FALLBACK_NOT_NEEDED


def verdict(
    plan: Plan, job: PlannedJob, endings: Mapping[str, Ending], *, under_way: bool = False
) -> Verdict:
    """Whether a job runs, now that all its needs are among ``endings``.

    A failed need stops it, unless the failed job says ``continue`` or its fallback succeeded. A
    fallback runs only where one of the jobs it stands in for failed. Once the run is to be undone,
    no other job begins; one that is ``under_way`` goes on, so that what it does is known.
    """
    if not under_way and compensates(plan, endings):
        return Verdict.SKIP_NEED_FAILED
    rescued = _rescued(plan, endings)
    for need in job.needs:
        if need in job.fallback_for:
            continue
        if _stops(plan.job(need), endings[need], rescued):
            return Verdict.SKIP_NEED_FAILED
    replaced = [endings[name] for name in job.fallback_for]
    if job.fallback_for and not any(ending.status is JobStatus.FAILED for ending in replaced):
        # One that was never reached needs no stand-in, but what comes after it is out of reach too.
        never_reached = any(_is_out_of_reach(ending) for ending in replaced)
        return Verdict.SKIP_NEED_FAILED if never_reached else Verdict.SKIP_FALLBACK_NOT_NEEDED
    return Verdict.SKIP_CONDITION if job.skip else Verdict.RUN


def run_ending(plan: Plan, endings: Mapping[str, Ending]) -> RunStatus:
    """What a run becomes when all its jobs have ended."""
    if any(ending.status is JobStatus.CANCELLED for ending in endings.values()):
        return RunStatus.CANCELLED
    failed = {job.name for job in plan.jobs if endings[job.name].status is JobStatus.FAILED}
    return RunStatus.FAILED if failed - carried(plan, endings) else RunStatus.SUCCEEDED


def compensates(plan: Plan, endings: Mapping[str, Ending]) -> bool:
    """Whether the run is to be undone: a job failed that says so."""
    return any(
        job.name in endings and endings[job.name].status is JobStatus.FAILED
        for job in plan.compensating
    )


def carried(plan: Plan, endings: Mapping[str, Ending]) -> frozenset[str]:
    """Names of failed jobs that the run goes on without: ``continue``, or a fallback succeeded."""
    rescued = _rescued(plan, endings)
    return frozenset(
        name
        for name, ending in endings.items()
        if ending.status is JobStatus.FAILED
        and (plan.job(name).on_failure.action == "continue" or name in rescued)
    )


class StepOutputs(Mapping[str, Any]):
    """What expressions see as ``steps``: names with ``_``; an ``each`` step is keyed by item.

    In the place of a job that failed is what its fallback gave, where that stands in for it alone.

    A view: it works out a step when it is asked for one, so that a job in a plan of thousands pays
    only for what it reads. A step that gave nothing is not there.
    """

    def __init__(self, plan: Plan, outputs: Mapping[str, Mapping[str, Any]]) -> None:
        """``outputs`` are by job name, of the jobs that succeeded."""
        self._plan = plan
        self._outputs = outputs

    def __getitem__(self, name: str) -> Any:
        jobs = self._plan.by_step_key.get(name, ())
        if not jobs and not self._has_no_items(name):
            raise KeyError(name)
        if jobs and jobs[0].item_key is None:
            # A changed plan asks an approval of the step again: the newest answer counts.
            newest = next((j for j in reversed(jobs) if j.name in self._outputs), jobs[0])
            return {"outputs": self._of_job_or_fallback(newest)}
        made = ((job.item_key, self._of_item_or_fallback(job)) for job in jobs)
        return {"outputs": {key: outputs for key, outputs in made if outputs is not None}}

    def __iter__(self) -> Iterator[str]:
        return iter(self._plan.by_step_key)

    def __len__(self) -> int:
        return len(self._plan.by_step_key)

    def _has_no_items(self, name: str) -> bool:
        return any(step.replace("-", "_") == name for step in self._plan.each_steps)

    def _of_job_or_fallback(self, job: PlannedJob) -> Mapping[str, Any]:
        if job.name in self._outputs:
            return self._outputs[job.name]
        fallback = self._plan.fallback_of.get(job.name)
        return {} if fallback is None else self._of_job_or_fallback(fallback)

    def _of_item_or_fallback(self, job: PlannedJob) -> Mapping[str, Any] | None:
        """What the job of one item gave, or its own fallback; not what stands in for all items."""
        if job.name in self._outputs:
            return self._outputs[job.name]
        fallback = self._plan.fallback_of.get(job.name)
        if fallback is None or fallback.item_key is None:
            return None
        return self._of_item_or_fallback(fallback)


def ancestors(plan: Plan, name: str) -> frozenset[str]:
    """The jobs that a job waits for, directly or not."""
    found: set[str] = set()
    open_names = [name]
    while open_names:
        for need in plan.job(open_names.pop()).needs:
            if need not in found:
                found.add(need)
                open_names.append(need)
    return frozenset(found)


def _rescued(plan: Plan, endings: Mapping[str, Ending]) -> frozenset[str]:
    """Names of failed jobs in whose place a fallback succeeded, or a fallback of that fallback."""
    rescued: set[str] = set()
    # Behind it in the plan comes whatever stands in for a job: the last of a chain is seen first.
    for job in reversed(plan.fallbacks):
        ending = endings.get(job.name)
        if ending and (ending.status is JobStatus.SUCCEEDED or job.name in rescued):
            rescued.update(job.fallback_for)
    return frozenset(rescued)


def _stops(need: PlannedJob, ending: Ending, rescued: frozenset[str]) -> bool:
    if ending.status is JobStatus.FAILED:
        return need.on_failure.action != "continue" and need.name not in rescued
    return _is_out_of_reach(ending)


def _is_out_of_reach(ending: Ending) -> bool:
    if ending.status is JobStatus.SKIPPED:
        return ending.skip_reason is SkipReason.NEED_FAILED
    return ending.status is JobStatus.CANCELLED
