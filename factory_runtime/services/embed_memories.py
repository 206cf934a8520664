"""The vectors of memories: each text is embedded once for each model."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from factory_runtime.domain.errors import PermanentError
from factory_runtime.domain.memory import Embedded, Memory, MemoryVector
from factory_runtime.ports import Embedder, RunStore
from factory_runtime.ports.memory import model_name

_LOG = logging.getLogger("factory.memory")

Vector = tuple[float, ...]


def kept_vectors(
    store: RunStore, tenant_id: str, model: str, memories: Iterable[Memory]
) -> Mapping[str, Vector]:
    """Those that are there, by the digest of their text."""
    with store.begin(tenant_id, read_only=True) as tx:
        return tx.find_vectors(model, {memory.text_digest for memory in memories})


def new_vectors(
    embedder: Embedder, memories: Iterable[Memory], kept: Mapping[str, Vector]
) -> dict[str, Vector]:
    """Those of the others, embedded together, by the digest of their text.

    Raises:
        MemoryUnavailableError: the model cannot be used now.
        PermanentError: it takes no text at all.
    """
    missing = {one.text_digest: one for one in memories if one.text_digest not in kept}
    if not missing:
        return {}
    try:
        vectors = embedder.embed([memory.text for memory in missing.values()])
    except PermanentError:
        vectors = [_alone(embedder, memory) for memory in missing.values()]
    return dict(zip(missing, vectors, strict=True))


def save_vectors(
    store: RunStore,
    tenant_id: str,
    embedder: Embedder,
    memories: Iterable[Memory],
    vectors: Mapping[str, Vector],
) -> None:
    """Keep them, for good: of the memories that still have the text that was embedded."""
    if not vectors:
        return
    model = model_name(embedder)
    with store.begin(tenant_id) as tx:
        texts = {one.text_digest for one in tx.find_memories([one.id for one in memories])}
        tx.save_vectors(
            MemoryVector(tenant_id, model, digest, vector)
            for digest, vector in vectors.items()
            if digest in texts
        )


def embedded(memories: Sequence[Memory], vectors: Mapping[str, Vector]) -> list[Embedded]:
    """Each with its vector, in their order."""
    return [Embedded(memory, vectors[memory.text_digest]) for memory in memories]


def _alone(embedder: Embedder, memory: Memory) -> Vector:
    """The vector of its text, or of as much of what it says as the model takes.

    An endpoint may refuse one text for what it says; the memory is still found by its title.
    """
    for text in (memory.text, memory.title):
        try:
            return embedder.embed([text])[0]
        except PermanentError as error:
            _LOG.warning("the model will not take all of memory %s: %s", memory.id, error)
    return embedder.embed([memory.kind.value])[0]
