"""Make memories: what a run or a template tells, as text that a search by meaning finds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, cast

from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.ids import canonical_json, digest_of
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.memory import Collection, Memory
from factory_runtime.domain.records import TemplateRecord
from factory_runtime.domain.redaction import redact, redact_text
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import Embedder

# The model reads 256 tokens, about 1,000 characters: what matters most comes first.
INPUT_LENGTH = 300
INPUTS_LENGTH = 700
ERROR_LENGTH = 300
DESCRIPTION_LENGTH = 500
CLAUSE_LENGTH = 80
URI_LENGTH = 500
INPUTS_SHOWN = 24
NAMES_SHOWN = 8
READ_LENGTH = 64 * 1024
FACTS_SHOWN = 100
FACTS_INPUTS_BYTES = 4096
EXTERNAL_IDS = ("build_id", "repo_id", "pipeline_id", "work_item_id")


def run_memory_id(tenant_id: str, run_id: str) -> str:
    """The id of what a run taught: one memory, however often it is made."""
    return f"mem-{digest_of(['run', tenant_id, run_id])[:32]}"


def template_memory_id(tenant_id: str, template_id: str, version: str) -> str:
    """The id of what a template version is for."""
    return f"mem-{digest_of(['template', tenant_id, template_id, version])[:32]}"


def memory_of_run(
    run: Run,
    jobs: Sequence[Job],
    artifacts: Sequence[Artifact],
    template_title: str,
    template_description: str,
    inputs: Mapping[str, Any],
    at: datetime,
) -> Memory:
    """What an ended run taught, without secrets. Made again, it is the same memory.

    ``inputs`` are validated with defaults filled in; ``at`` becomes its ``created_at``.
    """
    clean: dict[str, Any] = redact(inputs)
    title, purpose = _line(template_title), _first_clause(template_description)
    outcome = run.status.value.lower()
    error = _line(run.error or "", ERROR_LENGTH)
    asked = _cut("; ".join(_spoken(clean)), INPUTS_LENGTH)
    # Only what tells this run from others: what all runs of a template say makes them all alike.
    sentences = (
        f"{title}: {purpose}." if purpose else f"{title}.",
        f"Asked for: {asked}." if asked else "",
        _made(artifacts, asked),
        "" if run.status is RunStatus.SUCCEEDED else _ended(outcome, error),
        *_failures(jobs),
    )
    return Memory(
        id=run_memory_id(run.tenant_id, run.id),
        tenant_id=run.tenant_id,
        collection=Collection.RUNS,
        title=_cut(f"{title}: {asked}" if asked else title, 120),
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
        facts=_facts(run, jobs, artifacts, clean, error),
    )


def memory_of_template(record: TemplateRecord, at: datetime) -> Memory:
    """What a template version is for and what it asks, without secrets."""
    title, purpose = _line(record.title), _line(record.description, DESCRIPTION_LENGTH)
    properties = _mapping(record.inputs_schema.get("properties"))
    asks = [_input_asked(name, _mapping(schema)) for name, schema in properties.items()]
    asked = _cut("; ".join(asks[:INPUTS_SHOWN]), INPUTS_LENGTH)
    return Memory(
        id=template_memory_id(record.tenant_id, record.template_id, record.version),
        tenant_id=record.tenant_id,
        collection=Collection.TEMPLATES,
        title=_cut(f"{title} ({record.template_id} {record.version})", 120),
        text=f"{title}. {purpose}" + (f"\nAsks for: {asked}" if asked else ""),
        created_at=at,
        template_id=record.template_id,
        template_version=record.version,
        facts={"digest": record.digest, "inputs": list(properties)[:FACTS_SHOWN]},
    )


def embed_missing(embedder: Embedder, memories: Sequence[Memory]) -> list[Memory]:
    """The memories in their order, each with a vector of this embedder.

    Those that have one keep it; the others are embedded together.

    Raises:
        MemoryUnavailableError: the model cannot be used.
    """
    mark = (embedder.model, embedder.version)
    missing = [
        number
        for number, memory in enumerate(memories)
        if memory.vector is None or (memory.embedding_model, memory.embedding_version) != mark
    ]
    embedded = list(memories)
    if missing:
        vectors = embedder.embed([memories[number].text for number in missing])
        for number, vector in zip(missing, vectors, strict=True):
            embedded[number] = replace(
                memories[number],
                vector=vector,
                embedding_model=embedder.model,
                embedding_version=embedder.version,
            )
    return embedded


# --- sentences


def _first_clause(description: str) -> str:
    return _cut(re.split(r"[.:;,]", _line(description, DESCRIPTION_LENGTH))[0], CLAUSE_LENGTH)


def _made(artifacts: Sequence[Artifact], said: str) -> str:
    """The repositories, where the inputs did not name them; pipelines and docs every run has."""
    names = [_line(a.name, 60) for a in artifacts if a.kind is ArtifactKind.REPOSITORY]
    new = [name for name in dict.fromkeys(names) if name not in said]
    return f"Made: {', '.join(new[:NAMES_SHOWN])}." if new else ""


def _ended(outcome: str, error: str) -> str:
    return f"{outcome.capitalize()}: {error}" if error else f"{outcome.capitalize()}."


def _failures(jobs: Sequence[Job]) -> Iterator[str]:
    failed = (job for job in jobs if job.status is JobStatus.FAILED)
    for job in islice(failed, NAMES_SHOWN):
        why = _line(job.error or "no reason given", ERROR_LENGTH)
        yield f"Step {job.step} ({job.type}) failed in attempt {job.attempt}: {why}"


def _spoken(inputs: Mapping[str, Any]) -> list[str]:
    """``service name: orders``, one an input; what is empty or switched off says nothing."""
    spoken = [
        f"{_line(_words(path), 60)}: {_line(value, INPUT_LENGTH)}"
        for path, value in islice(_leaves(inputs), INPUTS_SHOWN)
    ]
    return [text for text in spoken if not text.endswith(": ")]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in cast(Mapping[str, Any], value).items():
            yield from _leaves(inner, f"{path} {key}".strip())
    elif isinstance(value, list):
        items = cast(list[Any], value)
        simple = [str(item) for item in items if isinstance(item, str | int | float)]
        if simple:
            yield path, ", ".join(simple)
        for item in items:
            if isinstance(item, Mapping | list):
                yield from _leaves(item, path)
    elif value is not None and value is not False and value != "":
        yield path, "yes" if value is True else str(value)


def _input_asked(name: str, schema: Mapping[str, Any]) -> str:
    said = schema.get("description") or schema.get("title") or ""
    choices = schema.get("enum")
    text = f"{_words(name)}: {said}" if said else _words(name)
    if isinstance(choices, list):
        text += f" ({', '.join(str(choice) for choice in cast(list[Any], choices)[:NAMES_SHOWN])})"
    return _line(text, 120)


def _words(name: str) -> str:
    """``service_name`` and ``serviceName`` as people say them."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[_-]+", " ", name).lower()


def _line(text: str, length: int = 120) -> str:
    """One line without secrets, control characters and lone surrogates, cut to a length."""
    readable = text[:READ_LENGTH].encode("utf-8", "replace").decode("utf-8")
    printable = "".join(c if c.isprintable() else " " for c in redact_text(readable))
    return _cut(" ".join(printable.split()), length)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


# --- facts


def _facts(
    run: Run,
    jobs: Sequence[Job],
    artifacts: Sequence[Artifact],
    inputs: Mapping[str, Any],
    error: str,
) -> dict[str, Any]:
    duration = _duration(run)
    small = len(canonical_json(inputs).encode("utf-8", "replace")) <= FACTS_INPUTS_BYTES
    return {
        "status": run.status.value,
        "cycle": run.cycle,
        "external_ids": {name: id_ for name in EXTERNAL_IDS if (id_ := getattr(run, name))},
        "duration_seconds": duration.total_seconds() if duration is not None else None,
        "error": error or None,
        "inputs": inputs if small else {},
        "jobs": [_job_fact(job) for job in jobs[:FACTS_SHOWN]],
        "artifacts": [
            {"id": a.id, "kind": a.kind.value, "name": _line(a.name), "step": a.step}
            for a in artifacts[:FACTS_SHOWN]
        ],
        "repositories": [
            _line(a.uri, URI_LENGTH) for a in artifacts if a.kind is ArtifactKind.REPOSITORY
        ][:NAMES_SHOWN],
    }


def _job_fact(job: Job) -> dict[str, Any]:
    return {
        "step": job.step,
        "type": job.type,
        "status": job.status.value,
        "attempts": job.attempt,
        "cached": job.cached,
        "error": _line(job.error, ERROR_LENGTH) if job.error else None,
    }


def _duration(run: Run) -> timedelta | None:
    if run.started_at is None or run.completed_at is None:
        return None
    return run.completed_at - run.started_at


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}
