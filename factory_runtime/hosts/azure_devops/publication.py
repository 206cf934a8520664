"""Puts commits of ours onto a branch of the host: the default one, or their run's beside it.

A run whose default branch takes no pushes has a branch of its own, ``factory/<run>``, with the
commits of its steps one behind the other, and one pull request for all of them. Once that is
merged, later commits of the run get another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from factory_runtime.domain.errors import HostRejectedError
from factory_runtime.hosts.azure_devops.mirror import RUN_BRANCHES, Mirror
from factory_runtime.hosts.azure_devops.remote import ProtectedBranchError
from factory_runtime.hosts.azure_devops.reviews import Line, Reviews
from factory_runtime.hosts.commits import find_commit
from factory_runtime.hosts.history import BRANCH, Logged, read_log
from factory_runtime.hosts.orders import Trailers
from factory_runtime.ports import Commit

Make = Callable[[str | None, Sequence[Logged]], Commit | None]
"""Makes a commit on top of the one that the copy stands on, to which these of its run lead; None where
there is nothing to be made."""


@dataclass(frozen=True, slots=True)
class Publication:
    """Of one commit, which may take several tries.

    Attributes:
        default_branch: None before the first commit.
        naming: the two trailers that name the commit; the first one's value is its run.
    """

    mirror: Mirror
    reviews: Reviews
    default_branch: str | None
    naming: Trailers
    _logs: dict[str, list[Logged]] = field(default_factory=dict[str, list[Logged]], init=False)

    @property
    def target(self) -> str:
        return self.default_branch or BRANCH

    @property
    def _run(self) -> str:
        return self.naming[0][1]

    def find(self) -> Commit | None:
        """The commit, where it stands: on the default branch, or in a pull request."""
        for branch, head in self._ours(self.mirror.branches()):
            found = self._at(head)
            if found is not None and branch == self.target:
                return found
            if found is not None:
                review = next(self.reviews.of_branch(branch), None)
                # Pushed, but not asked for yet: whoever makes it goes on with it.
                return review and replace(found, pull_request=self.reviews.told(review))
        return self._find_merged(self.reviews.line_of(self._run))

    def ensure(self, make: Make, beside: str | None = None) -> Commit | None:
        """The commit, found or made and pushed.

        Args:
            make: makes it.
            beside: a branch of a run that it belongs onto.

        Raises:
            BranchMovedError: it is to be tried again.
            HostRejectedError: people have abandoned the pull request of the run.
            FactoryError: from ``make``, or as ``Remote`` and ``Reviews``.
        """
        branches = self.mirror.branches()
        default = branches.get(self.target)
        for branch, head in self._ours(branches):
            found = self._at(head)
            if found is not None:
                return found if branch == self.target else self._asked(found, branch)
        line = self.reviews.line_of(self._run)
        found = self._find_merged(line)
        if found is not None:
            return found
        if line.abandoned is not None:
            raise HostRejectedError(
                f"pull request {line.abandoned.id} of {self._run} was abandoned",
                hint="reactivate it, then retry",
            )
        branch = beside or line.branch
        base = branches.get(branch, default)
        self.mirror.stand_on(base)
        commit = make(base, self._log(base))
        if commit is None:
            return None
        if branch in branches or not self._pushed(commit, default):
            ref = f"refs/heads/{branch}"
            self.mirror.push(commit.sha, ref, branches.get(branch), base)
            return self._asked(commit, branch)
        return commit

    def branch_of(self, sha: str) -> str | None:
        """The branch of a run that a commit waits on; None of one that does not wait any more."""
        for branch, head in self._ours(self.mirror.branches()):
            if any(one.sha == sha for one in read_log(self.mirror.place, head)):
                if branch == self.target:
                    return None
                review = next(self.reviews.of_branch(branch), None)
                return branch if review is None or review.is_open else None
        return None

    def _ours(self, branches: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """Where commits of ours may stand: the default branch first, then those of runs."""
        if self.target in branches:
            yield self.target, branches[self.target]
        for branch, head in branches.items():
            if branch.startswith(RUN_BRANCHES):
                yield branch, head

    def _pushed(self, commit: Commit, default: str | None) -> bool:
        """Whether the default branch has taken it; False where it wants a pull request."""
        try:
            self.mirror.push(commit.sha, f"refs/heads/{self.target}", default, default)
        except ProtectedBranchError:
            if default is None:
                raise  # there is nothing yet that could be asked to take it
            return False
        return True

    def _asked(self, commit: Commit, branch: str) -> Commit:
        review = self.reviews.ensure(branch, self.target, self._run)
        return replace(commit, pull_request=review)

    def _find_merged(self, line: Line) -> Commit | None:
        """The commit in a pull request that was merged, maybe by another commit than ours."""
        for review in line.merged:
            if review.merged is not None:
                self.mirror.fetch_commit(review.merged.sha)
                found = self._at(review.merged.sha)
                if found is not None:
                    return replace(found, pull_request=self.reviews.told(review))
        return None

    def _at(self, head: str) -> Commit | None:
        return find_commit(self.mirror.place, self._log(head), self.naming)

    def _log(self, head: str | None) -> Sequence[Logged]:
        """Those of the run that lead to a commit, read once."""
        if head is None:
            return ()
        if head not in self._logs:
            self._logs[head] = read_log(self.mirror.place, head, self.naming[0])
        return self._logs[head]
