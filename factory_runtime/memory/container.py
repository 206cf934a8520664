"""A container in Azure's blob storage, asked without LanceDB: that knows tables, and no more."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from factory_runtime.domain.errors import MemoryUnavailableError

if TYPE_CHECKING:
    from azure.storage.blob import BlobProperties, ContainerClient

Listed = TypeVar("Listed")

CONNECT_SECONDS = 2
READ_SECONDS = 10


class Container:
    """What lies below an address like ``az://container/prefix``.

    Nothing is asked twice: whoever wants something of it is told at once that it does not answer,
    and comes again. Every method raises Azure's own errors.

    Args:
        uri: the address.
        options: what the storage needs, by LanceDB's names.
    """

    def __init__(self, uri: str, options: Mapping[str, str]) -> None:
        address = urlsplit(uri)
        self.name = address.netloc
        self._below = "".join(f"{part}/" for part in address.path.split("/") if part)
        self._options = options
        self._is_there = False
        self._seen: set[str] = set()

    def has(self, folder: str) -> bool:
        """Whether a blob is in it, or was when it was last asked."""
        if folder not in self._seen and self.has_files(folder):
            self._seen.add(folder)
        return folder in self._seen

    def has_files(self, folder: str) -> bool:
        """Whether a blob is in it now."""
        return next(self._blobs(folder, page=1), None) is not None

    def names(self) -> list[str]:
        """Of the folders right below the address."""
        from azure.storage.blob import BlobPrefix

        with self._client() as client:
            found = self._listed(client.walk_blobs(name_starts_with=self._below))
            names = [str(one.name) for one in found if isinstance(one, BlobPrefix)]
        return [name.removeprefix(self._below).rstrip("/") for name in names]

    def sizes(self, folder: str) -> list[int]:
        """Bytes of each blob in it."""
        return [int(blob.size) for blob in self._blobs(folder)]

    def remove(self, folder: str) -> None:
        """Every blob in it."""
        from azure.core.exceptions import ResourceNotFoundError

        self._seen.discard(folder)
        with self._client() as client:
            for blob in self._blobs(folder):
                try:
                    client.delete_blob(blob.name)
                except ResourceNotFoundError:
                    continue  # somebody else was quicker

    def make(self) -> None:
        """Make the container where it is not there.

        Raises:
            MemoryUnavailableError: it is not there, and may not be made.
        """
        if self._is_there:
            return
        from azure.core.exceptions import HttpResponseError, ResourceExistsError

        self.has_files("")
        if self._is_there:
            return
        try:
            with self._client() as client:
                client.create_container()
        except ResourceExistsError as exc:
            if "ContainerAlreadyExists" not in str(exc):
                raise
        except HttpResponseError as exc:
            if exc.status_code != 403:
                raise
            raise MemoryUnavailableError(
                f"there is no container {self.name}, and what is given may not make one",
                hint=f"az storage container create --name {self.name}",
            ) from exc
        self._is_there = True

    @contextmanager
    def making(self, folder: str) -> Generator[None]:
        """Nothing keeps makers of a tenant's tables apart here but the store's lock."""
        del folder
        yield

    def check(self) -> None:
        """Return where it can be asked what is in it; it is made where it is not there."""
        if self._is_there:
            self.has_files("")
        self.make()

    def forget_what_was_seen(self) -> None:
        """It has turned out to be wrong: the container is gone, or was made anew."""
        self._is_there = False
        self._seen.clear()

    def _blobs(self, folder: str, page: int | None = None) -> Iterator[BlobProperties]:
        below = f"{self._below}{folder}/" if folder else self._below
        with self._client() as client:
            found = client.list_blobs(name_starts_with=below, results_per_page=page)
            yield from self._listed(found)

    def _listed(self, found: Iterable[Listed]) -> Iterator[Listed]:
        """None of a container that is not there."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            for one in found:
                self._is_there = True
                yield one
        except ResourceNotFoundError:
            self._is_there = False
        else:
            self._is_there = True

    def _client(self) -> ContainerClient:
        # The library takes a second to import.
        from azure.storage.blob import ContainerClient

        options = self._options
        account = options["account_name"]
        return ContainerClient(
            options.get("azure_storage_endpoint") or f"https://{account}.blob.core.windows.net",
            self.name,
            credential=_credential(options),
            connection_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retry_total=0,
        )


def _credential(options: Mapping[str, str]) -> Any:
    account = options["account_name"]
    if key := options.get("account_key"):
        return {"account_name": account, "account_key": key}
    if token := options.get("azure_storage_sas_key"):
        from azure.core.credentials import AzureSasCredential

        return AzureSasCredential(token)
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()
