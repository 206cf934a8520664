"""What was decided in a run, and what it has to do with failures that were seen before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from factory_runtime.domain.approval import GROUP, Approval, Vote
from factory_runtime.domain.job import Job, JobStatus, SkipReason
from factory_runtime.domain.memory_text import one_line
from factory_runtime.domain.plan import Plan
from factory_runtime.domain.progress import Ending, carried
from factory_runtime.domain.secrets import Secrets

_POLICY_GATE = "policy-"
"""Begins the name of a job that asks because a policy wants it: ``policy_check.gate_job``."""

_SHOWN = 20
_COMMENT = 200
_SAID = 3
"""Sentences of a kind: the embedding model reads few words, and the facts have all."""

Asked = Sequence[tuple[Approval, Sequence[Vote]]]


@dataclass(frozen=True, slots=True)
class Lessons:
    """What a run's memory says beside what was asked for and what came of it.

    Attributes:
        sentences: of its text: only what few runs have.
    """

    sentences: tuple[str, ...] = ()
    decisions: Mapping[str, Any] = field(default_factory=dict[str, Any])
    learnings: Mapping[str, Any] = field(default_factory=dict[str, Any])


NO_LESSONS = Lessons()


@dataclass(frozen=True, slots=True)
class Solved:
    """A failure of the run's own that a later cycle of it did not have."""

    failure_id: str
    step: str
    words: str


def lessons_of(
    jobs: Sequence[Job],
    plan: Plan | None,
    asked: Asked,
    met: Sequence[str],
    solved: Sequence[Solved],
    secrets: Secrets,
) -> Lessons:
    """Work them out. Pure.

    Args:
        jobs: of the run, as they ended.
        plan: that it ended with; None where it can no longer be read.
        asked: what people were asked, oldest first, with what they said.
        met: ids of the memories of the failures it had.
        solved: those of them that it got over.
        secrets: that nothing may say.
    """
    instead = list(_stand_ins(jobs, plan))
    without = sorted(_carried(jobs, plan) - {name for _, names in instead for name in names})
    decisions = {
        "approvals": [
            _decision(one, votes, secrets) for one, votes in islice(reversed(asked), _SHOWN)
        ],
        "skipped": _named(
            (job.step for job in jobs if job.skip_reason is SkipReason.CONDITION), secrets
        ),
        "fallbacks": [
            {"step": one_line(name, secrets=secrets), "instead_of": _named(names, secrets)}
            for name, names in instead[:_SHOWN]
        ],
        "without": _named(without, secrets),
    }
    learnings = {
        "failures": list(met[:_SHOWN]),
        "solved": [
            {"failure": one.failure_id, "step": one.step, "by": one.words}
            for one in solved[:_SHOWN]
        ],
    }
    sentences = [
        *(f"{name} ran instead of {', '.join(names)}." for name, names in instead[:_SAID]),
        *(f"Went on without {name}." for name in without[:_SAID]),
        *(f"{one.step} worked after: {one.words}." for one in solved[:_SAID]),
    ]
    return Lessons(
        tuple(one_line(sentence, _COMMENT, secrets) for sentence in sentences),
        {name: value for name, value in decisions.items() if value},
        {name: value for name, value in learnings.items() if value},
    )


def _decision(approval: Approval, votes: Sequence[Vote], secrets: Secrets) -> dict[str, Any]:
    """Groups are told, and no names of people: what was learned outlives their work here."""
    roles = [name.removeprefix(GROUP) for name in approval.by if name.startswith(GROUP)]
    return {
        "step": one_line(approval.step, secrets=secrets),
        "asked": one_line(approval.message, _COMMENT, secrets),
        "status": approval.status.value,
        "by_policy": approval.step.startswith(_POLICY_GATE),
        "roles": [one_line(role, 60, secrets) for role in roles[:_SHOWN]],
        "votes": [
            {"granted": vote.granted, "comment": one_line(vote.comment, _COMMENT, secrets)}
            for vote in votes[:_SHOWN]
        ],
    }


def _stand_ins(jobs: Sequence[Job], plan: Plan | None) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Fallbacks that succeeded, each with the failed jobs in whose place it ran."""
    if plan is None or not plan.fallbacks:
        return
    by_name = {job.step: job for job in jobs}
    failed = {job.step for job in jobs if job.status is JobStatus.FAILED}
    for planned in plan.fallbacks:
        job = by_name.get(planned.name)
        if job is not None and job.status is JobStatus.SUCCEEDED:
            yield planned.name, tuple(name for name in planned.fallback_for if name in failed)


def _carried(jobs: Sequence[Job], plan: Plan | None) -> frozenset[str]:
    if plan is None:
        return frozenset()
    known = (job for job in jobs if job.step in plan.by_name)
    return carried(plan, {job.step: Ending(job.status, job.skip_reason) for job in known})


def _named(names: Iterator[str] | Sequence[str], secrets: Secrets) -> list[str]:
    return [one_line(name, secrets=secrets) for name in islice(names, _SHOWN)]
