"""What a job is lent to leave things with: none of it takes a secret that its run knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, BinaryIO, cast

from factory_runtime.domain.errors import SecretLeakError
from factory_runtime.domain.secrets import Secrets
from factory_runtime.domain.tree import TreeFile
from factory_runtime.jobs.leaks import find_leaks, refuse_leaks
from factory_runtime.ports import (
    ArtifactStorage,
    Commit,
    CommitOrder,
    Delivery,
    GitHost,
    StoredBody,
)

_CHUNK = 1 << 20
_OVERLAP = 1 << 16
"""Bytes: longer secrets in files are found by their lines."""


class _Guarded:
    """Does as the one behind it, but for what it would be told of a secret."""

    def __init__(self, inner: Any, secrets: Secrets) -> None:
        self._inner = inner
        self._secrets = secrets

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return partial(self._ask, found) if callable(found) else found

    def _ask(self, method: Any, *args: Any, **named: Any) -> Any:
        self._refuse([*args, named], "what the job would tell a host")
        return method(*args, **named)

    def _refuse(self, told: Any, what: str) -> None:
        if self._secrets and self._secrets.hide(told) != told:
            raise SecretLeakError(f"{what} holds a secret that its run knows")


class _GuardedStorage(_Guarded):
    """Storage that takes no secret."""

    def put(self, tenant_id: str, body: BinaryIO | bytes) -> StoredBody:
        """Store it.

        Raises:
            SecretLeakError: it holds a secret.
        """
        if self._secrets:
            body = body if isinstance(body, bytes) or body.seekable() else body.read()
            if any(self._secrets.are_in(chunk) for chunk in _chunks(body)):
                raise SecretLeakError("a body that the job would store holds a secret it was lent")
        return self._inner.put(tenant_id, body)


class _GuardedDelivery(_Guarded):
    """What a host offers beside repositories."""

    def __getattr__(self, name: str) -> Any:
        # A host is told in a header with what it is to show that an event is its own.
        return getattr(self._inner, name) if name == "ensure_hook" else super().__getattr__(name)


class _GuardedHost(_Guarded):
    """A git host that commits no secret, and says none."""

    def delivery_of(self, tenant_id: str) -> Delivery | None:
        """What it offers beside repositories, guarded likewise."""
        offered = self._inner.delivery_of(tenant_id)
        return (
            None if offered is None else cast("Delivery", _GuardedDelivery(offered, self._secrets))
        )

    def ensure_commit(
        self, tenant_id: str, order: CommitOrder, files: Iterable[TreeFile]
    ) -> Commit:
        """Commit them.

        Raises:
            SecretLeakError: a file or the message holds a secret that the run knows, or what looks
                like one.
        """
        self._refuse(order, "a commit that the job would make")
        refuse_leaks(find_leaks("the commit's message", order.message.encode()))
        return self._inner.ensure_commit(tenant_id, order, self._looked_at(files))

    def _looked_at(self, files: Iterable[TreeFile]) -> Iterator[TreeFile]:
        for file in files:
            told = (file.path.encode(), (file.link or "").encode(), file.content)
            if any(map(self._secrets.are_in, told)):
                raise SecretLeakError("a file that the job would commit holds a secret it was lent")
            names = find_leaks("the name of a file", b"\n".join(told[:2]))
            refuse_leaks([*names, *find_leaks(file.path, file.content)])
            yield file


def guarded_storage(storage: ArtifactStorage, secrets: Secrets) -> ArtifactStorage:
    """The storage, for a job whose run may know secrets."""
    return cast("ArtifactStorage", _GuardedStorage(storage, secrets))


def guarded_host(host: GitHost, secrets: Secrets) -> GitHost:
    """The git host, likewise."""
    return cast("GitHost", _GuardedHost(host, secrets))


def _chunks(body: BinaryIO | bytes) -> Iterator[bytes]:
    """A body piece by piece, each beginning with the end of the last; it is left at its beginning."""
    if isinstance(body, bytes):
        yield body
        return
    start, tail = body.tell(), b""
    try:
        while chunk := body.read(_CHUNK):
            yield tail + chunk
            tail = chunk[-_OVERLAP:]
    finally:
        body.seek(start)
