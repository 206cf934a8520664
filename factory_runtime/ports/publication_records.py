"""Which versions of templates were published to a tenant."""

from __future__ import annotations

from typing import Protocol

from factory_runtime.domain.publication import Publication
from factory_runtime.domain.records import TemplateRecord


class PublicationRecords(Protocol):
    """A part of ``RunTransaction``: one tenant's rows, like everything there."""

    def find_template(self, template_id: str, version: str) -> TemplateRecord | None: ...

    def find_publication(self, template_id: str, version: str) -> Publication | None: ...

    def save_publication(self, publication: Publication) -> None:
        """Insert, or replace the one of the same version."""
        ...

    def list_publications(self, template_id: str | None = None) -> tuple[Publication, ...]:
        """In the order of their templates, then of their versions as text; withdrawn ones too."""
        ...
