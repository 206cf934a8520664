"""How long artifacts are kept."""

from __future__ import annotations

from factory_runtime.client.call import Call, body_of, path_of, query_of
from factory_runtime.wire.history import ArtifactAnswer
from factory_runtime.wire.keeping import HoldAnswer, NewExpiry, NewHold
from factory_runtime.wire.page import Part


def set_expiry(artifact_id: str, wanted: NewExpiry) -> Call[ArtifactAnswer]:
    """Have an artifact expire then, or once it was downloaded."""
    path = path_of("artifacts", artifact_id, "expiry")
    return Call("POST", path, ArtifactAnswer, body=body_of(wanted))


def list_holds(
    *, released: bool = False, limit: int = 200, cursor: str | None = None
) -> Call[Part[HoldAnswer]]:
    """What is held, the oldest first."""
    query = query_of(released=released or None, limit=limit, cursor=cursor)
    return Call("GET", "/holds", Part[HoldAnswer], query)


def add_hold(asked: NewHold) -> Call[HoldAnswer]:
    """Keep an artifact, or all that a run made."""
    return Call("POST", "/holds", HoldAnswer, body=body_of(asked), is_repeatable=False)


def release_hold(hold_id: str) -> Call[HoldAnswer]:
    """Have a hold stand no more."""
    return Call("POST", path_of("holds", hold_id, "release"), HoldAnswer)
