"""repo-generation: a new repository with its first files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from factory_runtime.domain.artifact import ArtifactDraft, ArtifactKind
from factory_runtime.domain.errors import RepositoryTakenError
from factory_runtime.domain.records import Effect
from factory_runtime.domain.repository import check_repository_name
from factory_runtime.domain.result import ConfirmedEffect, JobResult, Layer, RenderOrder
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.jobs.publishing import (
    LAYER_SCHEMA,
    commit_artifacts,
    commit_tree,
    probe_commit,
    probed_place,
    waiting_in,
)
from factory_runtime.jobs.undoing import (
    DELETE_REPOSITORY,
    REVERT_COMMIT,
    delete_repository,
    probe_removal,
    revert_commits,
)
from factory_runtime.ports import FileTree, GitHost, JobContext, Repository

_SCHEMA: Mapping[str, Any] = {
    **LAYER_SCHEMA,
    "properties": {
        **LAYER_SCHEMA["properties"],
        "description": {"type": "string", "maxLength": 500, "description": "one line"},
    },
}


class RepoGeneration:
    """Makes the repository, or adopts the one of an earlier run, and commits the source's files.

    Outputs: repository (its name), url (to clone), default_branch, commit.
    """

    facts = JobTypeFacts(
        name="repo-generation",
        version="1",
        with_schema=_SCHEMA,
        undos=(DELETE_REPOSITORY, REVERT_COMMIT),
        hosts=("git",),
    )

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        return RenderOrder((Layer(with_["source"], with_.get("data", {})),))

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        name = check_repository_name(with_["repository"])
        repository = _ensure_repository(context, name, with_.get("description", ""))
        commit = commit_tree(context, name, tree, "Generate the repository")
        draft = ArtifactDraft(
            ArtifactKind.REPOSITORY,
            name,
            repository.url,
            "application/x-git",
            metadata={"default_branch": repository.default_branch, "id": repository.id},
        )
        return JobResult(
            outputs={
                "repository": name,
                "url": repository.url,
                "default_branch": repository.default_branch,
                "commit": commit.sha,
                **waiting_in(commit),
            },
            artifacts=(draft, *commit_artifacts(name, commit, tree)),
            effects=(
                ConfirmedEffect("repository", repository.id, repository.url),
                ConfirmedEffect("commit", commit.sha, commit.url),
            ),
            external_ids={"repo_id": repository.id},
        )

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        if effect.kind == "repository":
            return _probe_repository(host, effect)
        return probe_removal(host, effect) or probe_commit(host, effect)

    def undo(self, context: JobContext, undo: str, effects: tuple[Effect, ...]) -> JobResult:
        take_back = delete_repository if undo == DELETE_REPOSITORY else revert_commits
        return take_back(context, effects)


def _ensure_repository(context: JobContext, name: str, description: str) -> Repository:
    facts = context.facts
    confirmed = context.intend(
        "repository",
        f"repository {facts.project_id}/{name}",
        {"project_id": facts.project_id, "repository": name},
    )
    if confirmed is not None:
        found = context.host.find_repository(facts.tenant_id, facts.project_id, name)
        if found is not None and found.id == confirmed:
            return found
    context.check_lease()
    repository = context.host.ensure_repository(
        facts.tenant_id,
        facts.project_id,
        name,
        effect_key=facts.effect_key,
        description=description or f"Made from {facts.template_id} {facts.template_version}",
    )
    made = "made" if repository.created else "found"
    context.log(f"{made} the repository {facts.project_id}/{name} at {repository.url}")
    return repository


def _probe_repository(host: GitHost, effect: Effect) -> str | None:
    """The repository's id, if it is there and this job made it or could have adopted it.

    Raises:
        TransientError: the host cannot tell now.
    """
    place = probed_place(effect)
    found = None if place is None else host.find_repository(effect.tenant_id, *place)
    if place is None or found is None:
        return None
    if found.effect_key == effect.effect_key:
        return found.id
    try:
        adoptable = host.find_adoptable(effect.tenant_id, *place)
    except RepositoryTakenError:
        return None
    return None if adoptable is None else adoptable.id
