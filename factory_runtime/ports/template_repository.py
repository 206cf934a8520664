"""Where templates are fetched from, to be published."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from factory_runtime.domain.git_location import GitLocation


@dataclass(frozen=True, slots=True)
class FetchedTemplate:
    """A template's folder as it is in a repository.

    Attributes:
        folder: a private copy: plain files and links that stay inside.
        commit_id: what the ref stood for.
    """

    folder: Path
    commit_id: str


class TemplateRepository(Protocol):
    """Reads folders of git repositories."""

    def fetch(self, location: GitLocation) -> AbstractContextManager[FetchedTemplate]:
        """The folder, which is gone when the block ends.

        Raises:
            InputError: the host is not listed, or what is there is hostile or too large.
            TemplateNotFoundError: no such repository, ref or folder.
            HostBusyError: the host does not answer, or not in time.
            HostRejectedError: it refuses.
        """
        ...
