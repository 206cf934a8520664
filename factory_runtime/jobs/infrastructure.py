"""infrastructure: what a service runs on, as code in its repository."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import JobResult, Layer, RenderOrder
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.jobs.publishing import LAYER_SCHEMA, probe_commit, publish_layer
from factory_runtime.jobs.undoing import REVERT_COMMIT, revert_commits
from factory_runtime.ports import FileTree, GitHost, JobContext


class Infrastructure:
    """Commits one rendered source. Outputs: repository, commit, url (of the commit), files."""

    facts = JobTypeFacts(
        name="infrastructure",
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
        return publish_layer(context, with_["repository"], tree, "Add the infrastructure")

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        return probe_commit(host, effect)

    def undo(self, context: JobContext, undo: str, effects: tuple[Effect, ...]) -> JobResult:
        del undo  # there is one
        return revert_commits(context, effects)
