"""An API key: who comes with it, what they may do, and how long it is good."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from factory_runtime.domain.access import RIGHTS, Grant, Principal, Right

KEY_BEGINNING = "fk_"
"""Every key begins so: those who look for keys in what was published find ours by it."""

_FORM = re.compile(r"fk_([a-z2-7]{12})_[A-Za-z0-9_-]{43}")
_PREFIX_BYTES = 8
_PREFIX_LETTERS = 12
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key: all but the key itself.

    Attributes:
        prefix: its public part, 12 letters of base 32; unique over all tenants.
        hash: SHA-256 of the whole key, 64 hex digits. Its 256 random bits need no slow hash.
        name: who comes with it: in runs, votes and the audit.
        groups: names that approvals may be asked of.
        expires_at: it is good until then; None is until it is revoked.
        last_used_at: to the minute, about; None is never.
        replaces: id of the key that was rotated.
        givers: who gave ``created_by`` their key, and who gave those theirs, up to the first; of a
            key that was rotated, also who has given the one before.
    """

    tenant_id: str
    id: str
    prefix: str
    hash: str
    name: str
    grants: tuple[Grant, ...]
    groups: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    last_used_at: datetime | None = None
    replaces: str | None = None
    givers: tuple[str, ...] = ()

    @property
    def behind(self) -> frozenset[str]:
        """Who could come with it beside whom it is for: all that gave it, directly or not."""
        return frozenset({self.created_by, *self.givers})

    def was_good_after(self, at: datetime) -> bool:
        """Whether it was good at some time since then."""
        ends = (end for end in (self.revoked_at, self.expires_at) if end is not None)
        return all(end > at for end in ends)

    def is_good(self, now: datetime) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def revoke(self, by: str, now: datetime) -> ApiKey:
        return replace(self, revoked_at=now, revoked_by=by)

    def expire_by(self, at: datetime) -> ApiKey:
        """It is good no longer than until then."""
        return replace(self, expires_at=at if self.expires_at is None else min(at, self.expires_at))

    def principal(self, origin: str | None = None) -> Principal:
        """Who comes with it."""
        groups = frozenset(self.groups)
        return Principal(
            self.name, self.tenant_id, self.grants, groups, self.id, origin, self.behind
        )


@dataclass(frozen=True, slots=True)
class FreshKey:
    """A key that was made just now: told once, kept nowhere."""

    text: str

    def __repr__(self) -> str:
        return f"FreshKey({KEY_BEGINNING}{self.prefix}_…)"

    @classmethod
    def make(cls) -> FreshKey:
        """Of the system's random numbers: 60 bits to find it by, 256 that are the secret."""
        letters = base64.b32encode(secrets.token_bytes(_PREFIX_BYTES)).decode().lower()
        prefix = letters[:_PREFIX_LETTERS]
        return cls(f"{KEY_BEGINNING}{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}")

    @property
    def prefix(self) -> str:
        return prefix_of(self.text)

    @property
    def hash(self) -> str:
        return hash_of(self.text)


def prefix_of(key: str) -> str:
    """The part of a key that it is found by; of what is no key, one that no key has."""
    match = _FORM.fullmatch(key)
    return match[1] if match else "-"


def hash_of(key: str) -> str:
    """What is kept of a key, 64 hex digits; of any text."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def may_give(giver: Principal, grants: Iterable[Grant], groups: Iterable[str]) -> bool:
    """Whether they hold all of it themselves, and may give access there.

    Who gives access to all of the tenant may put a key into any group, as they may give any role.
    """
    if giver.may_everywhere(Right.ADMINISTER):
        return True
    if not set(groups) <= giver.groups:
        return False
    return all(
        grant.project_id is not None
        and giver.may(Right.ADMINISTER, grant.project_id)
        and all(giver.may(right, grant.project_id) for right in RIGHTS[grant.role])
        for grant in grants
    )
