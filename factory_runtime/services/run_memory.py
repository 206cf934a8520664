"""What an ended run taught, as a memory: text that a search by meaning finds, and the facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.ids import canonical_json, digest_of
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.memory import Kind, Memory
from factory_runtime.domain.memory_text import clean, cut, one_line, secrets_in, spoken
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.domain.secrets import Secrets
from factory_runtime.services.run_lessons import NO_LESSONS, Lessons

# The model reads 256 tokens, about 1,000 characters: what matters most comes first.
_INPUT = 300
_INPUTS = 700
_ERROR = 300
_DESCRIPTION = 500
_CLAUSE = 80
_TITLE = 120
_URI = 500
_INPUTS_SHOWN = 24
_NAMES_SHOWN = 8
_FACTS_SHOWN = 100
_FACTS_INPUTS_BYTES = 4096
_EXTERNAL_IDS = ("build_id", "repo_id", "pipeline_id", "work_item_id")


def run_memory_id(tenant_id: str, run_id: str) -> str:
    """The id of what a run taught: one memory, however often it is made."""
    return f"mem-{digest_of(['run', tenant_id, run_id])[:32]}"


def memory_of_run(
    run: Run,
    jobs: Sequence[Job],
    artifacts: Sequence[Artifact],
    template_title: str,
    template_description: str,
    inputs: Mapping[str, Any],
    at: datetime,
    lessons: Lessons = NO_LESSONS,
) -> Memory:
    """What an ended run taught, without secrets. Made again, it is the same memory.

    ``inputs`` are validated with defaults filled in; ``at`` becomes its ``created_at``.
    """
    secrets = secrets_in(inputs)
    given = clean(inputs, secrets)
    title, asked = one_line(template_title), _asked(given)
    outcome = run.status.value.lower()
    error = one_line(run.error or "", _ERROR, secrets)
    # Only what tells this run from others: what all runs of a template say makes them all alike.
    sentences = (
        *_wanted(title, template_description, asked),
        _made(artifacts, asked, secrets),
        "" if run.status is RunStatus.SUCCEEDED else _ended(outcome, error),
        *_failures(jobs, secrets),
        *lessons.sentences,
    )
    return Memory(
        id=run_memory_id(run.tenant_id, run.id),
        tenant_id=run.tenant_id,
        kind=Kind.RUN,
        title=cut(f"{title}: {asked}" if asked else title, _TITLE),
        text="\n".join(sentence for sentence in sentences if sentence),
        created_at=at,
        project_id=run.project_id,
        module_id=run.module_id,
        run_id=run.id,
        trace_id=run.trace_id,
        correlation_id=run.correlation_id,
        template_id=run.template_id,
        template_version=run.template_version,
        outcome=outcome,
        facts={
            **_facts(run, jobs, artifacts, secrets),
            "error": error or None,
            "inputs": given if _is_small(given) else {},
            "decisions": lessons.decisions,
            "learnings": lessons.learnings,
        },
    )


def words_of_request(
    template_title: str, template_description: str, inputs: Mapping[str, Any]
) -> str:
    """What a run is asked for, in the words that its memory will begin with; without secrets."""
    asked = _asked(clean(inputs, secrets_in(inputs)))
    return "\n".join(_wanted(one_line(template_title), template_description, asked))


# --- sentences


def _asked(given: Mapping[str, Any]) -> str:
    return cut("; ".join(spoken(given, _INPUT, _INPUTS_SHOWN)), _INPUTS)


def _wanted(title: str, description: str, asked: str) -> Iterator[str]:
    purpose = _first_clause(description)
    yield f"{title}: {purpose}." if purpose else f"{title}."
    if asked:
        yield f"Asked for: {asked}."


def _first_clause(description: str) -> str:
    line = one_line(description, _DESCRIPTION)
    ends = [line.find(mark) for mark in ".:;," if mark in line]
    return cut(line[: min(ends)] if ends else line, _CLAUSE)


def _made(artifacts: Sequence[Artifact], said: str, secrets: Secrets) -> str:
    """The repositories, where the inputs did not name them; pipelines and docs every run has."""
    repositories = (a for a in artifacts if a.kind is ArtifactKind.REPOSITORY)
    names = dict.fromkeys(one_line(a.name, 60, secrets) for a in islice(repositories, _FACTS_SHOWN))
    new = [name for name in names if name not in said]
    return f"Made: {', '.join(new[:_NAMES_SHOWN])}." if new else ""


def _ended(outcome: str, error: str) -> str:
    return f"{outcome.capitalize()}: {error}" if error else f"{outcome.capitalize()}."


def _failures(jobs: Sequence[Job], secrets: Secrets) -> Iterator[str]:
    failed = (job for job in jobs if job.status is JobStatus.FAILED)
    for job in islice(failed, _NAMES_SHOWN):
        why = one_line(job.error or "no reason given", _ERROR, secrets)
        step = one_line(job.step, secrets=secrets)
        yield f"Step {step} ({job.type}) failed in attempt {job.attempt}: {why}"


# --- facts


def _facts(
    run: Run, jobs: Sequence[Job], artifacts: Sequence[Artifact], secrets: Secrets
) -> dict[str, Any]:
    duration = _duration(run)
    repositories = (a for a in artifacts if a.kind is ArtifactKind.REPOSITORY)
    return {
        "status": run.status.value,
        "cycle": run.cycle,
        "external_ids": {
            name: one_line(id_, _URI, secrets)
            for name in _EXTERNAL_IDS
            if (id_ := getattr(run, name))
        },
        "duration_seconds": duration.total_seconds() if duration is not None else None,
        "jobs": [_job_fact(job, secrets) for job in jobs[:_FACTS_SHOWN]],
        "job_count": len(jobs),
        "artifacts": [
            {
                "id": a.id,
                "kind": a.kind.value,
                "name": one_line(a.name, secrets=secrets),
                "step": one_line(a.step, secrets=secrets),
            }
            for a in artifacts[:_FACTS_SHOWN]
        ],
        "repositories": [
            one_line(a.uri, _URI, secrets) for a in islice(repositories, _NAMES_SHOWN)
        ],
    }


def _job_fact(job: Job, secrets: Secrets) -> dict[str, Any]:
    return {
        "step": one_line(job.step, secrets=secrets),
        "type": job.type,
        "status": job.status.value,
        "attempts": job.attempt,
        "cached": job.cached,
        "error": one_line(job.error, _ERROR, secrets) if job.error else None,
        **({"less": one_line(job.degraded, _ERROR, secrets)} if job.degraded else {}),
    }


def _is_small(inputs: Mapping[str, Any]) -> bool:
    return len(canonical_json(inputs).encode("utf-8", "replace")) <= _FACTS_INPUTS_BYTES


def _duration(run: Run) -> timedelta | None:
    if run.started_at is None or run.completed_at is None:
        return None
    return run.completed_at - run.started_at
