"""Handlers of the outbox that turn what happened into memories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from factory_runtime.domain.errors import TemplateNotFoundError
from factory_runtime.domain.memory import Memory
from factory_runtime.domain.records import OutboxMessage, TemplateRecord
from factory_runtime.ports import ArtifactStorage, Clock, RunStore
from factory_runtime.services.bodies import from_body
from factory_runtime.services.remember import memory_of_run, memory_of_template
from factory_runtime.services.topics import MEMORY_OF_RUN, MEMORY_OF_TEMPLATE


@dataclass(frozen=True)
class Librarian:
    """Makes records; the ``Indexer`` brings the index up to them."""

    store: RunStore
    storage: ArtifactStorage
    clock: Clock

    @property
    def handlers(self) -> Mapping[str, Callable[[OutboxMessage], None]]:
        """The topics of the outbox that are the memory's."""
        return {MEMORY_OF_RUN: self.index_run, MEMORY_OF_TEMPLATE: self.index_template}

    def index_run(self, message: OutboxMessage) -> None:
        """Remember one ended run."""
        tenant_id, run_id = message.tenant_id, str(message.payload["run_id"])
        with self.store.begin(tenant_id) as tx:
            run = tx.get_run(run_id)
            jobs = tx.list_jobs(run_id)
            artifacts = tx.list_artifacts(run_id=run_id)
            template = _find(tx.list_templates(), run.template_id, run.template_version)
        inputs = _in_order(from_body(self.storage, tenant_id, run.inputs), template)
        title, description = (
            (template.title, template.description) if template else (run.template_id, "")
        )
        memory = memory_of_run(run, jobs, artifacts, title, description, inputs, self.clock.now())
        self._keep(tenant_id, memory)

    def index_template(self, message: OutboxMessage) -> None:
        """Remember one published template version.

        Raises:
            TemplateNotFoundError: it is not in the store.
        """
        template_id, version = str(message.payload["template_id"]), str(message.payload["version"])
        with self.store.begin(message.tenant_id) as tx:
            template = _find(tx.list_templates(), template_id, version)
        if template is None:
            raise TemplateNotFoundError(f"no template {template_id} {version}")
        self._keep(message.tenant_id, memory_of_template(template, self.clock.now()))

    def _keep(self, tenant_id: str, memory: Memory) -> None:
        with self.store.begin(tenant_id) as tx:
            tx.save_memories([memory])


def _in_order(inputs: Mapping[str, Any], template: TemplateRecord | None) -> dict[str, Any]:
    """The inputs as the template's author ordered them: what matters most comes first."""
    declared: Mapping[str, Any] = template.inputs_schema.get("properties", {}) if template else {}
    known = [name for name in declared if name in inputs]
    return {name: inputs[name] for name in [*known, *(n for n in inputs if n not in declared)]}


def _find(
    templates: tuple[TemplateRecord, ...], template_id: str, version: str
) -> TemplateRecord | None:
    for template in templates:
        if template.template_id == template_id and template.version == version:
            return template
    return None
