"""A changed plan asks again for the approvals that were granted for the one before. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from factory_runtime.compiler.gates import APPROVAL
from factory_runtime.domain.plan import Plan, PlannedJob

_AGAIN = "@"
"""Stands in no step's name and no item's key."""


def ask_again(plan: Plan, granted: Collection[str], settled: Collection[str], cycle: int) -> Plan:
    """The plan with a successor for each granted approval, and behind it all that is still to do.

    The successor, ``<name>@<cycle>``, is the approval once more. Every job that is not settled and
    stands behind the granted one, directly or not, waits for the successor as well. Likewise for
    an approval that the plan before did not have: jobs that have ended do not hide it.

    Args:
        plan: the changed one, without successors.
        granted: names of approvals in it that were granted.
        settled: names of jobs that have ended and do not go round again; the granted among them.
        cycle: of the run, that the plan is for.
    """
    asks = {job.name: job.name for job in plan.jobs if job.type == APPROVAL}
    asks |= {name: f"{name}{_AGAIN}{cycle}" for name in granted}
    return replace(plan, jobs=tuple(_jobs(plan, asks, frozenset(settled))))


def is_successor(name: str) -> bool:
    """Whether a job is an approval that was asked again."""
    return _AGAIN in name


def without_successors(plan: Plan) -> Plan:
    """The plan as it was compiled."""
    jobs = tuple(
        replace(
            job,
            needs=_others(job.needs),
            fallback_for=_others(job.fallback_for),
        )
        for job in plan.jobs
        if not is_successor(job.name)
    )
    return replace(plan, jobs=jobs)


def _others(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if not is_successor(name))


def _jobs(plan: Plan, asks: Mapping[str, str], settled: frozenset[str]) -> Iterator[PlannedJob]:
    """The jobs; ``asks`` is which job asks in the place of each approval: itself, or another."""
    # The approvals that a settled job stands behind, with no other of them between. Who needs a
    # job that is still to do is kept waiting by that one.
    behind: dict[str, tuple[str, ...]] = {}
    for job in plan.jobs:  # each follows its needs
        mine = tuple(
            dict.fromkeys(
                approval
                for need in job.needs
                for approval in ((need,) if need in asks else behind.get(need, ()))
            )
        )
        waiting = replace(
            job,
            needs=tuple(dict.fromkeys((*job.needs, *(asks[approval] for approval in mine)))),
            # Where people say no this time, what stands in for the approval runs.
            fallback_for=tuple(
                dict.fromkeys((*job.fallback_for, *(asks.get(n, n) for n in job.fallback_for)))
            ),
        )
        if job.name in settled:
            behind[job.name] = mine
        yield job if job.name in settled else waiting
        if asks.get(job.name, job.name) != job.name:
            yield replace(waiting, name=asks[job.name])
