"""A Policy: what a tenant may ask for, and how much of it at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from factory_runtime.domain.approval import Question
from factory_runtime.domain.artifact import ArtifactType
from factory_runtime.domain.durations import spell_duration
from factory_runtime.domain.memory import Collection

ANY = "*"
"""Stands for every template that has no rule under its own name."""

DOWNLOADED = "downloaded"
"""Until somebody has got all of it."""

BLOCK = "block:"
"""Begins what Prefect keeps: behind it stands the name of a block."""

LOCAL_HOST = "local"
"""The git host that is a folder of ours; every other one is a block."""

MAY_BE_SHARED = (Collection.TEMPLATES, Collection.CODE, Collection.DOMAIN)
"""Of a memory; never runs: they tell what somebody does."""

_BLOCK = re.compile(re.escape(BLOCK) + r"[a-z0-9](?:[a-z0-9-]{0,126}[a-z0-9])?")


def names_block(address: str) -> bool:
    """Whether it is ``block:`` and a name that Prefect allows, of lower case, digits and hyphens."""
    return _BLOCK.fullmatch(address) is not None


def names_git_host(text: str) -> bool:
    """Whether it is ``local``, or names a block."""
    return text == LOCAL_HOST or names_block(text)


@dataclass(frozen=True, slots=True)
class TemplateRule:
    """Which versions of a template are allowed.

    Attributes:
        versions: a specifier set like ``>=1.2,<2``; None is any.
        withdrawn: version → why it must not be used any more.
    """

    versions: str | None = None
    withdrawn: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """Which runs need an approval before anything is done.

    Attributes:
        templates: their names; ``*`` is any.
        when: an expression over ``inputs``; None is always.
    """

    name: str
    question: Question
    templates: tuple[str, ...] = ("*",)
    when: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of it at once; None is no limit of the tenant's own.

    Attributes:
        weight: share of the slots beside other tenants', 1 by default.
        running_runs: with a slot at once.
        projects: the same, by project.
        topics: jobs of a type at once, by its name.
    """

    weight: float = 1.0
    running_runs: int | None = None
    projects: Mapping[str, int] = field(default_factory=dict[str, int])
    topics: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class NoticeRule:
    """Where notices go.

    Attributes:
        name: of the target, for people and for the record.
        to: an address of the notifier's, like ``json://host/path``; ``$NAME`` reads it from the
            environment, so that no secret lies in a policy.
        kinds: of notices; empty is all.
    """

    name: str
    to: str
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Expiry:
    """How long what a job made is kept: whichever comes first; for good where there is neither.

    Attributes:
        after: from when it was recorded.
        once_downloaded: until somebody has got all of it.
    """

    after: timedelta | None = None
    once_downloaded: bool = False


def spell_expiry(expiry: Expiry) -> str:
    """As a policy says it."""
    return DOWNLOADED if expiry.after is None else spell_duration(expiry.after)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one tenant. Without any, everything is allowed.

    Attributes:
        source: where it was read, for people: a file's name or ``table``.
        templates: by name, or ``*`` for all others; None is all templates in all versions.
        inputs: JSON Schemas by template, or ``*`` for all of them, that inputs have to meet besides
            the template's own.
        runs_per_day: accepted in one day of UTC.
        max_deadline: the longest a run may ask for; one without a deadline gets this.
        weight: as this policy gives it; None is left to the others. ``limits`` has it as well.
        shared_memory: collections that searches look into of what is shared with all tenants; None
            is left to the others.
        git_host: where repositories are made: ``local``, or ``block:`` and the name of a block; None
            is left to the others.
        expiry: how long artifacts are kept whose jobs do not say, by type.
    """

    source: str
    templates: Mapping[str, TemplateRule] | None = None
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    approvals: tuple[ApprovalRule, ...] = ()
    runs_per_day: int | None = None
    max_deadline: timedelta | None = None
    limits: Limits = Limits()
    notices: tuple[NoticeRule, ...] = ()
    weight: float | None = None
    shared_memory: tuple[Collection, ...] | None = None
    git_host: str | None = None
    expiry: Mapping[ArtifactType, Expiry] = field(default_factory=dict[ArtifactType, Expiry])


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """A tenant's policy as it lies in the table.

    Attributes:
        document: the YAML text as it was applied.
    """

    tenant_id: str
    version: int
    document: str
    digest: str
    updated_at: datetime
    updated_by: str
