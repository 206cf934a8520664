"""The templates at hand: which there are, in which versions, and where they lie."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from factory_runtime.compiler.load import load_template
from factory_runtime.domain.errors import (
    FactoryError,
    InputError,
    TemplateChangedError,
    UnknownTemplateError,
)
from factory_runtime.domain.folder_stamp import Unchanged
from factory_runtime.domain.publication import Publication
from factory_runtime.domain.run import Run
from factory_runtime.domain.template import JobTypeFacts, Template
from factory_runtime.services.kept_templates import KeptTemplates

BUILT_IN = Path(__file__).parent.parent / "templates"


@dataclass(frozen=True)
class TemplateCatalog:
    """Templates by name: your own folders first, then what was published, then what is built in.

    What was published is a tenant's: without one, folders alone are looked at.

    Attributes:
        folders: each holds template folders; the first that has the name wins.
        source_roots: folders outside a template that its steps may name as ``source``.
        kept: reads what was published, and what runs have begun with; None is nothing.
    """

    folders: Sequence[Path]
    job_types: Mapping[str, JobTypeFacts]
    source_roots: Sequence[Path] = ()
    kept: KeptTemplates | None = None

    @cached_property
    def _loaded(self) -> Unchanged[Template]:
        return Unchanged()

    def names(self, tenant_id: str | None = None) -> tuple[str, ...]:
        """Every template's name, sorted."""
        found = {
            entry.parent.name
            for folder in [*self.folders, BUILT_IN]
            if folder.is_dir()
            for entry in folder.glob("*/template.yaml")
        }
        found.update(one.template_id for one in self.publications(tenant_id))
        return tuple(sorted(found))

    def publications(
        self, tenant_id: str | None, name: str | None = None
    ) -> tuple[Publication, ...]:
        """What was published to the tenant and is not withdrawn; the newest version first."""
        if self.kept is None or tenant_id is None:
            return ()
        return self.kept.publications(tenant_id, name)

    def publication_of(self, template: Template, tenant_id: str) -> Publication | None:
        """What a template was published as; None where it was read from a folder of somebody's."""
        if self.kept is None or template.folder.parent != self.kept.folder:
            return None
        published = self.publications(tenant_id, template.id)
        return next((one for one in published if one.version == template.version), None)

    def find_folder(self, name: str) -> Path | None:
        """Where a template lies; None where no folder has it."""
        return next(iter(self._folders_of(name)), None)

    def refuse_unknown(self, name: str, tenant_id: str | None = None) -> None:
        """Raises UnknownTemplateError where there is none of that name; it suggests one."""
        if name not in (names := self.names(tenant_id)):
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names)}"
            raise UnknownTemplateError(f"no template {name!r}", hint=hint)

    def load(self, name: str, version: str | None = None, tenant_id: str | None = None) -> Template:
        """Read and check a template.

        Without a version it is that of a folder of your own, else the newest that was published,
        else what is built in.

        Raises:
            UnknownTemplateError: there is none of that name, or not in that version.
            InvalidTemplateError: it does not pass `factory templates check`.
            CorruptArtifactError: it was published, and its files are gone.
        """
        published, folders = self.publications(tenant_id, name), self._folders_of(name)
        if version is not None:
            return self._load_version(name, version, published, folders)
        own = [folder for folder in folders if folder.parent != BUILT_IN]
        if published and not own:
            return self._load_published(published[0])
        if not folders:
            self.refuse_unknown(name, tenant_id)
        return self._load_folder(folders[0], name)

    def load_of_run(self, run: Run, version: str | None = None) -> Template:
        """The template that a run goes on with: as it began, unless another version is asked for.

        It is read from its folder where that still has it, else from what was kept of it.

        Raises:
            UnknownTemplateError, InvalidTemplateError, CorruptArtifactError: as ``load``.
            TemplateChangedError: the version has other content by now, and nothing was kept of what
                the run began with.
        """
        name, tenant_id = run.template_id, run.tenant_id
        if version not in (None, run.template_version):
            return self.load(name, version, tenant_id)
        try:
            template = self.load(name, run.template_version, tenant_id)
            if template.digest == run.template_digest:
                return template
            missing: FactoryError = TemplateChangedError(
                f"template {name} {template.version} is no longer what run {run.id} began with",
                hint="give what was edited a version of its own, and retry with that one",
            )
        except FactoryError as error:
            missing = error
        if self.kept is None or not self.kept.has(tenant_id, run.template_digest):
            raise missing
        what = f"{name} {run.template_version}"
        return self.kept.load_digest(
            tenant_id, run.template_digest, self.job_types, self.source_roots, what
        )

    def load_to_offer(self, run: Run) -> Template:
        """The template as Prefect is to offer it, so that the run can be launched there.

        As it is now; where it has gone since the run was accepted, or was edited, as it was kept.

        Raises:
            UnknownTemplateError, InvalidTemplateError, CorruptArtifactError, TemplateChangedError: as
                ``load_of_run``.
        """
        with suppress(FactoryError):
            found = self.load(run.template_id, tenant_id=run.tenant_id)
            if found.version != run.template_version:
                return found
        return self.load_of_run(run)

    def _folders_of(self, name: str) -> tuple[Path, ...]:
        # Compared with what is there before it is joined to a path: a name cannot climb out.
        there = [folder / name for folder in [*self.folders, BUILT_IN] if name in _names_in(folder)]
        return tuple(folder for folder in there if (folder / "template.yaml").is_file())

    def _load_version(
        self, name: str, version: str, published: Sequence[Publication], folders: Sequence[Path]
    ) -> Template:
        for one in published:
            if one.version == version:
                return self._load_published(one)
        found = [one.version for one in published]
        for folder in folders:
            template = self._load_folder(folder, name)
            if template.version == version:
                return template
            found.append(template.version)
        if not found:
            self.refuse_unknown(name, published[0].tenant_id if published else None)
        there = "the version here is" if len(found) == 1 else "the versions here are"
        raise UnknownTemplateError(
            f"template {name} has no version {version}", hint=f"{there} {', '.join(found)}"
        )

    def _load_published(self, publication: Publication) -> Template:
        assert self.kept is not None  # noqa: S101 - the publication came from it
        return self.kept.load(publication, self.job_types)

    def _load_folder(self, folder: Path, name: str) -> Template:
        template = self._loaded.get(
            folder,
            lambda: load_template(folder, self.job_types, source_roots=self.source_roots),
            lambda template: [template.folder, *template.sources.values()],
        )
        if template.id != name:
            raise InputError(
                f"the template in {name}/ calls itself {template.id!r}",
                hint=f"rename the folder, or write `id: {name}` in its template.yaml",
            )
        return template


def _names_in(folder: Path) -> Sequence[str]:
    """What lies in a folder; nothing where it cannot be looked into."""
    try:
        return os.listdir(folder)  # noqa: PTH208 - paths take ten times as long
    except OSError:
        return ()
