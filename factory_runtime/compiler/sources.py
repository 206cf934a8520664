"""The folders a template's steps name: where they lie, and that they may be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from factory_runtime.compiler.findings import Findings, did_you_mean
from factory_runtime.compiler.steps import StepDraft
from factory_runtime.compiler.syntax import has_expression
from factory_runtime.compiler.yaml_nodes import Node
from factory_runtime.domain.template import JobTypeFacts


class Sources:
    """Collects the sources of one template: as written → the folder.

    A name is looked for in the template's folder first, then among those that the job type
    brings along.
    """

    def __init__(self, folder: Path, roots: Sequence[Path], findings: Findings) -> None:
        self.found: dict[str, Path] = {}
        self._folder = folder.resolve()
        self._roots = [root.expanduser().resolve() for root in roots]
        self._findings = findings

    def take(self, draft: StepDraft, job_types: Mapping[str, JobTypeFacts]) -> None:
        """The sources of one step, with every problem noted."""
        facts = job_types.get(draft.step.type)
        for key in facts.source_keys if facts is not None else ():
            node = draft.node.find(["with", key])
            text = draft.step.with_.get(key)
            if facts is None or not isinstance(text, str) or node.scalar != text:
                continue
            if has_expression(text):
                hint = "sources are packed before anything runs"
                self._add(node, "expression", f"{key} must be plain text", hint)
            elif text not in self.found and (place := self._place(node, text, facts)):
                self.found[text] = place

    def _place(self, node: Node, text: str, facts: JobTypeFacts) -> Path | None:
        try:
            path = Path(text).expanduser()
            if path.is_absolute():
                return self._outside(node, text, path)
            return self._inside(node, text, facts)
        except (OSError, ValueError, RuntimeError) as error:
            self._add(node, "missing-source", f"{text[:80]!r} cannot be read: {error}")
            return None

    def _outside(self, node: Node, text: str, path: Path) -> Path | None:
        place = path.resolve()
        if not any(place.is_relative_to(root) for root in self._roots):
            hint = "put it below one of the folders in FACTORY_SOURCE_ROOTS"
            self._add(node, "hostile-source", f"{text!r} is outside the template", hint)
            return None
        return self._folder_at(node, text, place)

    def _inside(self, node: Node, text: str, facts: JobTypeFacts) -> Path | None:
        parts = PurePosixPath(text).parts
        place = (self._folder / text).resolve()
        if ".." in parts or ".git" in parts or not place.is_relative_to(self._folder):
            hint = "name a folder inside the template"
            self._add(node, "hostile-source", f"{text!r} leaves the template's folder", hint)
            return None
        if not place.exists() and text in facts.sources:
            return None
        return self._folder_at(node, text, place, facts.sources)

    def _folder_at(
        self, node: Node, text: str, place: Path, brought: Mapping[str, Path] | None = None
    ) -> Path | None:
        if place.is_dir():
            return place
        if place.exists():
            self._add(node, "missing-source", f"{text!r} is not a folder")
            return None
        near = [*_folders_beside(place, self._folder), *(brought or ())]
        hint = did_you_mean(text, near) if near else None
        self._add(node, "missing-source", f"there is no folder {text!r}", hint)
        return None

    def _add(self, node: Node, code: str, message: str, hint: str | None = None) -> None:
        self._findings.add(node, code, message, hint)


def _folders_beside(place: Path, folder: Path) -> list[str]:
    parent = place.parent
    if not parent.is_relative_to(folder) or not parent.is_dir():
        return []
    return sorted(p.relative_to(folder).as_posix() for p in parent.iterdir() if p.is_dir())
