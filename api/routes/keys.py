"""API keys: give them, list them, rotate them, take them back; and who somebody is."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api.access import Admin, Anybody
from api.context import Here
from api.parts import PartChoice, named_by, part
from api.problems import documented
from factory_runtime.domain.durations import DURATION_HINT, parse_duration
from factory_runtime.domain.errors import InputError
from factory_runtime.services import api_keys
from factory_runtime.wire.key import GivenKey, KeyAnswer, Me, NewKey, Rotate
from factory_runtime.wire.page import Part

router = APIRouter(tags=["access"])

KeyId = Annotated[str, Path(alias="keyId", min_length=1, max_length=64)]


@router.get("/me")
def me(who: Anybody) -> Me:
    """Who the credential says that you are, and what you may do."""
    return Me.of(who)


@router.get("/keys")
def list_keys(wanted: Annotated[PartChoice, Query()], admin: Admin, api: Here) -> Part[KeyAnswer]:
    """Keys that you could have given, the newest first; also those that are good no longer."""
    found = api_keys.list_keys(
        api.runtime.store,
        admin,
        limit=wanted.limit + 1,
        before_id=named_by(wanted.cursor, str),
    )
    return part(found, wanted.limit, KeyAnswer.of, lambda key: (key.id,))


@router.post("/keys", status_code=201)
def add_key(asked: NewKey, admin: Admin, api: Here, response: Response) -> GivenKey:
    """Make a key. It is told in this answer alone: who loses it makes another."""
    wanted = api_keys.WantedKey(
        asked.name,
        tuple(one.grant() for one in asked.grants),
        tuple(asked.groups),
        _duration(asked.expires_in),
    )
    return _tell(api_keys.add_key(api.runtime.store, api.runtime.clock, admin, wanted), response)


@router.post("/keys/{keyId}/rotate", status_code=201, responses=documented(404, 409))
def rotate_key(
    key_id: KeyId, admin: Admin, api: Here, response: Response, asked: Rotate | None = None
) -> GivenKey:
    """Make a key that may do the same; the old one is good for a while still."""
    wanted = asked or Rotate()
    given = api_keys.rotate_key(
        api.runtime.store,
        api.runtime.clock,
        admin,
        key_id,
        overlap=_duration(wanted.overlap) or timedelta(0),
        expires_in=_duration(wanted.expires_in),
    )
    return _tell(given, response)


@router.post("/keys/{keyId}/revoke", responses=documented(404))
def revoke_key(key_id: KeyId, admin: Admin, api: Here) -> KeyAnswer:
    """Have a key be good no longer, within seconds."""
    revoked = api_keys.revoke_key(api.runtime.store, api.runtime.clock, admin, key_id)
    return KeyAnswer.of(revoked)


def _tell(given: api_keys.GivenKey, response: Response) -> GivenKey:
    response.headers["Cache-Control"] = "no-store"
    return GivenKey(key=given.fresh.text, made=KeyAnswer.of(given.key))


def _duration(text: str | None) -> timedelta | None:
    if text is None:
        return None
    length = parse_duration(text)
    if length is None:
        raise InputError(f"{text!r} is no duration", hint=DURATION_HINT)
    return length
