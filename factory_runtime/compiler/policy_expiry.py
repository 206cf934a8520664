"""How long a policy has artifacts kept, by their types."""

from __future__ import annotations

from collections.abc import Mapping

from factory_runtime.compiler.findings import Fields, Findings
from factory_runtime.domain.artifact import ArtifactType
from factory_runtime.domain.durations import parse_duration
from factory_runtime.domain.policy import DOWNLOADED, Expiry


def read_expiry(fields: Fields, findings: Findings) -> Mapping[ArtifactType, Expiry]:
    """By type; what is not named is kept for good."""
    node = fields.node_of("expiry")
    known = tuple(each.value for each in ArtifactType)
    types = None if node is None else Fields.of(node, "expiry", findings, known)
    if node is None or types is None:
        return {}
    named = [each for each in ArtifactType if each in (node.members or {})]
    found = {each: _expiry(types, each) for each in named}
    return {each: expiry for each, expiry in found.items() if expiry is not None}


def _expiry(types: Fields, key: ArtifactType) -> Expiry | None:
    node = types.node_of(key)
    said = None if node is None else node.scalar
    if said == DOWNLOADED:
        return Expiry(once_downloaded=True)
    length = parse_duration(said) if isinstance(said, str) else None
    if not length:
        types.bad(key, f"a duration, or {DOWNLOADED}", "like 7d; leave it out to keep it for good")
        return None
    return Expiry(length)
