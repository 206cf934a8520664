"""Names of repositories: what every git host and every file system takes."""

from __future__ import annotations

import re

from factory_runtime.domain.errors import InputError

REPOSITORY_NAME = r"^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$"
"""As JSON Schema says it; ``check_repository_name`` knows the reserved ones too."""

_NAME = re.compile(REPOSITORY_NAME.removesuffix("$"))
# Names that Windows gives to devices: such a repository could never be checked out there.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?")
_ENDINGS = (".git", ".lock", ".wiki", ".atom")


def check_repository_name(name: str) -> str:
    """The name itself.

    Raises:
        InputError: it cannot be a repository's; the message says why.
    """
    if _NAME.fullmatch(name) is None:
        why = "it must be 1 to 63 of lower-case letters, digits, '.', '_' and '-'"
        hint = "begin and end it with a letter or a digit, like orders-api"
    elif ".." in name:
        why, hint = "it has '..' in it", "use one dot, or a hyphen"
    elif name.endswith(_ENDINGS):
        why, hint = f"git hosts use the ending .{name.rsplit('.')[-1]} themselves", "leave it off"
    elif _DEVICE.fullmatch(name) is not None:
        why, hint = "it names a device on Windows", "add a word, like nul-service"
    else:
        return name
    raise InputError(f"{name[:80]!r} cannot be the name of a repository: {why}", hint=hint)
