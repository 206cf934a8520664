"""What a template's version is for, as a memory; the newest one stands before the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from factory_runtime.domain.ids import digest_of
from factory_runtime.domain.memory import Kind, Memory
from factory_runtime.domain.memory_text import cut, one_line, words_of
from factory_runtime.domain.records import TemplateRecord
from factory_runtime.services.recall import newest_versions

_DESCRIPTION = 500
_INPUTS_LENGTH = 700
_INPUTS_SHOWN = 24
_CHOICES_SHOWN = 8
_FACTS_SHOWN = 100


def template_memory_id(tenant_id: str, template_id: str, version: str) -> str:
    """The id of what a template version is for."""
    return f"mem-{digest_of(['template', tenant_id, template_id, version])[:32]}"


def memories_of_template(versions: Sequence[TemplateRecord]) -> tuple[Memory, ...]:
    """What each of one template's versions is for; all but the newest are superseded by it.

    Worked out from all there are, so it is no matter which of them was heard of first.
    """
    newest = newest_versions(versions)
    memories: list[Memory] = []
    for record in versions:
        memory, version = memory_of_template(record), newest[record.template_id]
        if record.version != version:
            by = template_memory_id(record.tenant_id, record.template_id, version)
            memory = replace(memory, superseded_by=by)
        memories.append(memory)
    return tuple(memories)


def memory_of_template(record: TemplateRecord) -> Memory:
    """What a template version is for and what it asks, without secrets."""
    title, purpose = one_line(record.title), one_line(record.description, _DESCRIPTION)
    properties = _mapping(record.inputs_schema.get("properties"))
    asks = [_input_asked(name, _mapping(schema)) for name, schema in properties.items()]
    asked = cut("; ".join(asks[:_INPUTS_SHOWN]), _INPUTS_LENGTH)
    return Memory(
        id=template_memory_id(record.tenant_id, record.template_id, record.version),
        tenant_id=record.tenant_id,
        kind=Kind.TEMPLATE,
        title=cut(f"{title} ({record.template_id} {record.version})", 120),
        text=f"{title}. {purpose}" + (f"\nAsks for: {asked}" if asked else ""),
        created_at=record.published_at,
        template_id=record.template_id,
        template_version=record.version,
        facts={
            "digest": record.digest,
            "inputs": [one_line(name, 60) for name in list(properties)[:_FACTS_SHOWN]],
        },
    )


def _input_asked(name: str, schema: Mapping[str, Any]) -> str:
    said = schema.get("description") or schema.get("title") or ""
    choices = schema.get("enum")
    text = f"{words_of(name)}: {said}" if said else words_of(name)
    if isinstance(choices, list):
        some = cast(list[Any], choices)[:_CHOICES_SHOWN]
        text += f" ({', '.join(str(choice) for choice in some)})"
    return one_line(text)


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}
