"""pipeline-generation: continuous integration, for one service or several."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from factory_runtime.domain.artifact import ArtifactKind
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import JobResult, Layer, RenderOrder
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.jobs.publishing import (
    DATA_SCHEMA,
    REPOSITORY_SCHEMA,
    file_artifact,
    probe_commit,
    publish_layer,
)
from factory_runtime.jobs.undoing import REVERT_COMMIT, revert_commits
from factory_runtime.ports import FileTree, GitHost, JobContext

_NAME = "pipeline-generation"
_FOLDER = Path(__file__).parent / "sources"
_FLAVOURS = ("azure-pipelines", "github-actions")
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["repository", "flavours"],
    "additionalProperties": False,
    "properties": {
        "repository": REPOSITORY_SCHEMA,
        "flavours": {
            "type": "array",
            "items": {"type": "string", "enum": list(_FLAVOURS)},
            "minItems": 1,
            "uniqueItems": True,
            "description": "the services to write a pipeline for",
        },
        "data": DATA_SCHEMA,
    },
}


class PipelineGeneration:
    """Renders the sources it brings along and commits them.

    Outputs: repository, commit, url (of the commit), files.
    """

    facts = JobTypeFacts(
        name=_NAME,
        version="1",
        with_schema=_SCHEMA,
        source_keys=(),
        sources={flavour: _FOLDER / flavour for flavour in _FLAVOURS},
        undos=(REVERT_COMMIT,),
        hosts=("git",),
    )

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        data = with_.get("data", {})
        return RenderOrder(tuple(Layer(f"{_NAME}:{name}", data) for name in with_["flavours"]))

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        pipelines = tuple(
            file_artifact(context, ArtifactKind.PIPELINE, file, "application/yaml")
            for file in (tree.files() if tree is not None else ())
            if file.link is None and _is_pipeline(file.path)
        )
        subject = f"Add pipelines for {' and '.join(with_['flavours'])}"
        return publish_layer(context, with_["repository"], tree, subject, pipelines)

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        return probe_commit(host, effect)

    def undo(self, context: JobContext, undo: str, effects: tuple[Effect, ...]) -> JobResult:
        del undo  # there is one
        return revert_commits(context, effects)


def _is_pipeline(path: str) -> bool:
    """Whether one of the services reads it; Copier's answers are YAML as well."""
    file = PurePosixPath(path)
    return file.suffix in {".yml", ".yaml"} and not file.name.startswith(".")
