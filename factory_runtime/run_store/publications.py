"""The run store's transaction: published templates."""

from __future__ import annotations

from factory_runtime.domain.publication import Publication
from factory_runtime.domain.records import TemplateRecord
from factory_runtime.run_store.records import PUBLICATIONS, TEMPLATES
from factory_runtime.run_store.rows import TenantRows
from factory_runtime.run_store.tables import publications


class Publications:
    """``ports.PublicationRecords``."""

    def __init__(self, rows: TenantRows) -> None:
        self._rows = rows

    def find_template(self, template_id: str, version: str) -> TemplateRecord | None:
        return self._rows.find(TEMPLATES, template_id=template_id, version=version)

    def find_publication(self, template_id: str, version: str) -> Publication | None:
        return self._rows.find(PUBLICATIONS, template_id=template_id, version=version)

    def save_publication(self, publication: Publication) -> None:
        self._rows.put(PUBLICATIONS, publication, key=("tenant_id", "template_id", "version"))

    def list_publications(self, template_id: str | None = None) -> tuple[Publication, ...]:
        of_one = [] if template_id is None else [publications.c.template_id == template_id]
        order = (publications.c.template_id, publications.c.version)
        return self._rows.list(PUBLICATIONS, *of_one, order_by=order)
