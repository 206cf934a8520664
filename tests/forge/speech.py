"""What is asked of the forge, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4


@dataclass(frozen=True)
class Token:
    """Who asks, and what they may do.

    Attributes:
        permissions: by the names that Azure DevOps has for them; None is all.
        scopes: of a personal access token, like ``vso.code_write``; None is full access.
        organization: the only one that knows it; None is all.
    """

    value: str
    user: str = "ada@example.com"
    permissions: frozenset[str] | None = None
    scopes: frozenset[str] | None = None
    organization: str | None = None
    expired: bool = False
    id: str = field(default_factory=lambda: str(uuid4()))

    def may(self, permission: str | None) -> bool:
        return permission is None or self.permissions is None or permission in self.permissions

    def has_scope(self, scope: str | None) -> bool:
        """Each scope includes the weaker ones of its kind: ``_manage``, then ``_write``."""
        if scope is None or self.scopes is None or scope in self.scopes:
            return True
        kind = scope.split("_")[0]
        stronger = {kind: ("_write", "_execute", "_manage", "_full"), f"{kind}_write": ("_manage",)}
        return any(f"{kind}{more}" in self.scopes for more in stronger.get(scope, ()))


@dataclass(frozen=True)
class Asked:
    """One request, after the forge knows whose it is."""

    parts: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    token: Token
    accept: str = "application/json"

    def number(self, name: str, otherwise: int) -> int:
        try:
            return int(self.query.get(name, otherwise))
        except ValueError:
            raise RefusedError(
                400, "VssPropertyValidationException", f"{name} is not a number"
            ) from None

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() == "true"


@dataclass(frozen=True)
class Answer:
    """What a handler says; ``body`` is JSON unless it is bytes."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class RefusedError(Exception):
    """A request is answered by an error."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message

    @property
    def answer(self) -> Answer:
        # Errors look like this on the wire; the published specification has no shape for them.
        body = {
            "$id": "1",
            "innerException": None,
            "message": self.message,
            "typeName": f"Microsoft.VisualStudio.Services.{self.kind}, Microsoft.VisualStudio",
            "typeKey": self.kind,
            "errorCode": 0,
            "eventId": 3000,
        }
        return Answer(body, self.status)
