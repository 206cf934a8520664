"""The log of a build as an artifact: a bounded copy, and its end for people who read no more."""

from __future__ import annotations

from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import BinaryIO

from factory_runtime.domain.artifact import ArtifactDraft, ArtifactKind
from factory_runtime.ports import Build, Delivery, JobContext

MOST = 64 * 1024 * 1024
"""Bytes of a log that are kept."""

_END = 8 * 1024
_LINES = 20


def keep_log(
    context: JobContext, delivery: Delivery, build: Build, *, most: int = MOST
) -> tuple[ArtifactDraft, str]:
    """Bring the log of a build into artifact storage; what to record of it, and its last lines."""
    facts = context.facts
    pieces = delivery.read_log(facts.tenant_id, facts.project_id, build.id)
    with TemporaryFile() as body:
        cut = _copy(context, pieces, body, most)
        end = _end_of(body)
        if cut:
            body.write(f"\n[cut off here: a log is kept up to {most} bytes]\n".encode())
            context.log(f"the log of build {build.number} is longer than {most} bytes: cut off")
        body.seek(0)
        stored = context.storage.put(facts.tenant_id, body)
    draft = ArtifactDraft(
        ArtifactKind.LOG,
        f"build-{build.id}.log",
        stored.uri,
        "text/plain",
        size=stored.size,
        sha256=stored.digest,
        metadata={"build_id": build.id, "url": build.url, "cut": cut},
    )
    return draft, end


def _copy(context: JobContext, pieces: Iterator[bytes], body: BinaryIO, most: int) -> bool:
    """Whether there was more than may be kept."""
    room = most
    for piece in pieces:
        context.check_cancelled()
        body.write(piece[:room])
        if len(piece) > room:
            return True
        room -= len(piece)
    return False


def _end_of(body: BinaryIO) -> str:
    size = body.tell()
    body.seek(max(0, size - _END))
    lines = body.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-_LINES:])
