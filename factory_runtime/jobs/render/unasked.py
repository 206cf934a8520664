"""What Copier would ask people with, and run git with: the child does neither.

Loading it takes nearly half of the child's start. For the child alone, before anything imports
Copier.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

_REPLACED = frozenset({"copier", "questionary", "prompt_toolkit", "pygments", "plumbum", "dunamai"})


class Choice:
    """One answer that a question allows, as ``questionary`` keeps it."""

    def __init__(self, title: str, value: Any = None, disabled: str | None = None) -> None:
        self.title = title
        self.value = title if value is None else value
        self.disabled = disabled


class ProgramError(Exception):
    """What a program that Copier runs fails with, by ``plumbum``: nobody raises it here."""


class _NoPrograms:
    """``plumbum.local``, where nothing is to be run."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError("a render runs no programs")

    def __getitem__(self, program: str) -> NoReturn:
        raise AssertionError(f"a render does not run {program}")


def _ask(*_args: object, **_options: object) -> NoReturn:
    raise AssertionError("a render asks nobody")


_STAND_INS: dict[str, dict[str, object]] = {
    "questionary": {"confirm": _ask, "unsafe_prompt": _ask},
    "questionary.prompts": {},
    "questionary.prompts.common": {"Choice": Choice},
    "prompt_toolkit": {},
    "prompt_toolkit.lexers": {"PygmentsLexer": _ask},
    "pygments": {},
    "pygments.lexers": {},
    "pygments.lexers.data": {"JsonLexer": _ask, "YamlLexer": _ask},
    "plumbum": {
        "CommandNotFound": ProgramError,
        "ProcessExecutionError": ProgramError,
        "TF": None,
        "colors": None,
        "local": _NoPrograms(),
    },
    "plumbum.commands": {},
    "plumbum.commands.base": {"BaseCommand": object},
    "plumbum.commands.processes": {"ProcessExecutionError": ProgramError},
    "plumbum.machines": {"local": _NoPrograms()},
    "dunamai": {},
}
"""What Copier imports of them, and no more."""


def import_copier() -> None:
    """Import it with these in place; a release that imports more of them gets the real ones."""
    for name, members in _STAND_INS.items():
        module = ModuleType(name)
        vars(module).update(members)
        sys.modules[name] = module
    try:
        import_module("copier")
    except (ImportError, AttributeError):
        for name in [one for one in sys.modules if one.partition(".")[0] in _REPLACED]:
            del sys.modules[name]
        import_module("copier")
