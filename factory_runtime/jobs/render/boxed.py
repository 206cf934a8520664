"""Copier's worker as the box runs it: nothing of this machine shows, and every write is counted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import copier._main as copier_main
from copier._jinja_ext import get_yield_context
from copier._main import Worker
from copier._settings import SettingsModel
from copier._subproject import Subproject
from copier._template import Template
from copier._types import AnyByStrDict, AnyByStrMutableMapping, LazyDict, Phase
from copier._user_data import DEFAULT_DATA
from copier.errors import ConfigFileError, ForbiddenPathError

from factory_runtime.jobs.render.environment import BoxedEnvironment
from factory_runtime.jobs.render.request import MAX_DEPTH, LayerRequest, LimitName

FOLDER_NAME = "project"
"""What ``_folder_name`` says: a render does not know where its result will go."""


_NO_MAPPING = (
    "it must be a mapping of settings and questions, in which _exclude, _jinja_extensions, "
    "_secret_questions and _skip_if_exists are lists"
)
_SETTINGS: Mapping[str, tuple[type, str]] = {
    "_answers_file": (str, "a path"),
    "_envops": (dict, "a mapping"),
    "_external_data": (dict, "a mapping"),
    "_min_copier_version": (str, "a text, in quotes"),
    "_subdirectory": (str, "a path"),
    "_tasks": (list, "a list"),
    "_templates_suffix": (str, "a text"),
}


class OverLimitError(Exception):
    """The render went over one of its limits."""

    def __init__(self, limit: LimitName) -> None:
        super().__init__(limit)
        self.limit: LimitName = limit


class Budget:
    """How many bytes, files and folders all layers of a render may leave together."""

    def __init__(self, out: Path, size: int, files: int) -> None:
        self._out = out
        self._size = size
        self._files = files
        self._total = 0
        self._sizes: dict[Path, int] = {}

    def check_depth(self, path: Path) -> None:
        if len(path.parts) > MAX_DEPTH:
            raise OverLimitError("depth")

    def count(self, path: Path) -> None:
        """Take a path below ``out`` that was just written into account."""
        place = self._out / path
        size = 0 if place.is_dir() else place.lstat().st_size
        self._total += size - self._sizes.get(path, 0)
        self._sizes[path] = size
        if self._total > self._size:
            raise OverLimitError("size")
        if len(self._sizes) > self._files:
            raise OverLimitError("files")


class BoxedTemplate(Template):
    """A folder under the name and version that the plan gave it: never a repository to clone.

    ``url`` is the source's name and ``ref`` its digest; ``folder`` is where it really lies.
    """

    folder: Path

    @cached_property
    def local_abspath(self) -> Path:
        return self.folder

    @cached_property
    def vcs(self) -> None:
        return None

    @cached_property
    def commit(self) -> str | None:
        return self.ref

    @cached_property
    def _raw_config(self) -> AnyByStrDict:
        try:
            config = super()._raw_config
        except (AttributeError, TypeError) as error:
            raise ConfigFileError(_NO_MAPPING) from error
        if not all(isinstance(key, str) for key in list[object](config)):
            raise ConfigFileError(_NO_MAPPING)
        for setting, (kind, name) in _SETTINGS.items():
            if not isinstance(config.get(setting, kind()), kind):
                raise ConfigFileError(f"{setting} must be {name}")
        if (answers := Path(config.get("_answers_file", ""))).is_absolute():
            raise ForbiddenPathError(path=answers)
        return config


class EmptySubproject(Subproject):
    """The destination, whose answers of an earlier layer are nobody else's."""

    @cached_property
    def last_answers(self) -> AnyByStrDict:
        return {}

    @cached_property
    def vcs(self) -> None:
        return None


class BoxedWorker(Worker):
    """Renders one layer. Made by ``boxed_worker``."""

    layer: LayerRequest
    budget: Budget

    @cached_property
    def template(self) -> Template:
        template = BoxedTemplate(url=self.layer["name"], ref=f"sha256:{self.layer['digest']}")
        template.folder = Path(self.layer["folder"])
        return template

    @cached_property
    def subproject(self) -> Subproject:
        return EmptySubproject(local_abspath=self.dst_path)

    @property
    def answers_relpath(self) -> Path:
        # Copier renders it again for every part of every path; once asked, it stays the same.
        return self._final_answers_relpath if _rendering() else super().answers_relpath

    @cached_property
    def _final_answers_relpath(self) -> Path:
        return super().answers_relpath

    def _render_context(self) -> AnyByStrMutableMapping:
        context = super()._render_context()
        context["_copier_conf"] = LazyDict[str, Any](
            {
                "answers_file": lambda: str(self.answers_relpath),
                "src_path": lambda: self.layer["name"],
                "dst_path": lambda: ".",
                "sep": lambda: "/",
                "os": lambda: "linux",
            }
        )
        context["_copier_phase"] = str(Phase.current())
        context["_copier_python"] = "python3"
        context["_folder_name"] = FOLDER_NAME
        return context

    def _execute_tasks(self, tasks: object) -> None:
        """Copier refuses a template with tasks; this is for the day it does not."""
        if tasks:
            raise AssertionError("tasks do not run in the box")

    def _render_file(
        self,
        src_relpath: Path,
        dst_relpath: Path,
        extra_context: AnyByStrDict | None = None,
    ) -> None:
        self.budget.check_depth(dst_relpath)
        # A `yield` in the path is over; Copier would find it again in a file it compiled before.
        get_yield_context(self.jinja_env).yield_name = None
        super()._render_file(src_relpath, dst_relpath, extra_context)
        self.budget.count(dst_relpath)

    def _render_folder(self, dst_relpath: Path) -> None:
        self.budget.check_depth(dst_relpath)
        super()._render_folder(dst_relpath)
        self.budget.count(dst_relpath)

    def _render_symlink(self, src_relpath: Path, dst_relpath: Path) -> None:
        self.budget.check_depth(dst_relpath)
        super()._render_symlink(src_relpath, dst_relpath)
        self.budget.count(dst_relpath)


def boxed_worker(layer: LayerRequest, out: Path, budget: Budget) -> BoxedWorker:
    """A worker that asks nothing, trusts nothing and overwrites what earlier layers wrote."""
    worker = BoxedWorker(
        dst_path=out,
        data=layer["data"],
        settings=SettingsModel(),
        defaults=True,
        overwrite=True,
        quiet=True,
        cleanup_on_error=False,
    )
    worker.layer = layer
    worker.budget = budget
    return worker


def harden() -> None:
    """Close what Copier leaves open, for this process."""
    # `now` and `make_secret` would render something else every time.
    DEFAULT_DATA.clear()
    replacements: Mapping[str, object] = {
        "SandboxedEnvironment": BoxedEnvironment,
        # Without it Copier looks for git, and runs it, for every file.
        "is_git_available": lambda: False,
        "scantree": _sorted_tree,
    }
    for name, replacement in replacements.items():
        if not hasattr(copier_main, name):
            raise AssertionError(f"this Copier has no {name} to replace")
        setattr(copier_main, name, replacement)


def _sorted_tree(path: str, follow_symlinks: bool) -> Iterator[os.DirEntry[str]]:
    """By name: where two names render to one, the disk's own order would choose the winner."""
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        yield entry
        if entry.is_dir(follow_symlinks=follow_symlinks):
            yield from _sorted_tree(entry.path, follow_symlinks)


def _rendering() -> bool:
    return Phase.current() is Phase.RENDER
