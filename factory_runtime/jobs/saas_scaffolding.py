"""saas-scaffolding: one part of a platform: its repository, its files, its entry in a catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from factory_runtime.domain.records import Effect
from factory_runtime.domain.repository import REPOSITORY_NAME
from factory_runtime.domain.result import JobResult, Layer, RenderOrder
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.jobs.publishing import DATA_SCHEMA
from factory_runtime.jobs.repo_generation import RepoGeneration
from factory_runtime.ports import FileTree, GitHost, JobContext

_NAME = "saas-scaffolding"
_CATALOG = "saas-catalog"
_PART: Mapping[str, Any] = {"type": "string", "pattern": REPOSITORY_NAME, "maxLength": 63}
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["platform", "part", "role", "source"],
    "additionalProperties": False,
    "properties": {
        "platform": {**_PART, "description": "what all parts belong to"},
        "part": {**_PART, "description": "which part; its repository is <platform>-<part>"},
        "role": {
            "type": "string",
            "enum": ["service", "gateway", "platform"],
            "description": "what the part is to the others",
        },
        "owner": {**_PART, "description": "the team that answers for it"},
        "source": {"type": "string", "minLength": 1, "description": "a Copier template folder"},
        "data": DATA_SCHEMA,
    },
}


class SaasScaffolding:
    """Makes the repository of one part and commits its files, with an entry for a catalog.

    The entry is a ``catalog-info.yaml`` as Backstage reads it, so that a portal finds the part.
    Outputs: those of ``repo-generation``, and platform, part, role.
    """

    facts = JobTypeFacts(
        name=_NAME,
        version="1",
        with_schema=_SCHEMA,
        sources={_CATALOG: Path(__file__).parent / "sources" / _CATALOG},
        undos=RepoGeneration.facts.undos,
        hosts=RepoGeneration.facts.hosts,
    )

    def __init__(self) -> None:
        self._repositories = RepoGeneration()

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        entry = {key: with_[key] for key in ("platform", "part", "role", "owner") if key in with_}
        catalog = Layer(f"{_NAME}:{_CATALOG}", entry)
        return RenderOrder((catalog, Layer(with_["source"], with_.get("data", {}))))

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        platform, part, role = with_["platform"], with_["part"], with_["role"]
        made = self._repositories.publish(
            context,
            {"repository": f"{platform}-{part}", "description": f"The {role} {part} of {platform}"},
            tree,
        )
        return replace(
            made, outputs={**made.outputs, "platform": platform, "part": part, "role": role}
        )

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        return self._repositories.probe(host, effect)

    def undo(self, context: JobContext, undo: str, effects: tuple[Effect, ...]) -> JobResult:
        return self._repositories.undo(context, undo, effects)
