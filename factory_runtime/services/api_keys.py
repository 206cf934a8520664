"""Give API keys, list them, take them back, and rotate them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from factory_runtime.domain.access import Grant, Principal, Right, is_person
from factory_runtime.domain.api_key import ApiKey, FreshKey, may_give
from factory_runtime.domain.errors import (
    ApiKeyNotFoundError,
    ConflictError,
    ForbiddenError,
    InputError,
)
from factory_runtime.domain.ids import new_id
from factory_runtime.ports import Clock, RunStore, RunTransaction
from factory_runtime.services.audit import leave_audit

OVERLAP = timedelta(hours=24)
"""How long a key that was rotated is good still."""

LONGEST = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class WantedKey:
    """What a new key is to be.

    Attributes:
        name: who will come with it.
        expires_in: how long it is good; None is until it is revoked.
    """

    name: str
    grants: tuple[Grant, ...]
    groups: tuple[str, ...] = ()
    expires_in: timedelta | None = None


@dataclass(frozen=True, slots=True)
class GivenKey:
    """A key just made, and what it is shown by: told this once."""

    key: ApiKey
    fresh: FreshKey


def add_key(store: RunStore, clock: Clock, giver: Principal, wanted: WantedKey) -> GivenKey:
    """Make a key.

    Raises:
        InputError: nobody may be called so, or it would be good for nothing.
        ForbiddenError: it would allow what the giver may not themselves.
    """
    giver.require(Right.ADMINISTER)
    _check(wanted)
    if not may_give(giver, wanted.grants, wanted.groups):
        raise ForbiddenError(
            f"{giver.name} cannot give a role, a project or a group that is not theirs",
            hint="name a project that you administer, like operator:shop",
        )
    now = clock.now()
    given = _make(giver, wanted, now)
    with store.begin(giver.tenant_id) as tx:
        tx.add_api_key(given.key)
        leave_audit(tx, giver.name, "key.add", given.key.id, _facts(given.key), now)
    return given


def list_keys(
    store: RunStore, lister: Principal, *, limit: int, before_id: str | None = None
) -> tuple[ApiKey, ...]:
    """Keys that the lister might have given, the newest first; ``before_id`` continues."""
    lister.require(Right.ADMINISTER)
    theirs: list[ApiKey] = []
    with store.begin(lister.tenant_id, read_only=True) as tx:
        while True:
            found = tx.list_api_keys(limit=limit, before_id=before_id)
            theirs += [key for key in found if may_give(lister, key.grants, key.groups)]
            if len(found) < limit or len(theirs) >= limit:
                return tuple(theirs[:limit])
            before_id = found[-1].id


def has_good_key(store: RunStore, clock: Clock, tenant_id: str) -> bool:
    """Whether the tenant has a key that somebody could come with."""
    with store.begin(tenant_id, read_only=True) as tx:
        return bool(tx.list_api_keys(good_at=clock.now(), limit=1))


def revoke_key(store: RunStore, clock: Clock, revoker: Principal, key_id: str) -> ApiKey:
    """Have a key be good no longer; of one that is revoked already nothing is changed.

    The last one that can give access goes too: who has lost a key must be able to revoke it, and
    `factory keys add` makes another beside the store.

    Raises:
        ApiKeyNotFoundError: there is none, or it is beyond the revoker.
    """
    now = clock.now()
    with store.begin(revoker.tenant_id) as tx:
        stands = _lock(tx, revoker, key_id)
        if stands.revoked_at is not None:
            return stands
        revoked = stands.revoke(revoker.name, now)
        tx.save_api_key(revoked)
        leave_audit(tx, revoker.name, "key.revoke", key_id, _facts(revoked), now)
    return revoked


def rotate_key(
    store: RunStore,
    clock: Clock,
    rotator: Principal,
    key_id: str,
    *,
    overlap: timedelta = OVERLAP,
    expires_in: timedelta | None = None,
) -> GivenKey:
    """Make a key that may do the same, and have the old one expire after the overlap.

    Args:
        store: where both are kept.
        clock: tells when.
        rotator: who asks.
        key_id: the old one.
        overlap: may be nothing at all.
        expires_in: how long the new one is good; None is as long as the old one was made for.

    Raises:
        ApiKeyNotFoundError: there is none, or it is beyond the rotator.
        ConflictError: it is good no longer, or was rotated already.
    """
    if not timedelta(0) <= overlap <= LONGEST:
        raise InputError(f"an overlap is between nothing and {LONGEST.days} days")
    now = clock.now()
    with store.begin(rotator.tenant_id) as tx:
        old = _lock(tx, rotator, key_id)
        _refuse_rotated(tx, old, now)
        length = expires_in or (old.expires_at - old.created_at if old.expires_at else None)
        wanted = WantedKey(old.name, old.grants, old.groups, length)
        _check(wanted)
        given = _make(rotator, wanted, now)
        # Who has given the old one may have come with it: a new one makes nobody forget that.
        givers = tuple(sorted({*given.key.givers, *old.behind}))
        given = replace(given, key=replace(given.key, replaces=old.id, givers=givers))
        tx.save_api_key(old.expire_by(now + overlap))
        tx.add_api_key(given.key)
        facts = {**_facts(given.key), "replaces": old.id, "overlap": overlap.total_seconds()}
        leave_audit(tx, rotator.name, "key.rotate", given.key.id, facts, now)
    return given


def _lock(tx: RunTransaction, who: Principal, key_id: str) -> ApiKey:
    who.require(Right.ADMINISTER)
    key = tx.lock_api_key(key_id)
    if not may_give(who, key.grants, key.groups):
        raise ApiKeyNotFoundError(key_id)
    return key


def _refuse_rotated(tx: RunTransaction, old: ApiKey, now: datetime) -> None:
    if (newer := tx.find_replacement(old.id)) is not None:
        raise ConflictError(
            f"API key {old.id} was replaced by {newer.id} already",
            hint=f"if that one was lost on its way, rotate {newer.id}",
        )
    if not old.is_good(now):
        raise ConflictError(
            f"API key {old.id} is revoked or expired", hint="make one anew: factory keys add"
        )


def _check(wanted: WantedKey) -> None:
    if not is_person(wanted.name):
        raise InputError(f"nobody can be called {wanted.name!r}", hint="name a person or a service")
    if not all(is_person(name) for name in wanted.groups):
        raise InputError("a group has no such name", hint="like ops, without group:")
    if not wanted.grants:
        raise InputError("a key without a role is good for nothing", hint="--role viewer, say")
    if wanted.expires_in is not None and not timedelta(0) < wanted.expires_in <= LONGEST:
        raise InputError(f"a key is good for {LONGEST.days} days at most, or without an end")


def _make(giver: Principal, wanted: WantedKey, now: datetime) -> GivenKey:
    fresh = FreshKey.make()
    key = ApiKey(
        tenant_id=giver.tenant_id,
        id=new_id("key"),
        prefix=fresh.prefix,
        hash=fresh.hash,
        name=wanted.name,
        grants=tuple(dict.fromkeys(wanted.grants)),
        groups=tuple(dict.fromkeys(wanted.groups)),
        created_at=now,
        created_by=giver.name,
        expires_at=None if wanted.expires_in is None else now + wanted.expires_in,
        givers=tuple(sorted(giver.behind)),
    )
    return GivenKey(key, fresh)


def _facts(key: ApiKey) -> Mapping[str, Any]:
    return {
        "name": key.name,
        "prefix": key.prefix,
        "grants": [str(grant) for grant in key.grants],
        "groups": list(key.groups),
        "expires_at": None if key.expires_at is None else key.expires_at.isoformat(),
    }
