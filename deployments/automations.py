"""Automations that the factory wants on a Prefect server: made once, and repaired when they differ.

Prefect gives automations no unique name, so ours are known by a tag. Whoever makes one looks
afterwards whether there are two, and all who look leave the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from prefect.automations import AutomationCore

from factory_runtime.domain.errors import ConflictError
from factory_runtime.orchestration.prefect_api import GoneError, ask

_PAGE = 200
_TRIES = 3

_COMPARED = (
    "name",
    "description",
    "trigger",
    "actions",
    "actions_on_trigger",
    "actions_on_resolve",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An automation as it is to be.

    Attributes:
        tag: what it is known by on the server; it is one of the automation's tags.
        own_actions: False where people choose what it does: what they chose is kept.
    """

    tag: str
    automation: AutomationCore
    own_actions: bool = True


@dataclass(frozen=True, slots=True)
class Standing:
    """What came of one.

    Attributes:
        did: ``created``, ``repaired``, ``unchanged`` or ``skipped``.
        detail: what differed, or why it was skipped.
        enabled: False where somebody switched it off; that is kept.
    """

    name: str
    did: str
    id: UUID | None = None
    detail: tuple[str, ...] = ()
    enabled: bool = True


def deploy(wanted: Sequence[Wanted]) -> tuple[Standing, ...]:
    """Have the server keep each of these once, and as it is wanted; what is switched off stays off.

    Raises:
        PrefectUnavailableError: no server answers.
        HostRejectedError: it refuses one.
        ConflictError: others change the same ones all the time.
    """
    return tuple(_steadily(one) for one in wanted)


def _steadily(wanted: Wanted) -> Standing:
    for _ in range(_TRIES):
        with suppress(GoneError):  # somebody else has removed it as a double of theirs
            return _ensure(wanted)
    raise ConflictError(
        f"the automation {wanted.automation.name!r} is changed all the time", hint="try it again"
    )


def _ensure(wanted: Wanted) -> Standing:
    made: str | None = None
    found = _find(wanted)
    if not found:
        made = str(ask("POST", "/automations/", _body(wanted.automation))["id"])
        found = _find(wanted)
        if not found:
            raise GoneError(f"automation {made} is gone")
    kept, *doubles = found
    for double in doubles:
        with suppress(GoneError):
            ask("DELETE", "/automations/{id}", id=double["id"])
    stands = AutomationCore.model_validate(kept)
    if kept["id"] == made:
        return Standing(stands.name, "created", UUID(made))
    return _repair(wanted, kept["id"], stands)


def _repair(wanted: Wanted, automation_id: str, stands: AutomationCore) -> Standing:
    changes: dict[str, Any] = {"enabled": stands.enabled}
    if not wanted.own_actions:
        changes["actions"] = stands.actions
    changes["tags"] = sorted({*stands.tags, *wanted.automation.tags})
    as_wanted = wanted.automation.model_copy(update=changes)
    differs = [name for name in _COMPARED if getattr(stands, name) != getattr(as_wanted, name)]
    if not set(wanted.automation.tags) <= set(stands.tags):
        differs.append("tags")
    if differs:
        ask("PUT", "/automations/{id}", _body(as_wanted), id=automation_id)
    did = "repaired" if differs else "unchanged"
    name = as_wanted.name
    return Standing(name, did, UUID(automation_id), tuple(differs), stands.enabled)


def _find(wanted: Wanted) -> list[dict[str, Any]]:
    """Those with its tag, the oldest first; where there is none, one that only has its name."""
    everything = list[dict[str, Any]]()
    while True:
        body = {"limit": _PAGE, "offset": len(everything)}
        page = ask("POST", "/automations/filter", body)
        everything += page
        if len(page) < _PAGE:
            break
    everything.sort(key=_age)
    tagged = [one for one in everything if wanted.tag in one["tags"]]
    # Somebody else's of the same name is not ours to remove: the first is taken over.
    return tagged or [one for one in everything if one["name"] == wanted.automation.name][:1]


def _age(found: dict[str, Any]) -> tuple[datetime, str]:
    return datetime.fromisoformat(found["created"]), found["id"]


def _body(automation: AutomationCore) -> dict[str, Any]:
    return automation.model_dump(mode="json", exclude={"owner_resource"})
