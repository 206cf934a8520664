"""What Copier would ask people with: the child asks nobody, and loading it takes a third of its start.

For the child alone, before anything imports Copier.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

_REPLACED = frozenset({"copier", "questionary", "prompt_toolkit"})


class Choice:
    """One answer that a question allows, as ``questionary`` keeps it."""

    def __init__(self, title: str, value: Any = None, disabled: str | None = None) -> None:
        self.title = title
        self.value = title if value is None else value
        self.disabled = disabled


def _ask(*_args: object, **_options: object) -> NoReturn:
    raise AssertionError("a render asks nobody")


_STAND_INS: dict[str, dict[str, object]] = {
    "questionary": {"confirm": _ask, "unsafe_prompt": _ask},
    "questionary.prompts": {},
    "questionary.prompts.common": {"Choice": Choice},
    "prompt_toolkit": {},
    "prompt_toolkit.lexers": {"PygmentsLexer": _ask},
}
"""What Copier imports of both, and no more."""


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
