"""Pull requests that a run's commits wait in, where a default branch takes no pushes.

Routes: https://learn.microsoft.com/rest/api/azure/devops/git/pull-requests?view=azure-devops-rest-7.1
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from pydantic import BaseModel, Field

from factory_runtime.domain.ids import digest_of
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient, route
from factory_runtime.hosts.azure_devops.lookup import HEADS
from factory_runtime.hosts.azure_devops.mirror import RUN_BRANCHES
from factory_runtime.hosts.azure_devops.pull_requests import PullRequests
from factory_runtime.hosts.azure_devops.repositories import HostedRepository
from factory_runtime.ports import PullRequest, PullRequestOrder, PullRequestStatus

_PAGE = 100
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}")
_STATUSES = {
    "active": PullRequestStatus.OPEN,
    "completed": PullRequestStatus.MERGED,
    "abandoned": PullRequestStatus.ABANDONED,
}


class _Commit(BaseModel):
    sha: str = Field(alias="commitId")


class Review(BaseModel):
    """``GitPullRequest``.

    Attributes:
        merged: the last commit of its branch.
        merge: the commit that merging it has made.
    """

    id: int = Field(alias="pullRequestId")
    status: str
    source: str = Field(alias="sourceRefName")
    target: str = Field(alias="targetRefName")
    merged: _Commit | None = Field(default=None, alias="lastMergeSourceCommit")
    merge: _Commit | None = Field(default=None, alias="lastMergeCommit")

    @property
    def is_merged(self) -> bool:
        return self.status == "completed"

    @property
    def is_open(self) -> bool:
        return self.status == "active"


@dataclass(frozen=True, slots=True)
class Line:
    """Where a run's commits go beside the default branch.

    Attributes:
        branch: the one that takes the next; it may not be there yet.
        abandoned: its pull request, where people did not want that.
        merged: those of the run that were merged before.
    """

    branch: str
    abandoned: Review | None
    merged: tuple[Review, ...]


class Reviews:
    """Those of one repository. Raises as ``AzureDevOpsClient``."""

    def __init__(
        self,
        client: AzureDevOpsClient,
        owner: tuple[str, str],
        repository: HostedRepository,
        name: str,
    ) -> None:
        self._client, self._owner, self._name = client, owner, name
        project = client.access.project_of(*owner)
        self._path = route(project, "git", "repositories", repository.id, "pullrequests")
        self._page = client.access.clone_url(project, name)

    def line_of(self, run: str) -> Line:
        """Where the commits of a run go."""
        merged: list[Review] = []
        for number in count(1):
            branch = _branch(run, number)
            found = list(self.of_branch(branch))
            done = [one for one in found if one.is_merged]
            merged += done
            is_open = any(one.is_open for one in found)
            if is_open or not done:
                abandoned = found[0] if found and not is_open else None
                return Line(branch, abandoned, tuple(merged))
        raise AssertionError("numbers do not end")

    def of_branch(self, branch: str) -> Iterator[Review]:
        """All that there are for a branch, the newest first."""
        yield from self._search("all", sourceRefName=f"{HEADS}{branch}")

    def merges(self) -> set[str]:
        """Ids of the commits that merging our pull requests has made."""
        done = self._search("completed")
        ours = (one for one in done if one.source.startswith(f"{HEADS}{RUN_BRANCHES}"))
        return {one.merge.sha for one in ours if one.merge is not None}

    def ensure(self, branch: str, target: str, run: str) -> PullRequest:
        """The pull request of a branch of ours, found or opened."""
        found = next(self.of_branch(branch), None)
        if found is not None:
            return self.told(found)
        tenant_id, project_id = self._owner
        order = PullRequestOrder(
            project_id=project_id,
            repository=self._name,
            branch=branch,
            title=f"Factory: {run}",
            description=f"What {run} has made, a commit for each step.\n\nFactory-Effect: {run}",
            effect_key=branch,
            target=target,
        )
        return PullRequests(self._client).ensure(tenant_id, order)

    def told(self, review: Review) -> PullRequest:
        """As the rest of the factory knows it."""
        return PullRequest(
            id=str(review.id),
            url=f"{self._page}/pullrequest/{review.id}",
            branch=review.source.removeprefix(HEADS),
            target=review.target.removeprefix(HEADS),
            status=_STATUSES.get(review.status, PullRequestStatus.OPEN),
        )

    def _search(self, status: str, **criteria: str) -> Iterator[Review]:
        wanted = {"status": status, **criteria}
        query = {f"searchCriteria.{name}": text for name, text in wanted.items()}
        for skip in count(0, _PAGE):
            paged = {**query, "$top": str(_PAGE), "$skip": str(skip)}
            found = list(self._client.list(Review, self._path, paged))
            yield from found
            if len(found) < _PAGE:
                return


def _branch(run: str, number: int) -> str:
    named = run if _PLAIN.fullmatch(run) else digest_of(run)[:32]
    return f"{RUN_BRANCHES}{named}" + (f"-{number}" if number > 1 else "")
