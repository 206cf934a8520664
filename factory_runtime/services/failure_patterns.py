"""What a run's failures are remembered as: what is observed of each, and the memory of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.cause import cause_of
from factory_runtime.domain.circumstances import Circumstances
from factory_runtime.domain.difference import Difference
from factory_runtime.domain.failure_pattern import FailurePattern, Resolution
from factory_runtime.domain.failure_tries import OWN
from factory_runtime.domain.fingerprint import fingerprint
from factory_runtime.domain.ids import digest_of
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.memory import Kind, Memory, Observation, ObservationKind
from factory_runtime.domain.memory_text import cut, one_line
from factory_runtime.domain.redaction import redact_text
from factory_runtime.domain.run import Run
from factory_runtime.services.letters import RUN_STOPPED, WORKER_LOST
from factory_runtime.services.run_history import Cycle, JobEnd
from factory_runtime.services.run_record import RunRecord

_LOOKED_AT = 8000
_SYMPTOM = 300
_TITLE = 120
_RESOLUTIONS = 10
_MOST = 100
"""Kinds of failure of one cycle: one that has more has the same trouble everywhere."""

_DECIDED = frozenset({"approval-denied", "approval-withdrawn"})
"""Error codes that are a person's decision: nothing to learn a way round of."""


def find_failure_memory_id(tenant_id: str, fingerprint: str) -> str:
    """The id of the memory of this kind of failure; whether there is one, the store knows."""
    return f"mem-{digest_of(['failure', tenant_id, fingerprint])[:32]}"


def resolutions_of(memory: Memory) -> tuple[Resolution, ...]:
    """What was otherwise when this failure was got over: what helped most often first."""
    return tuple(
        Resolution(
            digest=one["digest"],
            difference=Difference.from_facts(one["changes"]),
            tried=one["tried"],
            worked=one["worked"],
            last_at=datetime.fromisoformat(one["last_at"]),
        )
        for one in memory.facts.get("resolutions", ())
    )


# --- what is observed


@dataclass(frozen=True, slots=True)
class Seen:
    """Where something was observed: a cycle of a run."""

    tenant_id: str
    project_id: str | None
    template_id: str
    run_id: str
    cycle: int


def seen_in(run: Run, cycle: Cycle) -> Seen:
    """A cycle of a run."""
    return Seen(run.tenant_id, run.project_id, run.template_id, run.id, cycle.number)


def failures_of(record: RunRecord, cycle: Cycle) -> tuple[Observation, ...]:
    """The failures of a cycle: one for each kind and step, however many jobs had it."""
    found: dict[tuple[str, str], Observation] = {}
    seen = seen_in(record.run, cycle)
    for end in cycle.ends:
        failure = _failure(record, cycle, end)
        if failure is None:
            continue
        subject = find_failure_memory_id(record.run.tenant_id, failure.fingerprint)
        known = found.get((subject, end.base))
        if known is not None:
            known.facts["jobs"].append(end.name)
        elif len(found) < _MOST:
            facts = _facts(seen, record.circumstances_of(cycle, end))
            facts |= {**_told(record, end, failure), "jobs": [end.name]}
            found[subject, end.base] = _failed(seen, end, subject, facts)
    # The names tell which jobs to look for in the next cycle; they are not kept.
    return tuple(found.values())


def got_over(record: RunRecord, cycle: Cycle, failure: Observation) -> Observation | None:
    """That the jobs of a failure succeeded in a later cycle; None where they have not yet."""
    names = set(failure.facts["jobs"])
    for later in record.cycles:
        ends = [end for end in later.ends if end.name in names and _ran(end)]
        if later.number <= cycle.number or not ends:
            continue
        if all(end.status is JobStatus.SUCCEEDED for end in ends):
            so = record.circumstances_of(later, ends[0])
            at = max(end.at for end in later.ends if end.base == failure.step and _ran(end))
            seen = seen_in(record.run, later)
            one = tried(seen, failure.subject, failure.step, at, so)
            return replace(one, facts={**one.facts, OWN: True})
    return None


def tried(seen: Seen, subject: str, step: str, at: datetime, so: Circumstances) -> Observation:
    """That a step succeeded where a failure had been seen."""
    return Observation(
        tenant_id=seen.tenant_id,
        subject=subject,
        kind=ObservationKind.TRIED,
        run_id=seen.run_id,
        step=step,
        cycle=seen.cycle,
        place="",
        at=at,
        project_id=seen.project_id,
        worked=True,
        facts=_facts(seen, so),
    )


def kept(failure: Observation) -> Observation:
    """As it is kept: of the jobs that had it, how many they were."""
    return replace(failure, facts={**failure.facts, "jobs": len(failure.facts["jobs"])})


def _ran(end: JobEnd) -> bool:
    return end.status in (JobStatus.SUCCEEDED, JobStatus.FAILED)


def _failed(seen: Seen, end: JobEnd, subject: str, facts: dict[str, Any]) -> Observation:
    return Observation(
        tenant_id=seen.tenant_id,
        subject=subject,
        kind=ObservationKind.FAILED,
        run_id=seen.run_id,
        step=end.base,
        cycle=seen.cycle,
        place="",
        at=end.at,
        project_id=seen.project_id,
        worked=False,
        facts=facts,
    )


def _facts(seen: Seen, so: Circumstances) -> dict[str, Any]:
    return {"template": seen.template_id, "so": so.to_facts()}


@dataclass(frozen=True, slots=True)
class _Failure:
    code: str
    message: str
    fingerprint: str


def _failure(record: RunRecord, cycle: Cycle, end: JobEnd) -> _Failure | None:
    """Of what kind it is; None where it did not fail, or nobody knows of what."""
    if end.status is not JobStatus.FAILED:
        return None
    letter = record.letters.get(end.name)
    if letter is not None and letter.cycle == cycle.number:  # a job has one letter, the last
        return _Failure(letter.error_code, letter.error, letter.fingerprint)
    code = _code(cycle, end)
    if code is None or code in _DECIDED:
        return None
    print_, _ = fingerprint(code, end.error, end.type, names=_names(record.run, end))
    return _Failure(code, end.error, print_)


def _told(record: RunRecord, end: JobEnd, failure: _Failure) -> dict[str, Any]:
    harmless = redact_text(record.secrets.hide_in(failure.message[:_LOOKED_AT]))
    names = _names(record.run, end)
    _, words = fingerprint(failure.code, harmless, end.type, names=names)
    return {
        "fingerprint": failure.fingerprint,
        "error_code": one_line(failure.code),
        "job_type": end.type,
        "symptom": one_line(words, _SYMPTOM, record.secrets),
    }


def _names(run: Run, end: JobEnd) -> tuple[str, ...]:
    return (run.id, end.name, run.project_id, run.tenant_id, run.module_id or "")


def _code(cycle: Cycle, end: JobEnd) -> str | None:
    if end.attempt is not None and end.attempt.error_code is not None:
        return end.attempt.error_code
    if end.attempt is not None and end.attempt.outcome is Outcome.LOST:
        return WORKER_LOST
    return RUN_STOPPED if cycle.reason and cycle.reason == end.error else None


# --- the memory


def memory_of_failure(pattern: FailurePattern, now: datetime) -> Memory:
    """What is known of a kind of failure, for whoever meets it again."""
    what = f"{pattern.job_type} failed with {pattern.error_code}: {pattern.symptom}"
    return Memory(
        id=pattern.id,
        tenant_id=pattern.tenant_id,
        kind=Kind.FAILURE,
        title=cut(what, _TITLE),
        text="\n".join(_sentences(pattern, what)),
        created_at=pattern.first_at,
        project_id=_only(pattern.projects),
        step=_only(pattern.steps),
        template_id=_only(pattern.templates),
        template_version=_only(pattern.versions) if _only(pattern.templates) else None,
        outcome="failed",
        facts={
            "fingerprint": pattern.fingerprint,
            "error_code": pattern.error_code,
            "cause": cause_of(pattern.error_code).value,
            "job_type": pattern.job_type,
            "symptom": pattern.symptom,
            "steps": list(pattern.steps),
            "templates": list(pattern.templates),
            "versions": list(pattern.versions),
            "projects": len(pattern.projects),
            "jobs": pattern.jobs,
            "runs": pattern.runs,
            "first_seen": pattern.first_at.isoformat(),
            "last_seen": pattern.last_at.isoformat(),
            "resolutions": [_resolution_fact(one) for one in pattern.resolutions[:_RESOLUTIONS]],
        },
        changed_at=now,
    )


def _sentences(pattern: FailurePattern, what: str) -> Iterator[str]:
    """No numbers: a text that changes with each failure would be embedded each time."""
    yield f"{what}."
    yield f"Cause: {cause_of(pattern.error_code).value}."
    yield f"In step {_some(pattern.steps)} of {_some(pattern.templates)}."
    worked = [one for one in pattern.resolutions if one.worked]
    if worked and worked[0].is_confirmed:
        yield f"What helped: {worked[0].words}."
    elif worked:
        yield f"What may have helped: {worked[0].words}."


def _resolution_fact(one: Resolution) -> dict[str, Any]:
    return {
        "digest": one.digest,
        "words": one.words,
        "changes": one.difference.to_facts(),
        "status": "confirmed" if one.is_confirmed else "candidate",
        "tried": one.tried,
        "worked": one.worked,
        "last_at": one.last_at.isoformat(),
    }


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3])


def _only(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None
