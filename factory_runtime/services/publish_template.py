"""Publish a version of a template to a tenant: from then on the stores alone are enough to run it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from factory_runtime.compiler.load import load_template
from factory_runtime.domain.errors import InvalidTemplateError, NotFoundError, TemplateNotFoundError
from factory_runtime.domain.git_location import GIT_PREFIX, parse_git_location
from factory_runtime.domain.publication import Publication
from factory_runtime.domain.template import Template
from factory_runtime.ports import ArtifactStorage, Clock, RunStore, TemplateRepository
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.catalog import TemplateCatalog
from factory_runtime.services.kept_templates import keep_template
from factory_runtime.services.request_run import register_template


@dataclass(frozen=True, slots=True)
class Published:
    """What became of it; ``is_new`` is False where the version stood already."""

    template: Template
    publication: Publication
    is_new: bool


@dataclass(frozen=True)
class Publisher:
    """Publishes and withdraws."""

    store: RunStore
    storage: ArtifactStorage
    catalog: TemplateCatalog
    clock: Clock
    repository: TemplateRepository

    def publish(self, tenant_id: str, place: str, by: str) -> Published:
        """Publish what lies in a folder, or at ``git+https://host/org/repo@REF``. Idempotent.

        A version stays as it is, and so does what is said of where it came from: the commit that it
        was published from first.

        Raises:
            InputError: it is none, or does not pass `factory templates check`; sources outside its
                folder do not: others would not have them.
            TemplateChangedError: this version stands already, with other content.
            NotFoundError: there is nothing at that place.
            HostBusyError, HostRejectedError: the git host does not answer, or refuses.
        """
        if not place.startswith(GIT_PREFIX):
            folder = Path(place).expanduser().absolute()
            if not folder.is_dir():
                raise NotFoundError(f"there is no folder {place}", hint="look at the path")
            return self._publish(tenant_id, folder, str(folder), by)
        location = parse_git_location(place)
        with self.repository.fetch(location) as found:
            origin, commit_id = location.origin, found.commit_id
            return self._publish(tenant_id, found.folder, origin, by, location.ref, commit_id)

    def withdraw(
        self, tenant_id: str, name: str, version: str | None, by: str
    ) -> list[Publication]:
        """Let no more runs begin with a version, or any; those that have begun go on. Idempotent.

        Returns:
            Those that are withdrawn by now.

        Raises:
            TemplateNotFoundError: there is no such publication.
        """
        now = self.clock.now()
        withdrawn: list[Publication] = []
        with self.store.begin(tenant_id) as tx:
            for one in tx.list_publications(name):
                if version not in (None, one.version):
                    continue
                if one.withdrawn_at is None:
                    one = replace(one, withdrawn_at=now)
                    tx.save_publication(one)
                    detail = {"version": one.version}
                    leave_audit(tx, by, "template.unpublish", name, detail, now)
                withdrawn.append(one)
        if not withdrawn:
            what = name if version is None else f"{name} {version}"
            hint = "`factory templates list` shows what is"
            raise TemplateNotFoundError(f"no template {what} is published", hint=hint)
        return withdrawn

    def _publish(
        self,
        tenant_id: str,
        folder: Path,
        origin: str,
        by: str,
        ref: str | None = None,
        commit_id: str | None = None,
    ) -> Published:
        template = self._load(folder, origin)
        keep_template(self.storage, tenant_id, template)
        now = self.clock.now()
        with self.store.begin(tenant_id) as tx:
            register_template(tx, template, now)
            stands = tx.find_publication(template.id, template.version)
            if stands is not None and stands.withdrawn_at is None:
                return Published(template, stands, is_new=False)
            publication = Publication(
                tenant_id=tenant_id,
                template_id=template.id,
                version=template.version,
                origin=origin,
                published_at=now,
                published_by=by,
                ref=ref,
                commit_id=commit_id,
            )
            if stands is not None:  # withdrawn, and from now on offered again
                publication = replace(stands, withdrawn_at=None)
            tx.save_publication(publication)
            detail = {"version": template.version, "digest": template.digest, "origin": origin}
            if commit_id is not None:
                detail |= {"ref": ref or "", "commit": commit_id}
            leave_audit(tx, by, "template.publish", template.id, detail, now)
        return Published(template, publication, is_new=True)

    def _load(self, folder: Path, origin: str) -> Template:
        try:
            return load_template(folder, self.catalog.job_types)
        except InvalidTemplateError as error:
            problems = [
                replace(one, file=one.file.replace(str(folder), origin)) for one in error.problems
            ]
            message = str(error).replace(str(folder), origin)
            raise InvalidTemplateError(message, problems, hint=error.hint) from error
