"""What several policies of one tenant say together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from factory_runtime.domain.artifact import ArtifactType
from factory_runtime.domain.memory import Collection
from factory_runtime.domain.policy import Expiry, Limits, NoticeRule, Policy
from factory_runtime.services.policy_check import free_name


def combined_limits(policies: Iterable[Policy]) -> Limits:
    """The smaller of each cap; the weight of the first policy that gives one."""
    policies = tuple(policies)
    limits = [policy.limits for policy in policies]
    return Limits(
        weight=next((p.weight for p in policies if p.weight is not None), 1.0),
        running_runs=min(
            (n.running_runs for n in limits if n.running_runs is not None), default=None
        ),
        projects=_smaller(one.projects for one in limits),
        topics=_smaller(one.topics for one in limits),
    )


def combined_notices(policies: Iterable[Policy]) -> tuple[NoticeRule, ...]:
    """The targets of all, each under a name of its own."""
    found: dict[str, NoticeRule] = {}
    for policy in policies:
        for rule in policy.notices:
            if found.get(rule.name) != rule:
                name = free_name(rule.name, found)
                found[name] = replace(rule, name=name)
    return tuple(found.values())


def combined_shared_memory(policies: Iterable[Policy]) -> frozenset[Collection]:
    """What all of those want that say something of it; none where none does."""
    wanted = [set(one.shared_memory) for one in policies if one.shared_memory is not None]
    return frozenset(set[Collection].intersection(*wanted)) if wanted else frozenset()


def combined_expiry(policies: Iterable[Policy]) -> Mapping[ArtifactType, Expiry]:
    """Of each type what comes first in any of them."""
    found: dict[ArtifactType, Expiry] = {}
    for policy in policies:
        for type_, expiry in policy.expiry.items():
            before = found.get(type_, Expiry())
            lengths = [one.after for one in (before, expiry) if one.after is not None]
            either = before.once_downloaded or expiry.once_downloaded
            found[type_] = Expiry(min(lengths, default=None), either)
    return found


def _smaller(caps: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for some in caps:
        for name, cap in some.items():
            found[name] = min(cap, found.get(name, cap))
    return found
