"""The undos that the job types share: take a commit back, remove a repository.

What is not as the job left it is not touched: the reason is said, and somebody has to look.
"""

from __future__ import annotations

from collections.abc import Sequence

from factory_runtime.domain.errors import RepositoryChangedError
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import ConfirmedEffect, JobResult, Undone
from factory_runtime.jobs.publishing import naming_of, probed_place, tracing_of
from factory_runtime.ports import CommitOrder, GitHost, JobContext

REVERT_COMMIT = "revert-commit"
DELETE_REPOSITORY = "delete-repository"

_UNDO_REPOSITORY = "undo-repository"
_NO_PLACE = "the ledger does not say where it is"


def revert_commits(context: JobContext, effects: Sequence[Effect]) -> JobResult:
    """Take back the commits among the effects, each by one commit; others are left."""
    undone: list[Undone] = []
    made: list[ConfirmedEffect] = []
    for effect in effects:
        if effect.kind == "commit":
            one, confirmed = _revert(context, effect)
            undone.append(one)
            made += confirmed
        else:
            undone.append(Undone(effect.kind, left=f"{REVERT_COMMIT} takes back commits alone"))
    return JobResult(effects=tuple(made), undone=tuple(undone))


def delete_repository(context: JobContext, effects: Sequence[Effect]) -> JobResult:
    """Remove the repository that the job made, with all that this run has left in it.

    One that the job has only found, as an earlier run made it, is kept: the job's commit is taken
    back.
    """
    made = next((effect for effect in effects if effect.kind == "repository"), None)
    place = None if made is None else probed_place(made)
    if made is None or place is None:
        return revert_commits(context, effects)
    found = context.host.find_repository(context.facts.tenant_id, *place)
    if found is not None and found.effect_key != made.effect_key:
        kept = Undone("repository", note=f"kept: it was made by {found.effect_key}")
        others = revert_commits(context, [one for one in effects if one is not made])
        return JobResult(effects=others.effects, undone=(kept, *others.undone))
    return _remove(context, place, made, effects)


def probe_removal(host: GitHost, effect: Effect) -> str | None:
    """What came of a removal that was intended; None where the repository is there.

    Raises:
        TransientError: the host cannot tell now.
    """
    place, made_by = probed_place(effect), effect.facts.get("made_by")
    if effect.kind != _UNDO_REPOSITORY or place is None:
        return None
    found = host.find_repository(effect.tenant_id, *place)
    return None if found is not None and found.effect_key == made_by else "removed"


def _remove(
    context: JobContext, place: tuple[str, str], made: Effect, effects: Sequence[Effect]
) -> JobResult:
    facts = context.facts
    project_id, name = place
    probed_by = {"project_id": project_id, "repository": name, "made_by": made.effect_key}
    context.intend(_UNDO_REPOSITORY, f"removal of {made.target}", probed_by)
    context.check_lease()
    try:
        # Whatever the ledger says: where an earlier attempt was killed, this one ends it.
        removed = context.host.remove_repository(
            facts.tenant_id,
            project_id,
            name,
            effect_key=made.effect_key,
            runs=frozenset({made.run_id, facts.run_id}),
        )
    except RepositoryChangedError as error:
        context.log(f"left {made.target} as it is: {error}")
        return JobResult(undone=tuple(Undone(effect.kind, left=str(error)) for effect in effects))
    note = f"{made.target} was removed" if removed else f"{made.target} was gone already"
    context.log(note)
    return JobResult(
        effects=(ConfirmedEffect(_UNDO_REPOSITORY, "removed"),),
        undone=tuple(Undone(effect.kind, note=note) for effect in effects),
    )


def _revert(context: JobContext, effect: Effect) -> tuple[Undone, tuple[ConfirmedEffect, ...]]:
    place, sha = probed_place(effect), effect.reference
    if place is None or sha is None:
        return Undone(effect.kind, left=_NO_PLACE), ()
    order = _order(context, effect, place, sha)
    what = f"commit {sha[:12]} in {order.project_id}/{order.repository}"
    probed_by = {"project_id": order.project_id, "repository": order.repository}
    context.intend("undo-commit", f"revert of {what}", probed_by)
    context.check_lease()
    try:
        commit = context.host.revert_commit(context.facts.tenant_id, order, sha)
    except RepositoryChangedError as error:
        context.log(f"left {what} as it is: {error}")
        return Undone(effect.kind, left=str(error)), ()
    if commit is None:
        return Undone(effect.kind, note="gone already"), ()
    note = f"taken back by commit {commit.sha[:12]}"
    context.log(f"{what} is {note}")
    made = ConfirmedEffect("undo-commit", commit.sha, commit.url)
    return Undone(effect.kind, note=note), (made,)


def _order(context: JobContext, effect: Effect, place: tuple[str, str], sha: str) -> CommitOrder:
    facts = context.facts
    project_id, repository = place
    return CommitOrder(
        project_id=project_id,
        repository=repository,
        message=f"Take back {sha[:12]}\n\nWhat step {effect.step} of {effect.run_id} made.",
        trailers=(
            *naming_of(facts.run_id, facts.step),
            ("Factory-Undoes", sha),
            *tracing_of(facts),
        ),
        author=facts.requested_by,
        at=context.now(),
    )
