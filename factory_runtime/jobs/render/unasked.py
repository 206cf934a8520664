"""What Copier would ask people with: the child asks nobody, and loading it takes a third of its start.

To be used before Copier is imported, and in the child alone.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, NoReturn


class Choice:
    """One answer that a question allows, as ``questionary`` keeps it."""

    def __init__(self, title: str, value: Any = None, disabled: str | None = None) -> None:
        self.title = title
        self.value = title if value is None else value
        self.disabled = disabled


def _ask(*_args: object, **_options: object) -> NoReturn:
    raise AssertionError("a render asks nobody")


def leave_out_prompts() -> None:
    """Put what Copier imports of ``questionary`` and ``prompt_toolkit``, and no more, in place."""
    stand_ins: dict[str, dict[str, object]] = {
        "questionary": {"confirm": _ask, "unsafe_prompt": _ask},
        "questionary.prompts": {},
        "questionary.prompts.common": {"Choice": Choice},
        "prompt_toolkit": {},
        "prompt_toolkit.lexers": {"PygmentsLexer": _ask},
    }
    for name, members in stand_ins.items():
        module = ModuleType(name)
        vars(module).update(members)
        sys.modules[name] = module
