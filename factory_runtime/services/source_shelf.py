"""Folders that runs need, put into artifact storage, and not looked through again for each request."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO, cast

from factory_runtime.domain.folder_stamp import Unchanged
from factory_runtime.domain.template import Template
from factory_runtime.domain.tree import pack_folder
from factory_runtime.ports import ArtifactStorage
from factory_runtime.services.kept_templates import keep_template

_LOOK_AGAIN_SECONDS = 60.0
"""A body that was whole is only looked for, so long; who reads it checks its digest anyway."""

_MANY = 10_000


class SourceShelf:
    """Puts folders into a storage. Safe to use from many threads."""

    def __init__(self, storage: ArtifactStorage) -> None:
        self._storage = storage
        self._digests = Unchanged[str]()
        self._within: dict[tuple[str, Path], str] = {}
        self._whole: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def put(self, tenant_id: str, folder: Path, template: Template) -> str:
        """Have a folder that a template's run needs lie in storage; its digest there."""
        digest = self._digest_of(folder, template)
        if not self.has(tenant_id, digest):
            digest = _packed(folder, self._storage, tenant_id)
            self._note(tenant_id, digest)
        return digest

    def _digest_of(self, folder: Path, template: Template) -> str:
        # What is within a template is as it was when that was read: its digest says so.
        place = (template.digest, folder)
        digest = self._within.get(place)
        if digest is None and not folder.is_relative_to(template.folder):
            return self._digests.get(folder, lambda: _packed(folder), lambda _: [folder])
        if digest is None:
            digest = _packed(folder)
            if _packed(template.folder.resolve()) == template.digest:  # nobody has written to it
                with self._lock:
                    _forget_if_many(self._within)
                    self._within[place] = digest
        return digest

    def keep(self, tenant_id: str, template: Template) -> None:
        """As ``keep_template``.

        Raises:
            TransientError: somebody changed the folder since it was read.
        """
        if not self.has(tenant_id, template.digest):
            keep_template(self._storage, tenant_id, template)
            self._note(tenant_id, template.digest)

    def has(self, tenant_id: str, digest: str) -> bool:
        """Whether a body is there, and was whole a minute ago."""
        looked = self._whole.get((tenant_id, digest))
        if looked is not None and time.monotonic() - looked < _LOOK_AGAIN_SECONDS:
            return self._storage.exists(tenant_id, digest)
        is_whole = self._storage.verify(tenant_id, digest)
        if is_whole:
            self._note(tenant_id, digest)
        return is_whole

    def _note(self, tenant_id: str, digest: str) -> None:
        with self._lock:
            _forget_if_many(self._whole)
            self._whole[tenant_id, digest] = time.monotonic()


def _forget_if_many(kept: dict[Any, Any]) -> None:
    if len(kept) >= _MANY:
        kept.clear()


def _packed(folder: Path, storage: ArtifactStorage | None = None, tenant_id: str = "") -> str:
    """The digest of a folder; with a storage, it is put there."""
    with tempfile.TemporaryFile() as packed:
        digest = pack_folder(folder, cast(BinaryIO, packed)).digest
        if storage is not None:
            packed.seek(0)
            storage.put(tenant_id, cast(BinaryIO, packed))
        return digest
