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


def verdict(plan: Plan, job: PlannedJob, endings: Mapping[str, Ending]) -> Verdict:
    """Whether a job runs, now that all its needs are among ``endings``.

    A failed need stops it, unless the failed job says ``continue`` or its fallback succeeded. A
    fallback runs only where one of the jobs it stands in for failed.
    """
    rescued = _rescued(plan, endings)
    for need in job.needs:
        if need in job.fallback_for:
            continue
        if _stops(plan.job(need), endings[need], rescued):
            return Verdict.SKIP_NEED_FAILED
    if job.fallback_for and not any(
        endings[name].status is JobStatus.FAILED for name in job.fallback_for
    ):
        return Verdict.SKIP_FALLBACK_NOT_NEEDED
    return Verdict.SKIP_CONDITION if job.skip else Verdict.RUN


def run_ending(plan: Plan, endings: Mapping[str, Ending]) -> RunStatus:
    """What a run becomes when all its jobs have ended."""
    if any(ending.status is JobStatus.CANCELLED for ending in endings.values()):
        return RunStatus.CANCELLED
    rescued = _rescued(plan, endings)
    for job in plan.jobs:
        ending = endings[job.name]
        failed = ending.status is JobStatus.FAILED
        if failed and job.on_failure.action != "continue" and job.name not in rescued:
            return RunStatus.FAILED
    return RunStatus.SUCCEEDED


class StepOutputs(Mapping[str, Any]):
    """What expressions see as ``steps``: names with ``_``; an ``each`` step is keyed by item.

    A view: it works out a step when it is asked for one, so that a job in a plan of thousands pays
    only for what it reads. A step that gave nothing is not there.
    """

    def __init__(self, plan: Plan, outputs: Mapping[str, Mapping[str, Any]]) -> None:
        """``outputs`` are by job name, of the jobs that succeeded."""
        self._plan = plan
        self._outputs = outputs

    def __getitem__(self, name: str) -> Any:
        jobs = self._plan.by_step_key[name]
        made = {job.item_key: self._outputs[job.name] for job in jobs if job.name in self._outputs}
        if jobs[0].step in self._plan.each_steps:
            return {"outputs": made}
        if not made:
            return {"outputs": self._from_fallback(jobs[0])}
        return {"outputs": made[jobs[0].item_key]}

    def __iter__(self) -> Iterator[str]:
        return iter(self._plan.by_step_key)

    def __len__(self) -> int:
        return len(self._plan.by_step_key)

    def _from_fallback(self, failed: PlannedJob) -> Mapping[str, Any]:
        for job in self._plan.fallbacks:
            if failed.name in job.fallback_for and job.name in self._outputs:
                return self._outputs[job.name]
        return {}


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
    """Names of failed jobs in whose place a fallback succeeded."""
    return frozenset(
        name
        for job in plan.fallbacks
        if job.name in endings and endings[job.name].status is JobStatus.SUCCEEDED
        for name in job.fallback_for
    )


def _stops(need: PlannedJob, ending: Ending, rescued: frozenset[str]) -> bool:
    if ending.status is JobStatus.FAILED:
        return need.on_failure.action != "continue" and need.name not in rescued
    if ending.status is JobStatus.SKIPPED:
        return ending.skip_reason is SkipReason.NEED_FAILED
    return ending.status is JobStatus.CANCELLED
