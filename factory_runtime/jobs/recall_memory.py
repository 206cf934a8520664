"""recall: what the factory has learned about something, for the steps behind it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from factory_runtime.domain.memory import Kind, Recalled
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import JobResult, RenderOrder
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.ports import FileTree, GitHost, JobContext

MOST = 50

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["query"],
    "additionalProperties": False,
    "properties": {
        "query": {"type": "string", "description": "what to look for, in words"},
        "kinds": {
            "type": "array",
            "items": {"enum": [kind.value for kind in Kind]},
            "minItems": 1,
            "uniqueItems": True,
            "description": "of one of them; any if not said",
        },
        "k": {
            "type": "integer",
            "minimum": 1,
            "maximum": MOST,
            "description": "how many at most, 5 if not said",
        },
        "minimum": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "what scores less is left out; nothing is if not said",
        },
        "used": {
            "type": "boolean",
            "description": "whether what it gives counts as made use of; true if not said",
        },
    },
}


class RecallMemory:
    """Searches the tenant's memory. Outputs: memories, count. It fails of no memory."""

    facts = JobTypeFacts(
        name="recall",
        version="1",
        with_schema=SCHEMA,
        source_keys=(),
        timeout=timedelta(minutes=1),
    )

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        del with_
        return None

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del tree
        found = context.recall(with_["query"], _kinds(with_), with_.get("k", 5))
        good = [one for one in found if one.score >= with_.get("minimum", 0)]
        used = tuple(one.memory.id for one in good) if with_.get("used", True) else ()
        memories = [_told(one) for one in good]
        return JobResult({"memories": memories, "count": len(memories)}, used=used)

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        del host, effect
        return None


def _kinds(with_: Mapping[str, Any]) -> tuple[Kind, ...] | None:
    return tuple(map(Kind, with_["kinds"])) if "kinds" in with_ else None


def _told(one: Recalled) -> dict[str, Any]:
    memory = one.memory
    return {
        "id": memory.id,
        "kind": memory.kind.value,
        "title": memory.title,
        "text": memory.text,
        "score": round(one.score, 4),
        "run": memory.run_id,
        "template": memory.template_id,
        "outcome": memory.outcome,
    }
