"""Who asks, and what they may do: roles, rights, grants."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from factory_runtime.domain.errors import ForbiddenError, InputError
from factory_runtime.domain.ids import is_slug


class Role(StrEnum):
    """What somebody is in a tenant, or in one of its projects."""

    VIEWER = "viewer"
    REQUESTER = "requester"
    APPROVER = "approver"
    OPERATOR = "operator"
    ADMIN = "admin"


class Right(StrEnum):
    """What a role allows.

    ``REQUEST`` is to ask for runs, and to stop those one has asked for; ``DECIDE`` to answer
    approvals; ``OPERATE`` to steer runs, jobs and dead letters; ``ADMINISTER`` to give access.
    """

    READ = "read"
    REQUEST = "request"
    DECIDE = "decide"
    OPERATE = "operate"
    ADMINISTER = "administer"


RIGHTS: Mapping[Role, frozenset[Right]] = {
    Role.VIEWER: frozenset({Right.READ}),
    Role.REQUESTER: frozenset({Right.READ, Right.REQUEST}),
    Role.APPROVER: frozenset({Right.READ, Right.DECIDE}),
    Role.OPERATOR: frozenset({Right.READ, Right.REQUEST, Right.OPERATE}),
    Role.ADMIN: frozenset(Right),
}


@dataclass(frozen=True, slots=True)
class Grant:
    """A role, in one project or in all of the tenant's."""

    role: Role
    project_id: str | None = None

    def __str__(self) -> str:
        return self.role.value if self.project_id is None else f"{self.role}:{self.project_id}"

    @classmethod
    def parse(cls, text: str) -> Grant:
        """Of ``operator`` or ``operator:shop``, as it is spelled everywhere.

        Raises:
            InputError: it names no role, or what cannot be a project.
        """
        name, colon, project_id = text.partition(":")
        if name not in (role.value for role in Role):
            raise InputError(f"{text!r} is no role", hint=f"there are: {', '.join(Role)}")
        if colon and not is_slug(project_id):
            raise InputError(f"{text!r} names no project", hint="like operator:shop")
        return cls(Role(name), project_id if colon else None)

    def gives(self, right: Right, project_id: str | None) -> bool:
        """Whether it allows this in a project; None asks for any of them."""
        fits = self.project_id is None or project_id is None or self.project_id == project_id
        return fits and right in RIGHTS[self.role]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, as a credential has shown: of one tenant, with what it was granted there.

    Attributes:
        name: who it is, in runs, votes and the audit.
        groups: names that approvals may be asked of.
        key_id: the API key's; None for others.
        origin: where the request came from, like an address.
        behind: who gave the API key that was shown, and who gave theirs, up to the first: they
            could have come with it.
    """

    name: str
    tenant_id: str
    grants: tuple[Grant, ...]
    groups: frozenset[str] = field(default_factory=frozenset[str])
    key_id: str | None = None
    origin: str | None = None
    behind: frozenset[str] = field(default_factory=frozenset[str])

    def may(self, right: Right, project_id: str | None = None) -> bool:
        """Whether it may do this in a project; None asks for any of them."""
        return any(grant.gives(right, project_id) for grant in self.grants)

    def may_everywhere(self, right: Right) -> bool:
        """Whether it may do this in all of the tenant's projects, also in those to come."""
        return any(grant.project_id is None and grant.gives(right, None) for grant in self.grants)

    def projects(self, right: Right) -> frozenset[str] | None:
        """The projects in which it may do this; None is all of the tenant's."""
        giving = [grant for grant in self.grants if grant.gives(right, None)]
        if any(grant.project_id is None for grant in giving):
            return None
        return frozenset(grant.project_id for grant in giving if grant.project_id is not None)

    def require(self, right: Right, project_id: str | None = None) -> None:
        """Raises ForbiddenError, which names what is missing."""
        if not self.may(right, project_id):
            where = f"project {project_id}" if project_id else f"tenant {self.tenant_id}"
            roles = [role.value for role, rights in RIGHTS.items() if right in rights]
            raise ForbiddenError(
                f"{self.name} may not {right} in {where}",
                hint=f"it takes one of the roles {', '.join(roles)}",
            )


_NOBODY = frozenset({"prefect", "system"})
_NAME = re.compile(r"(?!group:|webhook:)\S(?:.{0,198}\S)?")


def is_person(name: str) -> bool:
    """Whether somebody who shows a credential may be called so.

    Nobody is called as parts of the factory are, like a source of webhooks, whose runs are its own,
    or like a group in a list of who may decide.
    """
    return name not in _NOBODY and name.isprintable() and _NAME.fullmatch(name) is not None
