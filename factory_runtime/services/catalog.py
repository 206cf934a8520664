"""The templates at hand: which there are, and where they lie."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from factory_runtime.compiler.load import load_template
from factory_runtime.domain.errors import InputError, UnknownTemplateError
from factory_runtime.domain.template import JobTypeFacts, Template

BUILT_IN = Path(__file__).parent.parent / "templates"


@dataclass(frozen=True)
class TemplateCatalog:
    """Templates by folder name. A folder of your own comes before a built-in of the same name.

    Attributes:
        folders: each holds template folders; the first that has the name wins.
        source_roots: folders outside a template that its steps may name as ``source``.
    """

    folders: Sequence[Path]
    job_types: Mapping[str, JobTypeFacts]
    source_roots: Sequence[Path] = ()

    def names(self) -> tuple[str, ...]:
        """Every template's name, sorted."""
        found = {
            entry.parent.name
            for folder in [*self.folders, BUILT_IN]
            if folder.is_dir()
            for entry in folder.glob("*/template.yaml")
        }
        return tuple(sorted(found))

    def folder_of(self, name: str) -> Path:
        """Where a template lies.

        Raises:
            UnknownTemplateError: there is none of that name; the message suggests one.
        """
        # Compared with what is there and never joined to a path: a name cannot climb out.
        if name in self.names():
            for folder in [*self.folders, BUILT_IN]:
                if (folder / name / "template.yaml").is_file():
                    return folder / name
        close = difflib.get_close_matches(name, self.names(), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(self.names())}"
        raise UnknownTemplateError(f"no template {name!r}", hint=hint)

    def load(self, name: str, version: str | None = None) -> Template:
        """Read and check a template.

        Raises:
            UnknownTemplateError: there is none of that name, or not in that version.
            InvalidTemplateError: it does not pass `factory templates check`.
        """
        template = load_template(
            self.folder_of(name), self.job_types, source_roots=self.source_roots
        )
        if template.id != name:
            raise InputError(
                f"the template in {name}/ calls itself {template.id!r}",
                hint=f"rename the folder, or write `id: {name}` in its template.yaml",
            )
        if version is not None and version != template.version:
            raise UnknownTemplateError(
                f"template {name} has no version {version}",
                hint=f"the version here is {template.version}",
            )
        return template
