"""What other runs of a template, in a project, showed behind a failure: which ones have to be kept.

Each ended cycle leaves a line with the steps that succeeded and the failures that it had. Runs are
learned in any order, so what a failure needs is looked for in both directions: by whoever fails,
in lines that are there; by whoever succeeds, in the failures that are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from factory_runtime.domain.circumstances import Circumstances
from factory_runtime.domain.failure_tries import WITHIN
from factory_runtime.domain.ids import digest_of
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.memory import Observation, ObservationKind
from factory_runtime.services.failure_patterns import Seen, tried
from factory_runtime.services.run_history import Cycle, JobEnd
from factory_runtime.services.run_record import RunRecord

LINES = 500
"""Cycles of one template in one project that are looked at: the newest."""

_PREFIX = "line-"
_STEPS = 200
_OF_STEP = ("type_version", "environment", "machine", "timeout")


def line_id(tenant_id: str, project_id: str | None, template_id: str) -> str:
    """What the lines of one template in one project are kept under."""
    return f"{_PREFIX}{digest_of([tenant_id, project_id, template_id])[:32]}"


def is_line(subject: str) -> bool:
    """Whether it is no memory's id."""
    return subject.startswith(_PREFIX)


def line_of(record: RunRecord, cycle: Cycle, failures: Sequence[Observation]) -> Observation:
    """The line of a cycle."""
    run = record.run
    by_step: dict[str, list[JobEnd]] = defaultdict(list)
    for end in cycle.ends:
        if end.status in (JobStatus.SUCCEEDED, JobStatus.FAILED):
            by_step[end.base].append(end)
    steps: dict[str, Any] = {}
    for base, ends in list(by_step.items())[:_STEPS]:
        if all(end.status is JobStatus.SUCCEEDED for end in ends):
            there = record.circumstances_of(cycle, ends[0]).to_facts()
            own = {name: there[name] for name in _OF_STEP if name in there}
            steps[base] = {**own, "at": max(end.at for end in ends).isoformat()}
    return Observation(
        tenant_id=run.tenant_id,
        subject=line_id(run.tenant_id, run.project_id, run.template_id),
        kind=ObservationKind.ENDED,
        run_id=run.id,
        step="",
        cycle=cycle.number,
        place="",
        at=cycle.at,
        project_id=run.project_id,
        facts={
            "template": run.template_id,
            "so": record.circumstances[cycle.number].to_facts(),
            "steps": steps,
            "failed": [[one.step, one.subject, one.at.isoformat()] for one in failures],
        },
    )


@dataclass(frozen=True, slots=True)
class _Success:
    """A step of a cycle that succeeded."""

    line: Observation
    step: str
    at: datetime
    so: Circumstances


@dataclass(frozen=True, slots=True)
class _Failure:
    run_id: str
    subject: str
    step: str
    at: datetime
    inputs: str


def tries_behind(lines: Sequence[Observation], subject: str | None = None) -> list[Observation]:
    """Of each failure in the lines: the first success of another run, and the first of its inputs.

    These are all that a pattern ever asks for. One that turns out not to be the first, because an
    earlier one is heard of later, changes nothing.

    Args:
        lines: of one template in one project.
        subject: of this failure alone.
    """
    by_step: dict[str, list[_Success]] = defaultdict(list)
    alike: dict[tuple[str, str], list[_Success]] = defaultdict(list)
    wanted = [one for line in lines for one in _failures(line) if subject in (None, one.subject)]
    steps = {one.step for one in wanted}
    for success in sorted(_successes(lines, steps), key=lambda one: (one.at, one.line.run_id)):
        by_step[success.step].append(success)
        alike[success.step, success.so.inputs_digest].append(success)
    found: dict[tuple[Any, ...], Observation] = {}
    for failure in wanted:
        for some in (by_step[failure.step], alike[failure.step, failure.inputs]):
            if (first := _first_after(failure, some)) is not None:
                one = _tried(first, failure.subject)
                found[one.subject, one.run_id, one.step, one.cycle] = one
    return list(found.values())


def _first_after(failure: _Failure, successes: Sequence[_Success]) -> _Success | None:
    begin = bisect_left(successes, failure.at, key=lambda one: one.at)
    for success in successes[begin:]:
        if success.at > failure.at + WITHIN:
            return None
        if success.line.run_id != failure.run_id:
            return success
    return None


def _successes(lines: Sequence[Observation], wanted: set[str]) -> Iterator[_Success]:
    for line in lines:
        steps: Mapping[str, Any] = line.facts.get("steps", {})
        for name in wanted & steps.keys():
            own = dict(steps[name])
            at = datetime.fromisoformat(own.pop("at"))
            so = Circumstances.from_facts({**line.facts.get("so", {}), **own})
            yield _Success(line, name, at, so)


def _failures(line: Observation) -> Iterator[_Failure]:
    inputs = str(line.facts.get("so", {}).get("inputs_digest", ""))
    for step, subject, at in line.facts.get("failed", ()):
        yield _Failure(line.run_id, subject, step, datetime.fromisoformat(at), inputs)


def _tried(success: _Success, subject: str) -> Observation:
    line = success.line
    template = str(line.facts["template"])
    seen = Seen(line.tenant_id, line.project_id, template, line.run_id, line.cycle)
    return tried(seen, subject, success.step, success.at, success.so)
