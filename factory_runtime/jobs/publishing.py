"""The publishing half that the job types share: one commit, and what is said about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from factory_runtime.domain.artifact import ArtifactDraft, ArtifactKind
from factory_runtime.domain.errors import PermanentError
from factory_runtime.domain.records import Effect
from factory_runtime.domain.repository import REPOSITORY_NAME, check_repository_name
from factory_runtime.domain.result import ConfirmedEffect, JobResult
from factory_runtime.domain.tree import TREE_MEDIA_TYPE, TreeFile
from factory_runtime.ports import Commit, CommitOrder, FileTree, GitHost, JobContext, JobFacts

REPOSITORY_SCHEMA: Mapping[str, Any] = {
    "type": "string",
    "pattern": REPOSITORY_NAME,
    "description": "name of the repository: lower-case letters, digits, '.', '_', '-'",
}
DATA_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "description": "answers to the questions of the source",
}
LAYER_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["repository", "source"],
    "additionalProperties": False,
    "properties": {
        "repository": REPOSITORY_SCHEMA,
        "source": {"type": "string", "minLength": 1, "description": "a Copier template folder"},
        "data": DATA_SCHEMA,
    },
}
"""What a ``with`` holds that puts one rendered source into a repository."""


_COMMITS = frozenset({"commit", "undo-commit"})


def commit_tree(
    context: JobContext, repository: str, tree: FileTree | None, subject: str
) -> Commit:
    """Put the tree into the repository as this job's one commit, made now or by an earlier attempt.

    Raises:
        LayerConflictError: a step that this one does not follow wrote one of the files.
        LeaseLostError: another worker holds the job by now; nothing was committed.
        PermanentError: there is no tree.
    """
    if tree is None:
        raise PermanentError(f"job {context.facts.step} has no rendered files to publish")
    facts = context.facts
    trailers = (
        *naming_of(facts.run_id, facts.step),
        ("Factory-Template", f"{facts.template_id}@{facts.template_version}"),
        *tracing_of(facts),
    )
    place = f"{facts.project_id}/{check_repository_name(repository)}"
    context.check_cancelled()
    # Whatever the ledger says of it, the host knows whether the commit stands, and finds it
    # before it reads the first file.
    probed_by = {"project_id": facts.project_id, "repository": repository}
    context.intend("commit", f"commit in {place}", probed_by)
    order = CommitOrder(
        project_id=facts.project_id,
        repository=repository,
        message=_message(context, subject),
        trailers=trailers,
        author=facts.requested_by,
        at=context.now(),
        follows=facts.follows,
    )
    commit = context.host.ensure_commit(facts.tenant_id, order, _while_ours(context, tree))
    made = "made" if commit.created else "found"
    where = "" if commit.pull_request is None else f", to be merged by {commit.pull_request.url}"
    context.log(f"{made} commit {commit.sha[:12]} with {commit.files} files in {place}{where}")
    return commit


def probe_commit(host: GitHost, effect: Effect) -> str | None:
    """The id of the commit that this effect was to make, if it stands; None for other effects.

    Of an undoing job, it is the commit that takes another back.

    Raises:
        TransientError: the host cannot tell now.
    """
    place = probed_place(effect)
    if effect.kind not in _COMMITS or place is None:
        return None
    naming = naming_of(effect.run_id, effect.step)
    commit = host.find_commit(effect.tenant_id, *place, naming)
    return None if commit is None else commit.sha


def probed_place(effect: Effect) -> tuple[str, str] | None:
    """Project and repository of an effect; None where it was intended without them."""
    project_id, repository = effect.facts.get("project_id"), effect.facts.get("repository")
    if isinstance(project_id, str) and isinstance(repository, str):
        return project_id, repository
    return None


def commit_artifacts(
    repository: str, commit: Commit, tree: FileTree | None
) -> tuple[ArtifactDraft, ...]:
    """The commit, and the tree it was made from."""
    drafts = [
        ArtifactDraft(
            ArtifactKind.COMMIT,
            f"{repository}@{commit.sha[:12]}",
            commit.url,
            "text/x-git-commit",
            metadata={
                "sha": commit.sha,
                "repository": repository,
                "files": commit.files,
                **waiting_in(commit),
            },
        )
    ]
    if tree is not None:
        reference = tree.reference
        drafts.append(
            ArtifactDraft(
                ArtifactKind.TREE,
                "tree.tar",
                f"artifact:sha256:{reference.digest}",
                TREE_MEDIA_TYPE,
                size=reference.size,
                sha256=reference.digest,
                metadata={"files": reference.files},
            )
        )
    return tuple(drafts)


def publish_layer(
    context: JobContext,
    repository: str,
    tree: FileTree | None,
    subject: str,
    artifacts: tuple[ArtifactDraft, ...] = (),
) -> JobResult:
    """One commit; ``outputs`` are repository, commit, url (of the commit) and files (a count).

    Where the default branch takes no pushes, also pull_request (its id) and pull_request_url.
    """
    commit = commit_tree(context, repository, tree, subject)
    return JobResult(
        outputs={
            "repository": repository,
            "commit": commit.sha,
            "url": commit.url,
            "files": commit.files,
            **waiting_in(commit),
        },
        artifacts=(*commit_artifacts(repository, commit, tree), *artifacts),
        effects=(ConfirmedEffect("commit", commit.sha, commit.url),),
    )


def waiting_in(commit: Commit) -> dict[str, str]:
    """The pull request that a commit waits in, as outputs; nothing where it waits in none."""
    request = commit.pull_request
    if request is None:
        return {}
    return {"pull_request": request.id, "pull_request_url": request.url}


def file_artifact(
    context: JobContext, kind: ArtifactKind, file: TreeFile, media_type: str
) -> ArtifactDraft:
    """One file of the tree as an artifact of its own, with its body in artifact storage."""
    stored = context.storage.put(context.facts.tenant_id, file.content)
    return ArtifactDraft(
        kind, file.path, stored.uri, media_type, size=stored.size, sha256=stored.digest
    )


def _message(context: JobContext, subject: str) -> str:
    facts = context.facts
    body = f"Step {facts.step} of template {facts.template_id}, version {facts.template_version}."
    return f"{' '.join(subject.split())}\n\n{body}"


def naming_of(run_id: str, step: str) -> tuple[tuple[str, str], ...]:
    """The trailers that tell a job's commit from all others."""
    return ("Factory-Run", run_id), ("Factory-Step", step)


def tracing_of(facts: JobFacts) -> tuple[tuple[str, str], ...]:
    """The trailer that leads from a commit, and from what is deployed of it, to the request."""
    return () if facts.trace_id is None else (("Factory-Trace", facts.trace_id),)


def _while_ours(context: JobContext, tree: FileTree) -> Iterator[TreeFile]:
    """The files; raising at their end, like anywhere between them, has the host commit nothing."""
    for file in tree.files():
        context.check_cancelled()
        yield file
    # Reading may have taken longer than the lease, and what follows is the effect.
    context.check_lease()
