"""document: the report itself, as PDF or HTML."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from factory_runtime.domain.artifact import ArtifactDraft, ArtifactKind
from factory_runtime.domain.errors import CorruptArtifactError, NotFoundError
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import JobResult, RenderOrder
from factory_runtime.domain.template import JobTypeFacts, RetryPolicy
from factory_runtime.jobs.report.chart import DIGEST_SCHEMA, read_trends
from factory_runtime.jobs.report.contents import Contents, Picture, contents_of
from factory_runtime.jobs.report.html import write_html
from factory_runtime.jobs.report.pdf import write_pdf
from factory_runtime.jobs.report.rows import clean
from factory_runtime.jobs.report.trends import ASKED_SCHEMA, SOURCES_SCHEMA, strictest
from factory_runtime.ports import FileTree, GitHost, JobContext

_WRITERS = {"pdf": (write_pdf, "application/pdf"), "html": (write_html, "text/html")}
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["format", "title", "asked", "sources", "trends"],
    "additionalProperties": False,
    "properties": {
        "format": {"type": "string", "enum": list(_WRITERS)},
        "title": {"type": "string", "minLength": 1, "maxLength": 200},
        "asked": ASKED_SCHEMA,
        "sources": SOURCES_SCHEMA,
        "trends": DIGEST_SCHEMA,
        "charts": {
            "type": "object",
            "description": "outputs of chart, by name; those that failed are not there",
            "additionalProperties": {
                "type": "object",
                "required": ["digest", "width", "height"],
                "properties": {
                    "digest": DIGEST_SCHEMA,
                    "width": {"type": "integer", "minimum": 1},
                    "height": {"type": "integer", "minimum": 1},
                },
            },
        },
        "instead_of": {
            "type": "string",
            "maxLength": 100,
            "description": "what this document takes the place of, for people",
        },
    },
}
_SHOWN_NOTES = 10


class Document:
    """Writes ``report.pdf`` or ``report.html``. It names all that is missing or approximate in it.

    Outputs: name, digest, size, format, notes (what is missing or approximate), classification.
    """

    facts = JobTypeFacts(
        name="document",
        version="1",
        with_schema=_SCHEMA,
        source_keys=(),
        retry=RetryPolicy(2, (timedelta(seconds=1),), 0.3),
        timeout=timedelta(minutes=10),
    )

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        del with_
        return None

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del tree
        format_ = with_["format"]
        write, media_type = _WRITERS[format_]
        report = _gather(context, with_)
        stored = context.storage.put(context.facts.tenant_id, write(report))
        classification = strictest(with_["sources"].values())
        draft = ArtifactDraft(
            ArtifactKind.DOCUMENT,
            f"report.{format_}",
            stored.uri,
            media_type,
            size=stored.size,
            sha256=stored.digest,
            classification=classification,
        )
        outputs = {
            "name": draft.name,
            "digest": stored.digest,
            "size": stored.size,
            "format": format_,
            "notes": list(report.notes),
            "classification": classification.value,
        }
        return JobResult(outputs=outputs, artifacts=(draft,), degraded=_degraded(report))

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        del host, effect  # it has none
        return None


def _gather(context: JobContext, with_: Mapping[str, Any]) -> Contents:
    names = [str(one["name"]) for one in with_["asked"]]
    return contents_of(
        clean(with_["title"]),
        names,
        with_["sources"],
        read_trends(context, with_["trends"]),
        _pictures(context, with_.get("charts", {})),
        with_.get("instead_of"),
    )


def _pictures(context: JobContext, charts: Mapping[str, Mapping[str, Any]]) -> dict[str, Picture]:
    """Those whose bytes are there and whole."""
    found: dict[str, Picture] = {}
    for name, chart in charts.items():
        try:
            png = context.storage.read(context.facts.tenant_id, chart["digest"])
        except (CorruptArtifactError, NotFoundError) as error:
            context.log(f"the chart of {name} is left out: {error}")
        else:
            found[name] = Picture(png, chart["width"], chart["height"])
    return found


def _degraded(report: Contents) -> str | None:
    more = len(report.notes) - _SHOWN_NOTES
    shown = [*report.notes[:_SHOWN_NOTES], *([f"and {more} more"] if more > 0 else [])]
    return "; ".join(shown) or None
