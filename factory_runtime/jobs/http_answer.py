"""What an answer means to an http-request: done, come back later, or refused; and what is kept of it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from factory_runtime.domain.artifact import ArtifactDraft, ArtifactKind, Classification
from factory_runtime.domain.errors import HostBusyError, HostRejectedError
from factory_runtime.domain.json_values import find_bad_value
from factory_runtime.domain.redaction import redact_text
from factory_runtime.domain.result import JobResult
from factory_runtime.domain.secrets import Secrets
from factory_runtime.jobs.outside_http import Answered
from factory_runtime.jobs.report.download import TRY_AGAIN, retry_after
from factory_runtime.jobs.report.locations import shown
from factory_runtime.ports import JobContext

TEXT_LENGTH = 16 * 1024
READ_BYTES = 6 * TEXT_LENGTH
"""More than the text that is kept: a secret that the cut would halve is found whole before."""

_MIB = 1024 * 1024
_LINE_LENGTH = 200
_HEADER_LENGTH = 2000
_KEPT_HEADERS = ("content-type", "etag", "last-modified", "link", "location", "x-request-id")
_MEDIA_TYPE = re.compile(r"[a-z0-9][\w.+-]{0,60}/[a-z0-9][\w.+-]{0,60}", re.ASCII)
_UNKNOWN_TYPE = "application/octet-stream"


def check_status(
    answer: Answered,
    expected: Collection[int],
    what: str,
    now: datetime,
    secrets: Secrets,
    *,
    came_before: bool,
) -> None:
    """Nothing where the answer is one that was expected.

    Args:
        answer: whatever came.
        expected: statuses; empty is every one of success.
        what: was asked, for people.
        now: for a ``Retry-After`` that names a time.
        secrets: that its words may hold.
        came_before: whether an earlier request with the same key may still be at work: then a 409
            says that it is, as the draft of the header has it.

    Raises:
        HostBusyError: it is to be asked again later.
        HostRejectedError: it would answer the same again.
    """
    status = answer.status
    if status in expected or (not expected and 200 <= status < 300):
        return
    line = _first_line(answer, secrets)
    message = f"{what} answers {status}" + (f": {line}" if line else "")
    if status >= 500 or status in TRY_AGAIN or (status == 409 and came_before):
        asked = answer.headers.get("retry-after", "")
        raise HostBusyError(message, retry_after=retry_after(asked, now))
    hint = "it will again: look at the request, or at who may send it"
    if "location" in answer.headers and 300 <= status < 400:
        hint = f"redirects are not followed: it leads to {shown(answer.headers['location'])}"
    raise HostRejectedError(message, hint=hint)


def result_of(
    context: JobContext,
    with_: Mapping[str, Any],
    answer: Answered,
    secrets: Secrets,
    *,
    found: bool = False,
) -> JobResult:
    """What the job gives of an answer; ``found`` is that nothing was sent, as it stood already.

    Raises:
        SecretLeakError: a body that is to be saved holds a secret.
    """
    text, missing = _text_in(answer, secrets)
    outputs: dict[str, Any] = {
        "status": answer.status,
        "found": found,
        "headers": _kept_headers(answer),
        "text": None if text is None else text[:TEXT_LENGTH],
        "json": None,
        "truncated": text is not None and len(text) > TEXT_LENGTH,
        "digest": None,
    }
    if text is not None and not outputs["truncated"] and _is_json(answer):
        outputs["json"], unread = _json_in(answer.body)
        missing += unread
    artifacts: tuple[ArtifactDraft, ...] = ()
    if "save" in with_:
        artifacts, unsaved = _save(context, with_, answer)
        outputs["digest"] = artifacts[0].sha256 if artifacts else None
        missing += unsaved
    return JobResult(outputs, artifacts, degraded="; ".join(missing) or None)


def most_bytes(with_: Mapping[str, Any]) -> int:
    """What a body that is saved may have."""
    return with_.get("max_mib", 16) * _MIB


def _save(
    context: JobContext, with_: Mapping[str, Any], answer: Answered
) -> tuple[tuple[ArtifactDraft, ...], list[str]]:
    most = most_bytes(with_)
    if len(answer.body) > most:
        # No failure: what the request has done stands, and would be done once more.
        return (), [f"its answer has more than {most} bytes, and was not saved: raise max_mib"]
    stored = context.storage.put(context.facts.tenant_id, answer.body)
    draft = ArtifactDraft(
        ArtifactKind.FILE,
        with_["save"],
        stored.uri,
        _media_type(answer),
        size=stored.size,
        sha256=stored.digest,
        classification=Classification(with_.get("classification", Classification.INTERNAL)),
    )
    return (draft,), []


def _kept_headers(answer: Answered) -> dict[str, str]:
    said = answer.headers
    return {name: said[name][:_HEADER_LENGTH] for name in _KEPT_HEADERS if name in said}


def _text_in(answer: Answered, secrets: Secrets) -> tuple[str | None, list[str]]:
    """Its words, more of them than are kept; none where they are packed."""
    packing = answer.headers.get("content-encoding", "identity")
    if packing != "identity":
        # Not asked for; unpacked, a few bytes may be very many.
        return None, [f"its answer is packed, {packing[:20]!r}, and was not unpacked"]
    return secrets.hide_in(_text_of(answer.body[:READ_BYTES])), []


def _first_line(answer: Answered, secrets: Secrets) -> str:
    text = secrets.hide_in(_text_of(answer.body[:READ_BYTES]))
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    # Without what could move a terminal's cursor.
    return repr(redact_text(line[: 4 * _LINE_LENGTH]))[1:-1][:_LINE_LENGTH]


def _text_of(body: bytes) -> str:
    return body.decode("utf-8", "replace").replace("\0", "\ufffd")  # no database takes a NUL


def _json_in(body: bytes) -> tuple[Any, list[str]]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None, ["its answer calls itself JSON and is none"]
    if (bad := find_bad_value(value)) is not None:
        return None, [f"the JSON of its answer cannot be kept: {bad[1]}"]
    return value, []


def _is_json(answer: Answered) -> bool:
    kind = _media_type(answer)
    return kind == "application/json" or kind.endswith("+json")


def _media_type(answer: Answered) -> str:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind if _MEDIA_TYPE.fullmatch(kind) else _UNKNOWN_TYPE
