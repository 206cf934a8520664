"""Lend a job its credentials, and see to it that they stay with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, cast

from factory_runtime.domain.errors import InputError, SecretLeakError
from factory_runtime.domain.policy import BLOCK, names_block
from factory_runtime.domain.secrets import Secrets
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.domain.tree import TreeFile
from factory_runtime.ports import (
    ArtifactStorage,
    Commit,
    CommitOrder,
    CredentialBook,
    Credentials,
    GitHost,
    StoredBody,
)

CREDENTIALS = "credentials"
"""The key of ``with``."""

EVERYBODY = "*"

_CHUNK = 1 << 20
_OVERLAP = 1 << 16
"""Bytes: longer secrets in files are found by their lines."""


def find_credentials(
    book: CredentialBook, facts: JobTypeFacts, told: object, tenant_id: str
) -> Credentials:
    """What a step names, if its tenant may use it.

    Raises:
        HostBusyError: nobody who keeps it answers.
        InputError: its type takes none, it names none, or none that this tenant may use.
    """
    if facts.credentials is None:
        raise InputError(f"the job type {facts.name} takes no credentials")
    if not isinstance(told, str) or not names_block(told):
        raise InputError("the step names no credentials", hint=f"credentials: {BLOCK}NAME")
    return lend(book, facts.credentials, told, tenant_id)


def lend(book: CredentialBook, kind: str, block: str, tenant_id: str) -> Credentials:
    """What a block of this type holds, if the tenant may use it; ``block`` is ``block:NAME``.

    Raises:
        HostBusyError: nobody who keeps it answers.
        InputError: there is none, or not for this tenant.
    """
    name = block.removeprefix(BLOCK)
    found = book.credentials_of(kind, name)
    if found.tenants.isdisjoint({tenant_id, EVERYBODY}):
        raise InputError(
            f"{kind} {name} is not for the tenant {tenant_id}",
            hint="who keeps the block says whose runs may use it: `tenants`",
        )
    return found


class _GuardedStorage:
    """Storage that takes no secret."""

    def __init__(self, storage: ArtifactStorage, secrets: Secrets) -> None:
        self._storage = storage
        self._secrets = secrets

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def put(self, tenant_id: str, body: BinaryIO | bytes) -> StoredBody:
        """Store it.

        Raises:
            SecretLeakError: it holds a secret.
        """
        if self._secrets:
            body = body if isinstance(body, bytes) or body.seekable() else body.read()
            if any(self._secrets.are_in(chunk) for chunk in _chunks(body)):
                raise SecretLeakError("a body that the job would store holds a secret it was lent")
        return self._storage.put(tenant_id, body)


class _GuardedHost:
    """A git host that commits no secret."""

    def __init__(self, host: GitHost, secrets: Secrets) -> None:
        self._host = host
        self._secrets = secrets

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def ensure_commit(
        self, tenant_id: str, order: CommitOrder, files: Iterable[TreeFile]
    ) -> Commit:
        """Commit them.

        Raises:
            SecretLeakError: a file or the message holds a secret.
        """
        if self._secrets.hide(order) != order:
            raise SecretLeakError("a commit that the job would make holds a secret it was lent")
        return self._host.ensure_commit(tenant_id, order, self._looked_at(files))

    def _looked_at(self, files: Iterable[TreeFile]) -> Iterator[TreeFile]:
        for file in files:
            if self._secrets.are_in(file.content) or self._secrets.are_in(file.path.encode()):
                raise SecretLeakError("a file that the job would commit holds a secret it was lent")
            yield file


def guarded_storage(storage: ArtifactStorage, secrets: Secrets) -> ArtifactStorage:
    """The storage, for a job that may be lent secrets."""
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
