"""What every memory index refuses, whatever it is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

from factory_runtime.domain.errors import InputError, PermanentError
from factory_runtime.domain.ids import is_slug
from factory_runtime.domain.memory import Memory
from factory_runtime.ports import Embedder


def check_tenant(tenant_id: str) -> None:
    """A tenant's id becomes the name of a folder.

    Raises:
        InputError: it is not a slug.
    """
    if not is_slug(tenant_id):
        raise InputError(
            f"{tenant_id!r} cannot be a tenant", hint="lower case, digits, hyphens, dots"
        )


def check_memories(tenant_id: str, memories: Sequence[Memory], embedder: Embedder) -> None:
    """Every memory is the tenant's own, and has a vector that this embedder made.

    Raises:
        InputError: the tenant's id is not a slug.
        PermanentError: a memory that must not be indexed as it is.
    """
    check_tenant(tenant_id)
    for memory in memories:
        if memory.tenant_id != tenant_id:
            raise PermanentError(f"memory {memory.id} is not of the tenant {tenant_id}")
        made_by = (memory.embedding_model, memory.embedding_version)
        if memory.vector is None or made_by != (embedder.model, embedder.version):
            raise PermanentError(
                f"memory {memory.id} has no vector by {embedder.model} {embedder.version}",
                hint="embed it first: `embed_missing`",
            )
        check_vector(memory.vector, embedder, f"memory {memory.id}")


def check_vector(vector: Sequence[float], embedder: Embedder, of: str) -> None:
    """A vector that likeness can be computed with.

    Raises:
        PermanentError: other dimensions than the embedder's, not finite, or zero.
    """
    length = math.hypot(*vector)
    if len(vector) != embedder.dimensions or not math.isfinite(length) or length == 0:
        raise PermanentError(
            f"the vector of {of} is not one of {embedder.dimensions} finite numbers"
        )
