"""What a worker and its warm processes say to each other, over a pipe. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

Hooks = Literal["on_crashed", "on_cancellation"]


@dataclass(frozen=True, slots=True)
class Execute:
    """Execute this flow run.

    Attributes:
        claim: the id of the worker's claim; None where it made none.
    """

    flow_run_id: UUID
    claim: UUID | None = None


@dataclass(frozen=True, slots=True)
class RunHooks:
    """Run hooks of a flow run whose own process could not."""

    flow_run_id: UUID
    hooks: Hooks


@dataclass(frozen=True, slots=True)
class Cancel:
    """Somebody cancelled this flow run: stop it for good, unless it is over."""

    flow_run_id: UUID


@dataclass(frozen=True, slots=True)
class Leave:
    """The worker is to end: put down what is executed, so that another one can go on with it."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Of a process that can begin.

    Attributes:
        preloaded: whether the fork server had imported everything for it.
    """

    preloaded: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """What was told to be done is over.

    Attributes:
        error: why the flow run was not executed to an end that Prefect knows of, or None.
    """

    error: str | None = None


Order = Execute | RunHooks | Cancel | Leave
Answer = Ready | Ended
