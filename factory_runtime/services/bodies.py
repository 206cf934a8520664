"""Bodies: small JSON stays in its row, large JSON goes to artifact storage."""

from __future__ import annotations

import json
from typing import Any

from factory_runtime.domain.body import INLINE_LIMIT, Body, BodyReference
from factory_runtime.domain.ids import canonical_json
from factory_runtime.ports import ArtifactStorage


def to_body(storage: ArtifactStorage, tenant_id: str, value: Any) -> Body:
    """Keep a JSON value; a large one is stored at once, before the row that will name it.

    Raises:
        StorageFullError: a large one could not be stored.
    """
    text = canonical_json(value)
    encoded = text.encode()
    if len(encoded) <= INLINE_LIMIT:
        return Body(inline=json.loads(text))
    stored = storage.put(tenant_id, encoded)
    return Body(reference=BodyReference(stored.digest, stored.size))


def from_body(storage: ArtifactStorage, tenant_id: str, body: Body | None) -> Any:
    """The JSON value; None where there is no body.

    Raises:
        ArtifactNotFoundError: the body is gone from storage.
        CorruptArtifactError: it does not match its digest.
    """
    if body is None:
        return None
    if body.reference is None:
        return body.inline
    return json.loads(storage.read(tenant_id, body.reference.digest))
