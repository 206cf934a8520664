"""The files of templates, kept in artifact storage by their digest, and what was published of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, cast

from factory_runtime.compiler.load import load_template
from factory_runtime.domain.disk import disk_errors
from factory_runtime.domain.errors import (
    ArtifactNotFoundError,
    CorruptArtifactError,
    HostileTemplateError,
    InvalidTemplateError,
    TransientError,
)
from factory_runtime.domain.folder_stamp import Unchanged
from factory_runtime.domain.publication import Publication, newest_first
from factory_runtime.domain.template import JobTypeFacts, Template
from factory_runtime.domain.tree import pack_folder
from factory_runtime.jobs.render.limits import RenderLimits
from factory_runtime.jobs.render.staging import unpack_source
from factory_runtime.ports import ArtifactStorage, RunStore


def keep_template(storage: ArtifactStorage, tenant_id: str, template: Template) -> None:
    """Put the whole folder of a template into storage under its digest, unless it is there, and whole.

    So the version can be read again, whatever becomes of the folder, and on every machine.

    Raises:
        TransientError: somebody changed the folder since it was read.
    """
    if storage.verify(tenant_id, template.digest):
        return
    with tempfile.TemporaryFile() as packed:
        found = pack_folder(template.folder.resolve(), cast(BinaryIO, packed)).digest
        if found != template.digest:
            raise TransientError(
                f"the folder of template {template.id} was changed while it was read",
                hint="ask again, once nobody writes to it",
            )
        packed.seek(0)
        storage.put(tenant_id, cast(BinaryIO, packed))


@dataclass(frozen=True)
class KeptTemplates:
    """Reads templates back from the stores alone.

    Attributes:
        find_store: the run store; None where nothing has been written to it yet.
        storage: where their files are.
        folder: where they are unpacked, each under its digest: a copy that may be deleted.
        limits: of what is unpacked.
    """

    find_store: Callable[[], RunStore | None]
    storage: ArtifactStorage
    folder: Path
    limits: RenderLimits

    @cached_property
    def _loaded(self) -> Unchanged[Template]:
        return Unchanged()

    def publications(self, tenant_id: str, name: str | None = None) -> tuple[Publication, ...]:
        """What a run of the tenant may begin with; the newest version first."""
        if (store := self.find_store()) is None:
            return ()
        with store.begin(tenant_id, read_only=True) as tx:
            found = tx.list_publications(name)
        return newest_first(one for one in found if one.withdrawn_at is None)

    def load(self, publication: Publication, job_types: Mapping[str, JobTypeFacts]) -> Template:
        """The published version.

        Raises:
            InvalidTemplateError: it does not suit the job types there are by now.
            CorruptArtifactError: its files are gone or damaged.
        """
        store = self.find_store()
        assert store is not None  # noqa: S101 - the publication came from it
        with store.begin(publication.tenant_id, read_only=True) as tx:
            record = tx.find_template(publication.template_id, publication.version)
        if record is None:
            raise _gone(f"{publication.template_id} {publication.version}")
        what = f"{record.template_id} {record.version}"
        return self.load_digest(record.tenant_id, record.digest, job_types, (), what)

    def has(self, tenant_id: str, digest: str) -> bool:
        """Whether the files of this digest are there."""
        return bool(digest) and self.storage.exists(tenant_id, digest)

    def load_digest(
        self,
        tenant_id: str,
        digest: str,
        job_types: Mapping[str, JobTypeFacts],
        source_roots: Sequence[Path],
        what: str,
    ) -> Template:
        """The template of this digest; ``what`` is what to call it.

        Raises:
            InvalidTemplateError, CorruptArtifactError: as ``load``.
        """
        for _ in range(2):
            place = self._unpacked(tenant_id, digest, what)
            try:
                template = self._load_unchanged(place, job_types, source_roots)
                if template.digest == digest:
                    return template
            except InvalidTemplateError:
                if _is_whole(place, digest):
                    raise
            self._loaded.forget((place, *source_roots))
            with disk_errors(self.folder):
                shutil.rmtree(place, ignore_errors=True)  # somebody wrote to the copy
        raise _gone(what)

    def _load_unchanged(
        self, place: Path, job_types: Mapping[str, JobTypeFacts], source_roots: Sequence[Path]
    ) -> Template:
        return self._loaded.get(
            (place, *source_roots),  # in some of them it does not find all that it needs
            lambda: load_template(place, job_types, source_roots=source_roots),
            lambda template: [template.folder, *template.sources.values()],
        )

    def _unpacked(self, tenant_id: str, digest: str, what: str) -> Path:
        place = self.folder / digest
        # The wall between tenants is the storage's: the copy alone gives nobody a template.
        if not self.storage.exists(tenant_id, digest):
            raise _gone(what)
        if place.is_dir():
            return place
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryDirectory(dir=self.folder, prefix="new-") as private:
                fresh = Path(private) / digest
                try:
                    unpack_source(self.storage, tenant_id, digest, fresh, self.limits)
                except (ArtifactNotFoundError, CorruptArtifactError) as error:
                    raise _gone(what) from error
                try:
                    fresh.rename(place)
                except OSError:
                    if not place.is_dir():  # else another process was quicker
                        raise
        return place


def _is_whole(place: Path, digest: str) -> bool:
    """Whether a copy is what was published: what is wrong with the template was so then, too."""
    try:
        with tempfile.TemporaryFile() as packed:
            return pack_folder(place, cast(BinaryIO, packed)).digest == digest
    except (OSError, HostileTemplateError):
        return False


def _gone(what: str) -> CorruptArtifactError:
    return CorruptArtifactError(
        f"the files of template {what} are gone from artifact storage, or damaged",
        hint="publish the version again, from where it came",
    )
