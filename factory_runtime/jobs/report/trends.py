"""trend-analysis: the trends of all sources that are there, within a limit of memory."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, BinaryIO, cast

from factory_runtime.domain.artifact import (
    ArtifactDraft,
    ArtifactKind,
    ArtifactType,
    Classification,
)
from factory_runtime.domain.errors import (
    CorruptArtifactError,
    NotFoundError,
    PermanentError,
    UnreadableDataError,
)
from factory_runtime.domain.ids import canonical_json
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import JobResult, RenderOrder
from factory_runtime.domain.template import JobTypeFacts, RetryPolicy
from factory_runtime.jobs.report.bounds import BYTES_A_VALUE, MEMORY, UNREADABLE
from factory_runtime.ports import FileTree, GitHost, JobContext

_MIB = 1024 * 1024
_MODULE = "factory_runtime.jobs.report.measure"
_DIED_OF_MEMORY = frozenset({MEMORY, -signal.SIGKILL, -signal.SIGSEGV, -signal.SIGABRT})
"""How a process ends that has too little of it: by itself, by the kernel, or in a library."""

ASKED_SCHEMA: Mapping[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string", "minLength": 1}},
    },
    "minItems": 1,
    "description": "the sources that were asked for, in order",
}
SOURCES_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "description": "outputs of data-fetch, by name; those that failed are not there",
    "additionalProperties": {
        "type": "object",
        "required": ["digest", "format", "rows", "columns"],
        "properties": {
            "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "format": {"type": "string", "enum": ["csv", "json"]},
            "rows": {"type": "integer", "minimum": 0},
            "columns": {"type": "integer", "minimum": 0},
        },
    },
}
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["asked", "sources"],
    "additionalProperties": False,
    "properties": {
        "asked": ASKED_SCHEMA,
        "sources": SOURCES_SCHEMA,
        "memory_limit_mib": {
            "type": "integer",
            "minimum": 1,
            "maximum": 65_536,
            "description": "for the data of one source",
        },
    },
}


@dataclass(frozen=True, slots=True)
class Fetched:
    """One source as data-fetch left it."""

    name: str
    digest: str
    format: str
    rows: int
    columns: int

    def first_every(self, limit_mib: int) -> int:
        """How many rows one has to stand for, as it is estimated before anything is read."""
        estimate = self.rows * max(1, self.columns) * BYTES_A_VALUE
        return max(1, -(-estimate // (limit_mib * _MIB)))


class TrendAnalysis:
    """Works the sources out one after the other, each in a process of its own.

    A checkpoint is saved after each. A source that would not fit into the limit is sampled: of
    every so many rows, the first; and so it is where the estimate was wrong and the process died.

    Outputs: trends (digest of trends.json), drawable (names of sources with numbers), missing
    (names), sampled (one row in how many, by name), classification.
    """

    facts = JobTypeFacts(
        name="trend-analysis",
        version="1",
        with_schema=_SCHEMA,
        source_keys=(),
        retry=RetryPolicy(3, (timedelta(seconds=1), timedelta(seconds=4)), 0.3),
        timeout=timedelta(minutes=30),
    )

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        del with_
        return None

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del tree
        limit = int(with_.get("memory_limit_mib", 256))
        names = [str(one["name"]) for one in with_["asked"]]
        sources: Mapping[str, Mapping[str, Any]] = with_["sources"]
        there = [_fetched(name, sources[name]) for name in names if name in sources]
        measured = _measure_all(context, there, limit)
        if all("failed" in one for one in measured.values()):
            why = "".join(f"; {name} {one['failed']}" for name, one in measured.items())
            raise PermanentError(
                f"none of the sources is there: {', '.join(names)}{why}",
                hint="where nothing else is said, their jobs tell why; redrive one of them",
            )
        return _result(context, names, sources, measured)

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        del host, effect  # it has none
        return None


def _fetched(name: str, facts: Mapping[str, Any]) -> Fetched:
    return Fetched(name, facts["digest"], facts["format"], facts["rows"], facts["columns"])


def _measure_all(
    context: JobContext, sources: Iterable[Fetched], limit: int
) -> dict[str, dict[str, Any]]:
    """What was found, by source: by an earlier attempt, where it has got that far."""
    saved: Mapping[str, Any] = context.checkpoint() or {}
    all_ = list(sources)
    known = {one.name: saved[one.name] for one in all_ if _is_of(saved.get(one.name), one, limit)}
    if known:
        context.log(f"goes on behind {', '.join(known)}")
    for source in all_:
        if source.name in known:
            continue
        context.progress(len(known) / len(all_), f"works out {source.name}")
        found = _measure(context, source, limit)
        known[source.name] = {**found, "digest": source.digest, "limit": limit}
        context.save_checkpoint(known)
        context.safe_point()
    return {one.name: known[one.name] for one in all_}


def _is_of(saved: Any, source: Fetched, limit: int) -> bool:
    """Whether it was worked out of the very same: a redrive may have changed what there is.

    What failed is tried again: nobody would redrive it else.
    """
    if saved is None or "failed" in saved:
        return False
    return (saved["digest"], saved["limit"]) == (source.digest, limit)


def _measure(context: JobContext, source: Fetched, limit: int) -> dict[str, Any]:
    """What was found in one source, or why nothing was: the others are none the worse for it."""
    every = source.first_every(limit)
    while True:
        try:
            found = _run_child(context, source, every, limit)
        except (UnreadableDataError, NotFoundError, CorruptArtifactError) as error:
            return _left_out(context, source, every, f"cannot be read: {error}")
        if found is not None:
            if every > 1:
                context.log(f"sampled 1 of {every} rows of {source.name}")
            return {**found, "every": every, "rows": source.rows}
        if every > max(1, source.rows):
            why = f"does not fit into {limit} MiB, not one row: raise memory_limit_mib"
            return _left_out(context, source, every, why)
        every *= 2
        context.log(f"{source.name} did not fit into {limit} MiB: takes 1 of {every} rows")


def _left_out(context: JobContext, source: Fetched, every: int, why: str) -> dict[str, Any]:
    context.log(f"{source.name} {why}")
    return {"failed": why, "every": every, "rows": source.rows}


def _run_child(
    context: JobContext, source: Fetched, every: int, limit: int
) -> dict[str, Any] | None:
    """What the process found; None where its memory was too little."""
    with tempfile.TemporaryFile() as body, tempfile.TemporaryFile() as said:
        with context.storage.open(context.facts.tenant_id, source.digest) as stored:
            shutil.copyfileobj(stored, body)
        body.seek(0)
        child = context.start_child(
            [sys.executable, "-P", "-s", "-m", _MODULE, source.format, str(every), str(limit)],
            cwd=None,
            env=_environment(),
            stdin=body,
            stdout=said,
            stderr=subprocess.PIPE,
        )
        _, complaint = child.communicate()
        context.check_cancelled()  # it may have been killed for that
        if child.returncode == 0:
            said.seek(0)
            return cast("dict[str, Any]", json.load(cast(BinaryIO, said)))
    if child.returncode in _DIED_OF_MEMORY:
        return None
    told = complaint.decode(errors="replace")[-1000:]
    if child.returncode == UNREADABLE:
        raise UnreadableDataError(told)
    raise UnreadableDataError(f"the process that reads it ended with {child.returncode}: {told}")


def _environment() -> dict[str, str]:
    """Nothing of ours that the process has no use for."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LANG") if name in os.environ}
    # Each thread of a library takes address space, and there is nothing to share between them.
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _result(
    context: JobContext,
    names: list[str],
    sources: Mapping[str, Mapping[str, Any]],
    measured: Mapping[str, Mapping[str, Any]],
) -> JobResult:
    missing = [name for name in names if name not in measured or "failed" in measured[name]]
    sampled = {
        name: one["every"]
        for name, one in measured.items()
        if one["every"] > 1 and "failed" not in one
    }
    body = canonical_json(measured).encode()
    stored = context.storage.put(context.facts.tenant_id, body)
    classification = strictest(sources.values())
    draft = ArtifactDraft(
        ArtifactKind.FILE,
        "trends.json",
        stored.uri,
        "application/json",
        size=stored.size,
        sha256=stored.digest,
        classification=classification,
        type=ArtifactType.ANALYSIS_RESULT,
    )
    notes = [f"sampled 1 of {every} rows of {name}" for name, every in sampled.items()]
    notes += [f"without {name}" for name in missing]
    return JobResult(
        outputs={
            "trends": stored.digest,
            "drawable": [name for name, one in measured.items() if one.get("trends")],
            "missing": missing,
            "sampled": sampled,
            "classification": classification.value,
        },
        artifacts=(draft,),
        degraded="; ".join(notes) or None,
    )


def strictest(sources: Iterable[Mapping[str, Any]]) -> Classification:
    """What is made of several sources is for nobody that may not see one of them."""
    order = list(Classification)
    found = [Classification(one.get("classification", "internal")) for one in sources]
    return max(found, key=order.index, default=Classification.INTERNAL)
