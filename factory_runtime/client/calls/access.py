"""Who may: keys, oneself; and how the factory does."""

from __future__ import annotations

from factory_runtime.client.call import Call, body_of, path_of, query_of
from factory_runtime.wire.health import HealthAnswer
from factory_runtime.wire.key import GivenKey, KeyAnswer, Me, NewKey, Rotate
from factory_runtime.wire.page import Part


def list_keys(*, limit: int = 200, cursor: str | None = None) -> Call[Part[KeyAnswer]]:
    """Keys, the newest first; also those that are good no longer."""
    return Call("GET", "/keys", Part[KeyAnswer], query_of(limit=limit, cursor=cursor))


def add_key(asked: NewKey) -> Call[GivenKey]:
    """Make a key; a second time it is another one."""
    return Call("POST", "/keys", GivenKey, body=body_of(asked), is_repeatable=False)


def rotate_key(key_id: str, asked: Rotate) -> Call[GivenKey]:
    """Make a key that may do the same."""
    path = path_of("keys", key_id, "rotate")
    return Call("POST", path, GivenKey, body=body_of(asked), is_repeatable=False)


def revoke_key(key_id: str) -> Call[KeyAnswer]:
    """Have a key be good no longer."""
    return Call("POST", path_of("keys", key_id, "revoke"), KeyAnswer)


def who_am_i() -> Call[Me]:
    """As whom the API takes this client, and what that one may do."""
    return Call("GET", "/me", Me)


def get_health() -> Call[HealthAnswer]:
    """How the factory does."""
    return Call("GET", "/health", HealthAnswer)
