"""What every git host checks before it makes a commit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from factory_runtime.domain.errors import (
    HostileTemplateError,
    InputError,
    LayerConflictError,
    NotFoundError,
    RepositoryChangedError,
    RepositoryTakenError,
)
from factory_runtime.domain.ids import is_slug
from factory_runtime.domain.tree import safe_path
from factory_runtime.ports import CommitOrder

Trailers = tuple[tuple[str, str], ...]

RUN_TRAILER = "Factory-Run"
FACTORY_ADDRESS = "factory@localhost"
_TRAILER_KEY = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
# Lines that git's trailer parser takes for the end of the message.
_ENDS_MESSAGE = re.compile(r"^(?=---|#)", re.MULTILINE)


def check_owner(tenant_id: str, project_id: str) -> None:
    """Whether both may become part of a path.

    Raises:
        InputError: one of them is no slug.
    """
    for what, text in (("tenant", tenant_id), ("project", project_id)):
        if not is_slug(text):
            raise InputError(f"{text[:80]!r} cannot be a {what}", hint="use a slug, like team-a")


def checked_trailers(trailers: Trailers) -> Trailers:
    """The trailers themselves: at least two, each one plain line.

    Raises:
        InputError: a key or a value could be read as something else.
    """
    for key, value in trailers:
        plain = value.isprintable() and value == value.strip() and value != ""
        if _TRAILER_KEY.fullmatch(key) is None or not plain:
            raise InputError(f"{key[:40]!r}: {value[:80]!r} cannot be a commit's trailer")
    if len(trailers) < 2:
        raise InputError("a commit is named by two trailers", hint=f"{RUN_TRAILER}, Factory-Step")
    return trailers


def full_message(order: CommitOrder) -> str:
    """The order's message with its trailers as the last paragraph, which only they can be."""
    text = order.message.replace("\r\n", "\n").replace("\r", "\n")
    text = _ENDS_MESSAGE.sub(" ", _UNPRINTABLE.sub(" ", text)).strip() or "Generate files"
    lines = "\n".join(f"{key}: {value}" for key, value in checked_trailers(order.trailers))
    return f"{text}\n\n{lines}\n"


def author_name(author: str) -> str:
    """A name as git takes it: no angle brackets, no control characters, not empty."""
    plain = "".join(c if c.isprintable() and c not in "<>" else " " for c in author)
    return " ".join(plain.split())[:100].strip(".,:;\"' ") or "Factory Runtime"


class LayerCheck:
    """Looks at each file of one commit before it is made.

    Args:
        order: the commit to be made.
        present: every path that the branch has.
        written: step of this run → path → what it wrote there, spelled as ``content`` in
            ``add``; only the steps whose files may not be written over.
    """

    def __init__(
        self,
        order: CommitOrder,
        present: Iterable[str],
        written: Mapping[str, Mapping[str, str]],
    ) -> None:
        self._step = order.trailers[1][1]
        self._written = written
        self._files = set(present)
        self._folders = {folder for path in self._files for folder in _folders_of(path)}

    def add(self, path: str, content: str) -> None:
        """Take a file into the commit.

        Raises:
            HostileTemplateError: its path leaves the tree, or is not spelled plainly.
            LayerConflictError: a step that this one does not follow wrote other content there, or
                a file stands where a folder is needed, or the other way round.
        """
        if str(PurePosixPath(safe_path(path))) != path:
            raise HostileTemplateError(f"the path {path!r} is not plain", hint="write it plainly")
        for step, theirs in self._written.items():
            if theirs.get(path, content) != content:
                raise LayerConflictError(
                    f"{self._step} and {step} both write {path}, and neither waits for the other",
                    hint=f"let one need the other (`needs: [{step}]`), or write different files",
                )
        blocking = next((f for f in _folders_of(path) if f in self._files), None)
        if blocking is not None:
            raise LayerConflictError(
                f"{self._step} writes {path}, but {blocking} is a file",
                hint="rename one of the two",
            )
        if path in self._folders:
            raise LayerConflictError(
                f"{self._step} writes the file {path}, but that is a folder",
                hint="rename one of the two",
            )
        self._files.add(path)
        self._folders.update(_folders_of(path))


def unfollowed(order: CommitOrder, steps: Iterable[str]) -> list[str]:
    """Which of the run's steps the commit may not write over."""
    mine = order.trailers[1][1]
    return [step for step in steps if step != mine and step not in order.follows]


def no_repository(project_id: str, name: str) -> NotFoundError:
    """The error for a commit into a repository that is not there."""
    return NotFoundError(
        f"no repository {project_id}/{name} of ours",
        hint="the step that generates the repository must come first: name it in `needs`",
    )


def _folders_of(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def taken(project_id: str, name: str, why: str) -> RepositoryTakenError:
    """The error for a repository that we may not write to."""
    return RepositoryTakenError(
        f"the repository {project_id}/{name} is taken: it {why}",
        hint="choose another name or project, or move that work to another branch or repository",
    )


def changed(project_id: str, name: str, how: str) -> RepositoryChangedError:
    """The error for a repository that is not to be touched, because people work in it."""
    return RepositoryChangedError(
        f"the repository {project_id}/{name} is not as the factory left it: it {how}",
        hint="look at it, and remove by hand what nobody needs",
    )
