"""A rendered tree as a job type is given it."""

from __future__ import annotations

from collections.abc import Iterator

from factory_runtime.domain.tree import TreeFile, TreeReference, read_tree
from factory_runtime.ports import ArtifactStorage


class StoredTree:
    """A rendered tree, read from storage each time it is asked for."""

    def __init__(self, storage: ArtifactStorage, tenant_id: str, reference: TreeReference) -> None:
        self._storage = storage
        self._tenant_id = tenant_id
        self.reference = reference

    def files(self) -> Iterator[TreeFile]:
        with self._storage.open(self._tenant_id, self.reference.digest) as body:
            yield from read_tree(body)
