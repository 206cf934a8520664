"""API keys, and who somebody is."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue

from factory_runtime.domain.access import Grant, Principal, Role
from factory_runtime.domain.api_key import ApiKey
from factory_runtime.wire.base import Answer, Question
from factory_runtime.wire.run import Name, Slug

Duration = Annotated[str, Field(min_length=1, max_length=32)]

_ASKED: dict[str, JsonValue] = {
    "name": "shop-deploys",
    "grants": [{"role": "operator", "projectId": "shop"}],
    "expiresIn": "90d",
}


class WantedGrant(Question):
    """A role, in one project or in all."""

    role: Role
    project_id: Slug | None = Field(default=None, description="null is all, also those to come")

    def grant(self) -> Grant:
        """As the core has it."""
        return Grant(self.role, self.project_id)


class NewKey(Question):
    """A key that somebody is to have."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ASKED]})

    name: Name = Field(description="who comes with it: in runs, votes and the audit")
    grants: Annotated[list[WantedGrant], Field(min_length=1, max_length=100)]
    groups: Annotated[list[Name], Field(max_length=100)] = Field(
        default_factory=list[Name], description="names that approvals may be asked of"
    )
    expires_in: Duration | None = Field(
        default=None, description="like `90d`; null is until it is revoked"
    )


class Rotate(Question):
    """How a key is to be replaced."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap": "24h"}]})

    overlap: Duration = Field(default="24h", description="how long the old one is good still")
    expires_in: Duration | None = Field(
        default=None, description="null is as long as the old one was made for"
    )


class GrantAnswer(Answer):
    """A role, in one project or in all."""

    role: Role
    project_id: str | None = None

    @classmethod
    def of(cls, grant: Grant) -> GrantAnswer:
        """What a grant says."""
        return cls(role=grant.role, project_id=grant.project_id)


class KeyAnswer(Answer):
    """A key, but for the key itself."""

    key_id: str
    prefix: str = Field(description="what the key begins with, behind `fk_`")
    name: str
    grants: tuple[GrantAnswer, ...]
    groups: tuple[str, ...]
    created_at: datetime
    created_by: str
    givers: tuple[str, ...] = Field(
        default=(), description="who gave `createdBy` their key, and who gave theirs"
    )
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    last_used_at: datetime | None = Field(default=None, description="to the minute, about")
    replaces: str | None = Field(default=None, description="the key that was rotated")

    @classmethod
    def of(cls, key: ApiKey) -> KeyAnswer:
        """What a key's record says."""
        said = {name: getattr(key, name) for name in cls.model_fields.keys() - {"key_id", "grants"}}
        return cls(key_id=key.id, grants=tuple(map(GrantAnswer.of, key.grants)), **said)


class GivenKey(Answer):
    """A key that was made just now."""

    key: str = Field(description="what to show: it is told this once, and kept nowhere")
    made: KeyAnswer


class Me(Answer):
    """Who a credential says that somebody is."""

    name: str
    tenant_id: str
    grants: tuple[GrantAnswer, ...]
    groups: tuple[str, ...]
    key_id: str | None = Field(default=None, description="null where it is no API key")

    @classmethod
    def of(cls, principal: Principal) -> Me:
        """What is known of somebody."""
        return cls(
            name=principal.name,
            tenant_id=principal.tenant_id,
            grants=tuple(map(GrantAnswer.of, principal.grants)),
            groups=tuple(sorted(principal.groups)),
            key_id=principal.key_id,
        )
