"""What every command begins with: settings, the runtime, and where to write."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cli.screen import Screen
from factory_runtime.domain.errors import InputError, Problem, ProblemsError
from factory_runtime.domain.ids import is_slug

if TYPE_CHECKING:
    from pydantic import ValidationError

    from factory_runtime.bootstrap import Runtime
    from factory_runtime.ports import RunTransaction
    from factory_runtime.settings import Settings


class BadSettingsError(ProblemsError):
    """Settings in the environment that make no sense; all of them are named."""


@dataclass(frozen=True)
class Door:
    """A command's way in, for one tenant."""

    runtime: Runtime
    tenant: str
    json: bool
    screen: Screen = field(default_factory=Screen)

    @property
    def settings(self) -> Settings:
        return self.runtime.settings

    @contextmanager
    def reading(self) -> Generator[RunTransaction]:
        """A transaction that only reads."""
        with self.runtime.store.begin(self.tenant, read_only=True) as tx:
            yield tx


def open_door(*, tenant: str | None = None, json: bool = False) -> Door:
    """Read the settings and open the runtime; nothing is connected yet.

    Raises:
        InputError: a setting makes no sense, or the tenant's name cannot be one.
    """
    settings = read_settings()
    from factory_runtime.bootstrap import open_runtime
    from factory_runtime.services.audit import CLI, act_from

    act_from(CLI)
    name = tenant or settings.tenant
    if not is_slug(name):
        raise InputError(
            f"{name!r} cannot be a tenant", hint="use lower-case letters, digits, - _ or ."
        )
    return Door(open_runtime(settings), name, json)


def read_settings() -> Settings:
    """The settings of the environment.

    Raises:
        BadSettingsError: some make no sense.
    """
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from factory_runtime.settings import Settings

    try:
        return Settings()
    except ValidationError as exc:
        problems = [_problem(detail) for detail in _details(exc)]
        raise _bad_settings(problems) from exc
    except SettingsError as exc:
        name = str(exc).split('"')[1] if '"' in str(exc) else "a setting"
        problem = Problem(
            f"FACTORY_{name.upper()}",
            0,
            0,
            "json",
            'is no JSON, like ["/one", "/two"] or {"one": 2}',
        )
        raise _bad_settings([problem]) from exc


def person() -> str:
    """Who types: the operating system's user, by the process's number alone.

    Nothing that a person can set says who it is: no variable of the environment, no option.
    """
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return f"uid-{os.getuid()}"


def person_groups() -> frozenset[str]:
    """The operating system's groups of who types, by name."""
    try:
        user = pwd.getpwuid(os.getuid())
        numbers = os.getgrouplist(user.pw_name, user.pw_gid)
    except KeyError:
        numbers = [os.getgid(), *os.getgroups()]
    return frozenset(name for number in numbers if (name := _group(number)) is not None)


def _group(number: int) -> str | None:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return None


def _details(error: ValidationError) -> list[tuple[str, str, object]]:
    return [
        (str(detail["loc"][0]) if detail["loc"] else "?", detail["msg"], detail["input"])
        for detail in error.errors(include_url=False)
    ]


def _problem(detail: tuple[str, str, object]) -> Problem:
    name, message, given = detail
    return Problem(f"FACTORY_{name.upper()}", 0, 0, "setting", f"is {given!r}: {message}")


def _bad_settings(problems: list[Problem]) -> BadSettingsError:
    return BadSettingsError(
        "the settings in the environment make no sense",
        problems,
        hint="correct or unset these variables",
    )
