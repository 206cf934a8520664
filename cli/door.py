"""What every command begins with: settings, whom it asks, and where to write."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cli.screen import Screen
from factory_runtime.domain.errors import InputError, Problem, ProblemsError
from factory_runtime.domain.ids import is_slug

if TYPE_CHECKING:
    from pydantic import ValidationError

    from cli.desk.desk import Desk
    from cli.desk.local import LocalDesk
    from factory_runtime.bootstrap import Runtime
    from factory_runtime.settings import Settings


_opened = ExitStack()


class BadSettingsError(ProblemsError):
    """Settings in the environment that make no sense; all of them are named."""


@dataclass(frozen=True)
class Door:
    """A command's way in, for one tenant: to the stores here, or by a Factory API."""

    desk: Desk
    json: bool
    screen: Screen = field(default_factory=Screen)


@dataclass(frozen=True)
class StoreDoor(Door):
    """A way in for what only the stores themselves can be asked."""

    desk: LocalDesk

    @property
    def runtime(self) -> Runtime:
        return self.desk.runtime

    @property
    def settings(self) -> Settings:
        return self.runtime.settings

    @property
    def tenant(self) -> str:
        return self.desk.tenant


def open_door(*, tenant: str | None = None, json: bool = False, confirms: bool = False) -> Door:
    """The way in that the settings say; nothing is connected yet.

    Args:
        tenant: whose records.
        json: whether it is told to a program.
        confirms: whether the tenant is named to say what is meant, and so to an API too.

    Raises:
        InputError: a setting makes no sense, or the tenant cannot be named, or not like this.
    """
    settings = read_settings()
    if settings.api_url is None:
        return _open_stores(settings, tenant, json=json)
    if tenant is not None and not confirms:
        raise InputError(
            "--tenant is not for the Factory API: the credential says whose records they are",
            hint="leave out --tenant, or set FACTORY_API_KEY to a key of that tenant",
        )
    door = _open_api(settings, settings.api_url, json=json)
    if tenant is not None and tenant != door.desk.tenant:
        raise InputError(
            f"{tenant!r} is not the credential's tenant: that is {door.desk.tenant}",
            hint="set FACTORY_API_KEY to a key of that tenant",
        )
    return door


def close_doors() -> None:
    """Close the connections of all that were opened, when a command has ended."""
    _opened.close()


def open_stores(*, tenant: str | None = None, json: bool = False) -> StoreDoor:
    """The way in for a command that works on the stores themselves; nothing is connected yet.

    Raises:
        InputError: as ``open_door``; or the settings name an API.
    """
    settings = read_settings()
    refuse_api("this command", settings)
    return _open_stores(settings, tenant, json=json)


def open_here(*, tenant: str | None = None, json: bool = False) -> StoreDoor:
    """The way in for what only looks at files of this machine, whatever the settings name.

    Raises:
        InputError: as ``open_door``.
    """
    return _open_stores(read_settings(), tenant, json=json)


def refuse_api(what: str, settings: Settings) -> None:
    """Raises InputError where the commands are to ask an API, and this cannot."""
    if settings.api_url is not None:
        raise InputError(
            f"{what} works on the stores, and not by the Factory API at {settings.api_url}",
            hint="unset FACTORY_API_URL, where the stores are",
        )


def _open_stores(settings: Settings, tenant: str | None, *, json: bool) -> StoreDoor:
    from cli.desk.local import LocalDesk
    from factory_runtime.bootstrap import open_runtime
    from factory_runtime.services.audit import CLI, act_from

    act_from(CLI)
    name = tenant or settings.tenant
    if not is_slug(name):
        raise InputError(
            f"{name!r} cannot be a tenant", hint="use lower-case letters, digits, - _ or ."
        )
    return StoreDoor(LocalDesk(open_runtime(settings), name), json)


def _open_api(settings: Settings, url: str, *, json: bool) -> Door:
    from cli.desk.remote import RemoteDesk
    from factory_runtime.client import FactoryClient, Target
    from factory_runtime.wire.paths import API_PREFIX

    key = None if settings.api_key is None else settings.api_key.get_secret_value()
    host = url.rstrip("/").removesuffix(API_PREFIX)
    client = FactoryClient(Target(host, key, plain_http=settings.api_plain_http))
    _opened.callback(client.close)
    return Door(RemoteDesk(client, settings.project), json)


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
