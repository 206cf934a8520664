"""Makes a bare repository appear at once, whole and marked as ours."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from factory_runtime.domain.errors import FactoryError
from factory_runtime.hosts.git import git
from factory_runtime.hosts.history import BRANCH
from factory_runtime.hosts.written import fsync_folder

UNFINISHED = ".unfinished-"
"""How the names of folders begin that nobody needs, once they are old."""

_ABANDONED_AFTER = timedelta(hours=1)


def create_repository(place: Path, marks: Mapping[str, str], description: str) -> bool:
    """Make it beside its place and rename it there; False where somebody else was first.

    Args:
        place: where it is to be.
        marks: what its configuration says below ``factory``.
        description: one line for people.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    _sweep_unfinished(place.parent)
    temporary = place.parent / f"{UNFINISHED}{secrets.token_hex(8)}"
    try:
        git(temporary, "init", "--bare", "--quiet", "--template=", f"--initial-branch={BRANCH}")
        with (temporary / "config").open("a", encoding="utf-8", errors="replace") as config:
            config.write("[factory]\n")
            config.writelines(f"\t{key} = {_quoted(text)}\n" for key, text in marks.items())
        line = " ".join(description.split())
        (temporary / "description").write_text(f"{line}\n", encoding="utf-8", errors="replace")
        (temporary / "factory").mkdir()
        _make_durable(temporary)
        try:
            temporary.rename(place)
        except OSError:
            if os.path.lexists(place):
                return False
            raise
        for folder in place.parents[:3]:
            fsync_folder(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def read_marks(place: Path) -> dict[str, str]:
    """What the configuration of a repository says below ``factory``; empty if it is not one."""
    config = place / "config"
    if place.is_symlink() or not config.is_file():
        return {}
    try:
        printed = git(place, "config", "--null", "--file", str(config), "--list")
    except FactoryError:
        if config.is_file():
            raise
        return {}  # somebody has removed it meanwhile
    settings = (line.partition("\n") for line in printed.decode(errors="replace").split("\0"))
    return {
        key.removeprefix("factory."): text
        for key, _, text in settings
        if key.startswith("factory.")
    }


def _make_durable(folder: Path) -> None:
    for root, _, files in os.walk(folder):
        for name in files:
            with (Path(root) / name).open("rb") as file:
                os.fsync(file.fileno())
        fsync_folder(Path(root))


def _sweep_unfinished(folder: Path) -> None:
    oldest = time.time() - _ABANDONED_AFTER.total_seconds()
    for leftover in folder.glob(f"{UNFINISHED}*"):
        with contextlib.suppress(FileNotFoundError):
            if leftover.stat().st_mtime < oldest:
                shutil.rmtree(leftover, ignore_errors=True)


def _quoted(text: str) -> str:
    """A value of git's configuration: one line, in quotes."""
    plain = " ".join(text.split()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"'
