"""What every memory index refuses, whatever it is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

from factory_runtime.domain.errors import InputError, PermanentError
from factory_runtime.domain.ids import is_slug
from factory_runtime.domain.memory import Embedded
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


def check_rows(tenant_id: str, rows: Sequence[Embedded], embedder: Embedder) -> None:
    """Every row is the tenant's own, with a vector as this embedder makes them.

    Raises:
        InputError: the tenant's id is not a slug.
        PermanentError: a row that must not be indexed as it is.
    """
    check_tenant(tenant_id)
    for row in rows:
        memory = row.memory
        if memory.tenant_id != tenant_id:
            raise PermanentError(f"memory {memory.id} is not of the tenant {tenant_id}")
        check_vector(row.vector, embedder, f"memory {memory.id}")


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
