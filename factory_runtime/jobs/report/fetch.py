"""data-fetch: the rows of one source, or the last good copy of them."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from factory_runtime.domain.artifact import (
    Artifact,
    ArtifactDraft,
    ArtifactKind,
    ArtifactType,
    Classification,
)
from factory_runtime.domain.errors import (
    DataRefusedError,
    HostBusyError,
    TransientError,
    UnreadableDataError,
)
from factory_runtime.domain.ids import SLUG
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import JobResult, Layer, RenderOrder
from factory_runtime.domain.template import JobTypeFacts, RetryPolicy
from factory_runtime.jobs.report.locations import SAMPLE, open_file, shown
from factory_runtime.jobs.report.rows import Format, shape_of
from factory_runtime.ports import FileTree, GitHost, JobContext
from factory_runtime.settings import Settings

_MIB = 1024 * 1024
_CHUNK = 64 * 1024
_MEDIA_TYPES: Mapping[Format, str] = {"csv": "text/csv", "json": "application/json"}
_ANY_TEXT = frozenset({"", "text/plain", "application/octet-stream", "binary/octet-stream"})
_CSV_TYPES = frozenset({"text/csv", "application/csv", "text/tab-separated-values"})
_JSON_TYPES = frozenset(
    {"application/json", "text/json", "application/x-ndjson", "application/jsonl"}
)

CLASSIFICATION_SCHEMA: Mapping[str, Any] = {
    "type": "string",
    "enum": [one.value for one in Classification],
    "description": "who may see it",
}
NAME_SCHEMA: Mapping[str, Any] = {
    "type": "string",
    "pattern": f"^{SLUG.pattern}(?!\\n)$",
    "description": "of the source: lower case, digits, hyphens",
}
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["name", "location"],
    "additionalProperties": False,
    "properties": {
        "name": NAME_SCHEMA,
        "location": {
            "type": "string",
            "minLength": 1,
            "maxLength": 2000,
            "description": "https://…, http://…, file:///…, /a/path or sample:FILE",
        },
        "format": {"type": "string", "enum": ["auto", "csv", "json"]},
        "source": {"type": "string", "description": "the folder of the samples"},
        "max_mib": {"type": "integer", "minimum": 1, "maximum": 1024},
        "seconds": {
            "type": "number",
            "minimum": 0.1,
            "maximum": 3600,
            "description": "of one attempt; less than the step's timeout",
        },
        "classification": CLASSIFICATION_SCHEMA,
    },
}


@dataclass(frozen=True, slots=True)
class Arrived:
    """What came, beside the body.

    Attributes:
        as_of: the time that the data are of; None for samples, which are of no time.
        content_type: what the server called it; empty where none did.
    """

    as_of: datetime | None = None
    content_type: str = ""


class DataFetch:
    """Fetches one source into artifact storage.

    On the last attempt, where the source does not answer, the last good copy that a run of this
    project left of the same location is given instead, and called stale. What the source refuses,
    or what may not be asked at all, is not replaced by a copy.

    Outputs: name, digest, size, format, rows, columns (a count), location, fetched_at (or null),
    stale, classification.
    """

    facts = JobTypeFacts(
        name="data-fetch",
        version="1",
        with_schema=_SCHEMA,
        retry=RetryPolicy(3, (timedelta(seconds=1), timedelta(seconds=4)), 0.3),
        timeout=timedelta(minutes=5),
    )

    def __init__(self, settings: Callable[[], Settings] = Settings) -> None:
        """``settings`` say where data may come from; they are asked for at each attempt."""
        self._settings = settings

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        if not with_["location"].startswith(SAMPLE):
            return None
        if "source" not in with_:
            raise DataRefusedError("there is no source that samples lie in", hint="name it in with")
        return RenderOrder((Layer(with_["source"], {}),))

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        try:
            return self._fetch(context, with_, tree)
        except TransientError as error:
            if not context.facts.last_attempt:
                raise
            copy = _find_copy(context, with_)
            if copy is None:
                raise
            context.log(f"{with_['name']} is served from a copy: {error}")
            return _stale(with_, copy)

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        del host, effect  # it has none
        return None

    def _fetch(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        with tempfile.TemporaryFile() as body:
            arrived = self._load(context, with_, tree, body)
            format_ = _format_of(with_, arrived.content_type)
            body.seek(0)
            try:
                shape = shape_of(body, format_, context.check_cancelled)
            except UnreadableDataError as error:
                if not _is_web(with_["location"]):
                    raise
                # What answers in place of a service that is down is no rows either.
                raise HostBusyError(f"what {shown(with_['location'])} sends: {error}") from error
            body.seek(0)
            stored = context.storage.put(context.facts.tenant_id, body)
        facts: dict[str, Any] = {
            "format": format_,
            "rows": shape.rows,
            "columns": len(shape.columns),
            "fetched_at": None if arrived.as_of is None else arrived.as_of.isoformat(),
        }
        context.log(f"fetched {shape.rows} rows from {shown(with_['location'])}")
        return _result(with_, stored.digest, stored.size, facts, stale=False)

    def _load(
        self,
        context: JobContext,
        with_: Mapping[str, Any],
        tree: FileTree | None,
        out: BinaryIO,
    ) -> Arrived:
        """Write the body to ``out``, wherever it comes from."""
        location, settings = str(with_["location"]), self._settings()
        size = with_.get("max_mib", 64) * _MIB
        if location.startswith(SAMPLE):
            out.write(_sample(tree, location.removeprefix(SAMPLE)))
            return Arrived()
        if _is_web(location):
            # Imported here: the client is of no use to those who only ask what types there are.
            from factory_runtime.jobs.report.download import Limits, download

            limits = Limits(settings.data_hosts, size, timedelta(seconds=with_.get("seconds", 30)))
            came = download(location, out, limits, context.check_cancelled, context.now())
            return Arrived(context.now(), came.content_type)
        with open_file(location, settings.source_roots) as (body, facts):
            _copy(body, out, size, location, context.check_cancelled)
            return Arrived(datetime.fromtimestamp(facts.st_mtime, UTC))


def _find_copy(context: JobContext, with_: Mapping[str, Any]) -> Artifact | None:
    """The last good copy of the very location, if its body is there and whole."""
    names = [_file_name(with_, format_) for format_ in _MEDIA_TYPES]
    found = [context.find_last_copy(ArtifactKind.FILE, name) for name in names]
    for copy in sorted(filter(None, found), key=lambda one: one.created_at, reverse=True):
        if copy.sha256 and context.storage.verify(context.facts.tenant_id, copy.sha256):
            return copy
        context.log(f"the copy of {copy.created_at:%Y-%m-%d %H:%M} is damaged or gone")
    return None


def _stale(with_: Mapping[str, Any], copy: Artifact) -> JobResult:
    facts = {key: copy.metadata.get(key) for key in ("format", "rows", "columns", "fetched_at")}
    with_ = {**with_, "classification": _stricter(with_, copy.classification)}
    return _result(with_, cast(str, copy.sha256), cast(int, copy.size), facts, stale=True)


def _result(
    with_: Mapping[str, Any], digest: str, size: int, facts: Mapping[str, Any], *, stale: bool
) -> JobResult:
    format_: Format = facts["format"]
    classification = Classification(with_.get("classification", Classification.INTERNAL))
    location = shown(with_["location"])
    draft = ArtifactDraft(
        ArtifactKind.FILE,
        _file_name(with_, format_),
        f"artifact:sha256:{digest}",
        _MEDIA_TYPES[format_],
        size=size,
        sha256=digest,
        classification=classification,
        metadata={**facts, "location": location, "stale": stale},
        type=ArtifactType.DATA_EXPORT,
    )
    outputs = {
        "name": with_["name"],
        "digest": digest,
        "size": size,
        **facts,
        "location": location,
        "stale": stale,
        "classification": classification.value,
    }
    degraded = f"stale: copy of {minute(facts['fetched_at'])}" if stale else None
    return JobResult(outputs=outputs, artifacts=(draft,), degraded=degraded)


def minute(at: str | None) -> str:
    """A time of ours, as ``fetched_at`` says it, for people."""
    return f"{at[:10]} {at[11:16]} UTC" if at else "an unknown time"


def _file_name(with_: Mapping[str, Any], format_: Format) -> str:
    """Names the location too: a copy of another one is no copy."""
    location = hashlib.sha256(with_["location"].encode("utf-8", "surrogatepass")).hexdigest()
    return f"{with_['name']}-{location[:12]}.{format_}"


def _stricter(with_: Mapping[str, Any], other: Classification) -> str:
    order = list(Classification)
    mine = Classification(with_.get("classification", Classification.INTERNAL))
    return max(mine, other, key=order.index).value


def _format_of(with_: Mapping[str, Any], content_type: str) -> Format:
    """As it was said, else as the server calls it, else by the name's ending.

    Raises:
        HostBusyError: the server sends something else altogether.
    """
    kind = content_type.partition(";")[0].strip().lower()
    is_json = kind in _JSON_TYPES or kind.endswith("+json")
    if not is_json and kind not in _CSV_TYPES | _ANY_TEXT:
        raise HostBusyError(f"{shown(with_['location'])} sends {kind[:80]!r}, which is no rows")
    chosen = with_.get("format", "auto")
    if chosen != "auto":
        return chosen
    if is_json or kind in _CSV_TYPES:
        return "json" if is_json else "csv"
    path = PurePosixPath(urlsplit(str(with_["location"])).path)
    return "json" if path.suffix.lower() in {".json", ".jsonl", ".ndjson"} else "csv"


def _is_web(location: str) -> bool:
    return location.lower().startswith(("http:", "https:"))


def _sample(tree: FileTree | None, name: str) -> bytes:
    for file in () if tree is None else tree.files():
        if file.path == name and file.link is None:
            return file.content
    raise DataRefusedError(f"there is no sample {name[:80]!r}")


def _copy(
    body: BinaryIO, out: BinaryIO, limit: int, location: str, check: Callable[[], None]
) -> None:
    size = 0
    try:
        while chunk := body.read(_CHUNK):
            check()
            size += len(chunk)
            if size > limit:
                raise DataRefusedError(
                    f"{shown(location)} has more than {limit} bytes", hint="raise max_mib"
                )
            out.write(chunk)
    except OSError as exc:
        raise HostBusyError(f"{shown(location)} cannot be read: {exc.strerror}") from exc
