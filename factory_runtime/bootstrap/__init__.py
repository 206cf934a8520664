"""Opens the adapters and returns one Runtime. Each is opened where it is first used.

Reading commands must answer at once, so nothing heavy (job types, compiler, LanceDB) is imported
before something asks for it. Where a part is put together, its module's name tells; each stands
on those before it: ground, memory, templates, runs, and then outside and upkeep.
"""

from __future__ import annotations

from dataclasses import dataclass

from factory_runtime.bootstrap.ground import SystemClock
from factory_runtime.bootstrap.outside import OutsideParts
from factory_runtime.bootstrap.upkeep import UpkeepParts
from factory_runtime.settings import Settings


@dataclass(frozen=True)
class Runtime(OutsideParts, UpkeepParts):
    """Everything that a door or a flow needs, opened when it is asked for."""


def open_runtime(settings: Settings | None = None) -> Runtime:
    """The runtime for these settings, or for those of the environment."""
    return Runtime(settings or Settings(), SystemClock())
