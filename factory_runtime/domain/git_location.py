"""Where a template lies in a git repository: ``git+https://host/org/repo@REF#subdirectory=…``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit, urlunsplit

from factory_runtime.domain.errors import InputError

GIT_PREFIX = "git+"
_HINT = "write git+https://host/org/repo@REF, with #subdirectory=… where it is not at the top"
_SUBDIRECTORY = "subdirectory="
_LONGEST = 1000
# What git itself allows for a name, and less: no option, no range, no second half of a refspec.
_REF = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.+/-]{0,198}[A-Za-z0-9_+-])?")
_PATH = re.compile(r"/[A-Za-z0-9._~%+/-]*[A-Za-z0-9_~%+-]")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class GitLocation:
    """A folder of a repository, at a tag, a branch or a commit.

    Attributes:
        url: of the repository; its scheme is https, or http on this machine, and it holds no name,
            password, query or fragment.
        ref: as it was asked for.
        subdirectory: relative with ``/``; empty at the top.
    """

    url: str
    ref: str
    subdirectory: str = ""

    @property
    def origin(self) -> str:
        """The place without the ref, to be kept."""
        inside = f"#{_SUBDIRECTORY}{self.subdirectory}" if self.subdirectory else ""
        return f"{GIT_PREFIX}{self.url}{inside}"

    @property
    def is_commit(self) -> bool:
        """Whether the ref is a whole commit id, which nobody can move."""
        return _COMMIT.fullmatch(self.ref) is not None


def parse_git_location(text: str) -> GitLocation:
    """The location that the text spells.

    Raises:
        InputError: it is none, or holds a name or a password; the message repeats neither.
    """
    if not text.isprintable() or " " in text:  # the parser would leave them out
        raise InputError("that is no address of a git repository", hint=_HINT)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise InputError("that is no address of a git repository", hint=_HINT) from exc
    if "@" in parts.netloc:
        raise InputError(
            "the address holds a name or a password",
            hint="leave it out: addresses are kept, and only what everybody may read is fetched",
        )
    if parts.scheme not in ("git+https", "git+http"):
        raise InputError(
            f"templates are not fetched by {parts.scheme[:20] or 'that'!r}", hint=_HINT
        )
    if not host or port == 0 or not parts.netloc.isascii() or parts.query or len(text) > _LONGEST:
        raise InputError("that is no address of a git repository", hint=_HINT)
    path, at, ref = parts.path.rpartition("@")
    if not at:
        raise InputError(
            "the address does not say which version", hint="end it with @ and a tag or a commit"
        )
    _refuse_bad_ref(ref)
    if not _PATH.fullmatch(path) or any(part in ("", ".", "..") for part in path[1:].split("/")):
        raise InputError("the address has no plain path of a repository", hint=_HINT)
    return GitLocation(_plain(parts, path), ref, _subdirectory(parts.fragment))


def _refuse_bad_ref(ref: str) -> None:
    parts = ref.split("/")
    bad = any(not part or part.startswith(".") or part.endswith(".lock") for part in parts)
    if bad or ".." in ref or not _REF.fullmatch(ref):
        raise InputError(
            "what follows the @ is no tag, branch or commit", hint="like v1.2.0, main or 40 digits"
        )


def _plain(parts: SplitResult, path: str) -> str:
    scheme = parts.scheme.removeprefix(GIT_PREFIX)
    return urlunsplit((scheme, parts.netloc.lower(), path, "", ""))


def _subdirectory(fragment: str) -> str:
    if not fragment:
        return ""
    key, _, folder = fragment.partition("=")
    folder = folder.strip("/")
    parts = folder.split("/")
    bad = any(part in ("", ".", "..") or part.lower() == ".git" for part in parts)
    if f"{key}=" != _SUBDIRECTORY or bad or not _PATH.fullmatch(f"/{folder}"):
        raise InputError(
            "what follows the # is no folder of the repository", hint="write #subdirectory=a/b"
        )
    return folder
