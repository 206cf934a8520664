"""Search a tenant's memory by meaning."""

from __future__ import annotations

from factory_runtime.domain.errors import InputError
from factory_runtime.domain.memory import Recalled
from factory_runtime.ports import Embedder, MemoryIndex, RecallQuery

MAX_LIMIT = 1000


def recall(
    index: MemoryIndex, embedder: Embedder, tenant_id: str, query: RecallQuery
) -> tuple[Recalled, ...]:
    """What the tenant knows that is most like the query's text, best first.

    Raises:
        InputError: there is no text to look for, or the limit is not 1 to ``MAX_LIMIT``.
        MemoryUnavailableError: the model or the index cannot be used.
    """
    if not query.text.strip():
        raise InputError("there is nothing to look for", hint="say in a few words what you need")
    if not 1 <= query.limit <= MAX_LIMIT:
        raise InputError(f"the limit is {query.limit}", hint=f"ask for 1 to {MAX_LIMIT}")
    (vector,) = embedder.embed([query.text])
    return index.search(tenant_id, query, vector)
