"""Which templates of a tenant events can begin runs of; read anew only where one has changed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from factory_runtime.domain.errors import FactoryError
from factory_runtime.domain.template import WebhookTrigger
from factory_runtime.services.catalog import BUILT_IN, TemplateCatalog

_LOG = logging.getLogger("factory.webhooks")
_KEPT = 4096
_LEFT_ALONE = 10.0
"""Seconds until a template that cannot be read is tried again: another of its files may be mended."""

_Stamp = tuple[object, ...]
"""Another one where a template may say something else by now."""


class TriggerBook:
    """The triggers of the templates that a run would begin with now, kept by what they lie in."""

    def __init__(self, catalog: TemplateCatalog) -> None:
        self._catalog = catalog
        self._read = lru_cache(_KEPT)(self._load)
        self._failed: dict[_Stamp, float] = {}

    def triggers(self, tenant_id: str) -> Iterator[tuple[str, WebhookTrigger]]:
        """Of every template that has one, by name; one that cannot be read begins nothing."""
        for name, stamp in sorted(self._stamps(tenant_id).items()):
            trigger = self._find(tenant_id, name, stamp)
            if trigger is not None:
                yield name, trigger

    def _find(self, tenant_id: str, name: str, stamp: _Stamp) -> WebhookTrigger | None:
        key, now = (tenant_id, name, *stamp), time.monotonic()
        if now - self._failed.get(key, -_LEFT_ALONE) < _LEFT_ALONE:
            return None
        try:
            return self._read(tenant_id, name, stamp)
        except FactoryError as error:
            _LOG.warning("template %s begins no runs by webhooks: %s", name, error)
            if len(self._failed) >= _KEPT:
                self._failed.clear()
            self._failed[key] = now
            return None

    def _stamps(self, tenant_id: str) -> dict[str, _Stamp]:
        """In the order in which the catalog looks: the first of a name counts."""
        found: dict[str, _Stamp] = {}
        for name, stamp in _in_folders(self._catalog.folders):
            found.setdefault(name, stamp)
        for one in self._catalog.publications(tenant_id):
            found.setdefault(one.template_id, (one.version, one.published_at))
        for name, stamp in _in_folders([BUILT_IN]):
            found.setdefault(name, stamp)
        return found

    def _load(self, tenant_id: str, name: str, stamp: _Stamp) -> WebhookTrigger | None:
        del stamp  # what it is kept under
        return self._catalog.load(name, tenant_id=tenant_id).webhook


def _in_folders(folders: Iterable[Path]) -> Iterator[tuple[str, _Stamp]]:
    for folder in folders:
        for file in folder.glob("*/template.yaml"):
            facts = file.stat()
            yield file.parent.name, (str(file), facts.st_ino, facts.st_ctime_ns, facts.st_size)
