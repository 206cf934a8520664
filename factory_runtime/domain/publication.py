"""A Publication: a version of a template that a tenant may run from the stores alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from packaging.version import InvalidVersion, Version


@dataclass(frozen=True, slots=True)
class Publication:
    """That somebody published a version, and what it was made from.

    What it holds is said by the ``TemplateRecord`` of the same version, and its files lie in artifact
    storage under that record's digest.

    Attributes:
        origin: the folder or the address that it came from; never with a name or a password.
        ref: the tag, branch or commit that was asked for; None where it came from a folder.
        commit_id: what that was then, 40 or 64 hex digits.
        withdrawn_at: since when no run may begin with it; those that have begun go on.
    """

    tenant_id: str
    template_id: str
    version: str
    origin: str
    published_at: datetime
    published_by: str
    ref: str | None = None
    commit_id: str | None = None
    withdrawn_at: datetime | None = None


def newest_first(publications: Iterable[Publication]) -> tuple[Publication, ...]:
    """By version: releases before those that come before a release, the greatest first."""
    return tuple(sorted(publications, key=lambda one: _rank(one.version), reverse=True))


def _rank(version: str) -> tuple[bool, tuple[int, ...], Version, str]:
    numbers = tuple(int(part) for part in version.partition("-")[0].split("."))
    try:
        exact = Version(version)
    except InvalidVersion:  # like 1.0.0-alpha.beta, which Python's order does not know
        exact = Version("0")
    return ("-" not in version, numbers, exact, version)
