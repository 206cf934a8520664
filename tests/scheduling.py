"""Which worker tests run on, where there are several; in which order; and on which database."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from zlib import crc32

import pytest
from xdist.scheduler import (  # pyright: ignore[reportMissingTypeStubs] - it has types, no stubs
    LoadFileScheduling,
)

_ROOT = Path(__file__).parents[1]
_FROM_STACK = re.compile(r"^from tests\.(executors|prefect_server) import ", re.MULTILINE)
_DATABASE = re.compile(r"\b(sqlite|postgres)\b(?=[^\[]*\]$)")
_OF_SERVICES = ("tests/unit/services/", "tests/property/")
_LONG_ONES_FIRST = ("recovery", "flows", "system", "property", "contract")


class Scheduling(LoadFileScheduling):
    """What ``scope_of`` says belongs together stays on one worker."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def scope_of(nodeid: str) -> str:
    """The file of a test, or the folder whose stack it shares.

    Another worker would start a stack of its own for its part of them.
    """
    file, _, _ = nodeid.partition("::")
    return _stack_of(file) or file


def in_order(items: list[pytest.Item]) -> None:
    """Begin with those that share a stack, then with folders of long tests.

    The former mostly wait: from the start, some worker has something to compute meanwhile. At the
    end, no worker waits long for another's.
    """

    def rank(item: pytest.Item) -> tuple[bool, int]:
        folder = item.path.parent.name
        place = _LONG_ONES_FIRST.index(folder) if folder in _LONG_ONES_FIRST else 99
        return scope_of(item.nodeid).endswith(".py"), place

    items.sort(key=rank)


def leave_twins_to_soak(items: list[pytest.Item]) -> None:
    """Have `make test` run a service's test on one of the databases; `make soak` runs the other.

    That stores do alike is what ``tests/contract`` shows, on all of them.
    """
    at_once = {
        item.nodeid: item
        for item in items
        if item.nodeid.startswith(_OF_SERVICES) and not item.get_closest_marker("soak")
    }
    for name in twins(at_once):
        at_once[name].add_marker(pytest.mark.soak)


def twins(nodeids: Iterable[str]) -> set[str]:
    """Of tests that differ by the database alone, all but one: always the same, on either of them."""
    alike: dict[str, list[str]] = defaultdict(list)
    for nodeid in nodeids:
        alike[_DATABASE.sub("", nodeid)].append(nodeid)
    ours: set[str] = set()
    for shared, those in alike.items():
        ours |= set(those) - {sorted(those)[crc32(shared.encode()) % len(those)]}
    return ours


@cache
def _stack_of(file: str) -> str | None:
    """The folder whose stack the tests of a file share, if they do; both from the root."""
    folder, _, _ = file.rpartition("/")
    if folder == "tests/flows":
        return folder
    if folder == "tests/recovery" and _FROM_STACK.search((_ROOT / file).read_text()):
        return folder
    return None
