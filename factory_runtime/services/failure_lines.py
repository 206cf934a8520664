"""What other runs of a template, in a project, showed behind a failure: which ones have to be kept.

Each ended cycle leaves a line with the steps that succeeded and the failures that it had, and a
short mark for each of these. Runs are learned in any order, so what a failure needs is looked for in
both directions: by whoever fails, in the lines that are there; by whoever succeeds, in the marks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from factory_runtime.domain.circumstances import Circumstances
from factory_runtime.domain.failure_tries import WITHIN
from factory_runtime.domain.ids import digest_of
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.memory import Observation, ObservationKind
from factory_runtime.ports import RunTransaction
from factory_runtime.services.failure_patterns import Seen, tried
from factory_runtime.services.run_history import Cycle, JobEnd
from factory_runtime.services.run_record import RunRecord

_LINES = 500
"""Cycles of one template in one project that are looked at: the newest."""

_FEW = 20
_MARKS = 200

_PREFIX = "line-"
"""Before the ids of all memories, in their order: what is forgotten is forgotten here first."""

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


def marks_of(record: RunRecord, failures: Sequence[Observation]) -> Iterator[Observation]:
    """Of each failure, a short mark beside the lines: whoever succeeds later looks for these."""
    run = record.run
    for failure in failures:
        so = record.circumstances[failure.cycle]
        yield replace(
            failure,
            subject=line_id(run.tenant_id, run.project_id, run.template_id),
            place=failure.subject,
            facts={"inputs_digest": so.inputs_digest},
        )


def tries_of(
    line: Observation,
    marks: Iterable[Observation],
    known: Callable[[str], Iterable[Observation]],
) -> list[Observation]:
    """The failures of other runs that this cycle is the first success behind, as far as is known.

    Args:
        line: of the cycle.
        marks: of failures of its template in its project.
        known: what is known to have succeeded behind a failure, by the id of its memory.
    """
    failures = [_Failure.of_mark(mark) for mark in marks]
    successes = {one.step: one for one in _successes([line], {one.step for one in failures})}
    asked: dict[str, list[Observation]] = {}
    found: dict[tuple[str, str], Observation] = {}
    for failure in failures:
        success = successes.get(failure.step)
        if success is None or _first_after(failure, [success]) is None:
            continue
        if failure.subject not in asked:
            asked[failure.subject] = list(known(failure.subject))
        if not _has_both(failure, success, asked[failure.subject]):
            found[failure.subject, failure.step] = _tried(success, failure.subject)
    return list(found.values())


def _has_both(failure: _Failure, success: _Success, known: Iterable[Observation]) -> bool:
    """Whether an earlier success is known, and one of its inputs where these are the same."""
    earlier = [
        Circumstances.from_facts(one.facts.get("so")).inputs_digest
        for one in known
        if (one.project_id, one.step) == (success.line.project_id, failure.step)
        and one.facts.get("template") == success.line.facts["template"]
        and one.run_id not in (failure.run_id, success.line.run_id)
        and failure.at <= one.at <= success.at
    ]
    if success.so.inputs_digest == failure.inputs:
        return failure.inputs in earlier
    return bool(earlier)


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

    @classmethod
    def of_mark(cls, mark: Observation) -> _Failure:
        inputs = str(mark.facts.get("inputs_digest", ""))
        return cls(mark.run_id, mark.place, mark.step, mark.at, inputs)


def lines_since(tx: RunTransaction, line: str, at: datetime | None = None) -> list[Observation]:
    """What is known of a line, the newest; at least as far back as that time."""
    for limit in (_FEW, _LINES):
        lines = tx.list_observations(subject=line, kind=ObservationKind.ENDED, limit=limit)
        if len(lines) < limit or (at is not None and lines[0].at < at):
            break
    return list(lines)


def marks(tx: RunTransaction, line: str) -> tuple[Observation, ...]:
    """The newest failures of a line."""
    return tx.list_observations(subject=line, kind=ObservationKind.FAILED, limit=_MARKS)


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
