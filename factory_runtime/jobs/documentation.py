"""documentation: a repository's pages, each one an artifact of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from factory_runtime.domain.artifact import ArtifactKind
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import JobResult, Layer, RenderOrder
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.jobs.publishing import LAYER_SCHEMA, file_artifact, probe_commit, publish_layer
from factory_runtime.jobs.undoing import REVERT_COMMIT, revert_commits
from factory_runtime.ports import FileTree, GitHost, JobContext

_MEDIA_TYPES = {
    ".adoc": "text/asciidoc",
    ".html": "text/html",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".rst": "text/x-rst",
    ".txt": "text/plain",
}


class Documentation:
    """Commits one rendered source. Outputs: repository, commit, url (of the commit), files."""

    facts = JobTypeFacts(
        name="documentation",
        version="1",
        with_schema=LAYER_SCHEMA,
        undos=(REVERT_COMMIT,),
        hosts=("git",),
    )

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        return RenderOrder((Layer(with_["source"], with_.get("data", {})),))

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        documents = tuple(
            file_artifact(context, ArtifactKind.DOCUMENT, file, media_type)
            for file in (tree.files() if tree is not None else ())
            if file.link is None and (media_type := _media_type(file.path)) is not None
        )
        return publish_layer(context, with_["repository"], tree, "Add the documentation", documents)

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        return probe_commit(host, effect)

    def undo(self, context: JobContext, undo: str, effects: tuple[Effect, ...]) -> JobResult:
        del undo  # there is one
        return revert_commits(context, effects)


def _media_type(path: str) -> str | None:
    return _MEDIA_TYPES.get(PurePosixPath(path).suffix.lower())
