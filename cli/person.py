"""Who types a command, as this machine has it."""

from __future__ import annotations

import grp
import os
import pwd


def person() -> str:
    """The operating system's user, by the process's number alone.

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
