"""Templates: which there are, how they are published, and which would suit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory_runtime.bootstrap.memory import MemoryParts
from factory_runtime.bootstrap.opened_once import opened_once
from factory_runtime.ports import Embedder

if TYPE_CHECKING:
    from factory_runtime.services.catalog import TemplateCatalog
    from factory_runtime.services.kept_templates import KeptTemplates
    from factory_runtime.services.publish_template import Publisher
    from factory_runtime.services.suggest_template import Suggester


class TemplateParts(MemoryParts):
    """What knows templates."""

    @opened_once
    def catalog(self) -> TemplateCatalog:
        from factory_runtime.services.catalog import TemplateCatalog

        return TemplateCatalog(
            self.settings.template_folders,
            {name: job_type.facts for name, job_type in self.job_types.items()},
            self.settings.source_roots,
            self.kept_templates,
        )

    @opened_once
    def kept_templates(self) -> KeptTemplates:
        from factory_runtime.jobs.render.limits import RenderLimits
        from factory_runtime.services.kept_templates import KeptTemplates

        folder, limits = self.settings.templates_folder, RenderLimits.from_settings(self.settings)
        return KeptTemplates(self.find_store, self.storage, folder, limits)

    @opened_once
    def publisher(self) -> Publisher:
        """Publishes templates, from folders and from git hosts."""
        from factory_runtime.hosts.template_git import GitTemplates
        from factory_runtime.services.publish_template import Publisher

        repository = GitTemplates(self.settings.template_hosts, self.kept_templates.limits)
        return Publisher(self.store, self.storage, self.catalog, self.clock, repository)

    @opened_once
    def suggester(self) -> Suggester:
        """Suggests templates."""
        from factory_runtime.services.suggest_template import Suggester

        def embedder_of(tenant_id: str) -> Embedder:
            # To look for a template makes no store where there is none.
            return self.models.of(tenant_id).embedder if self.find_store() else self.embedder

        return Suggester(self.catalog, self.recaller, self.policies.of, embedder_of)
