"""The folder with policies: one file a tenant, read whole or not at all."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from factory_runtime.compiler.yaml_nodes import MAX_BYTES
from factory_runtime.domain.errors import PolicyUnavailableError
from factory_runtime.domain.ids import is_slug

DEFAULT = "default"
SUFFIX = ".yaml"
_MISSPELT = ".yml"
_LOOKS_LIKE_ONE = {SUFFIX, _MISSPELT, ".json"}
_TRIES = 3


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A file as it was read."""

    path: Path
    body: bytes


class PolicyFolder:
    """Where operators lay policies down: ``<tenant>.yaml``, else ``default.yaml``.

    A file is read anew each time: a policy is small, and no time stamp is fine enough to tell
    whether it is the same. Nothing that goes wrong is taken for "there is no policy".
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, tenant_id: str) -> PolicyText | None:
        """The tenant's file, else the default one; None where the folder has neither.

        Args:
            tenant_id: a slug, which cannot lead out of the folder.

        Raises:
            PolicyUnavailableError: the folder is not there, or the file cannot be read.
        """
        self._refuse_if_away()
        own = self._folder / f"{tenant_id}{SUFFIX}"
        text = _read(own)
        return _read(self._folder / f"{DEFAULT}{SUFFIX}") if text is None else text

    def paths(self) -> tuple[Path, ...]:
        """Every file there that looks like a policy, in the order of names.

        Raises:
            PolicyUnavailableError: the folder is not there, or cannot be read.
        """
        self._refuse_if_away()
        try:
            found = [p for p in self._folder.iterdir() if p.suffix.lower() in _LOOKS_LIKE_ONE]
        except OSError as exc:
            _unavailable(self._folder, f"cannot be read: {exc.strerror}", exc)
        return tuple(sorted(found))

    def read(self, path: Path) -> PolicyText:
        """One of ``paths``.

        Raises:
            PolicyUnavailableError: it cannot be read, is gone, or is called like no tenant.
        """
        if path.suffix != SUFFIX or not is_slug(path.stem):
            _unavailable(path, f"is no tenant's: call it TENANT{SUFFIX}")
        text = _read(path)
        return _unavailable(path, "is gone") if text is None else text

    def _refuse_if_away(self) -> None:
        if not self._folder.is_dir():
            raise PolicyUnavailableError(
                f"there is no policy folder {self._folder}",
                hint="set FACTORY_POLICY_FOLDER to a folder that is there, or unset it",
            )


def _read(path: Path) -> PolicyText | None:
    """The file's text; None where there is no such file."""
    for _ in range(_TRIES):
        try:
            body = _read_once(path)
        except FileNotFoundError as exc:
            if path.is_symlink():
                _unavailable(path, "is a link to nothing", exc)
            if os.path.lexists(path.with_suffix(_MISSPELT)):
                _unavailable(path.with_suffix(_MISSPELT), f"is not called {path.name}", exc)
            return None
        except OSError as exc:
            _unavailable(path, f"cannot be read: {exc.strerror}", exc)
        if body is not None:
            return PolicyText(path, body)
    return _unavailable(path, "changes while it is read")


def _read_once(path: Path) -> bytes | None:
    """What the file holds; None where it was written or replaced meanwhile."""
    with open(path, "rb", opener=_open) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            _unavailable(path, "is not a file")
        body = file.read(MAX_BYTES + 1)
        after = os.fstat(file.fileno())
    try:
        there = path.stat()
    except FileNotFoundError as exc:
        _unavailable(path, "was removed while it was read", exc)
    return body if _state(before) == _state(after) == _state(there) else None


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe is no file: do not wait for its writer


def _state(facts: os.stat_result) -> tuple[int, ...]:
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def _unavailable(path: Path, why: str, cause: BaseException | None = None) -> NoReturn:
    raise PolicyUnavailableError(
        f"the policy {path} {why}", hint="nothing is accepted until somebody mends it"
    ) from cause
