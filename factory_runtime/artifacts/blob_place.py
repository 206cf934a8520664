"""An account of Azure's blob storage, who we are there, and how its containers begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from factory_runtime.domain.errors import SettingsError

if TYPE_CHECKING:
    from azure.storage.blob import BlobServiceClient

CONNECT_SECONDS = 5
READ_SECONDS = 30
TRIES = 4
"""Of one request; the library waits 15 s and longer between them if it is not told otherwise."""

PIECE = 4 * 1024 * 1024
"""Bytes that are asked for in one request."""

_HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class BlobPlace:
    """Where bodies go; the names are those of an ``AzureBlobStorageCredentials`` of prefect-azure.

    Attributes:
        prefix: of the names of containers; another factory in the account has another.
        connection_string: with a key or a signature in it; else there is ``account_url``.
        client_id, tenant_id, client_secret: a service principal's; without, the machine's identity.
    """

    prefix: str
    connection_string: str | None = field(default=None, repr=False)
    account_url: str | None = None
    client_id: str | None = None
    tenant_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)

    @classmethod
    def of_account(cls, prefix: str, account: str) -> BlobPlace:
        """From the URL of an account, or else a connection string."""
        if "://" in account.partition("=")[0]:
            return cls(prefix, account_url=account)
        return cls(prefix, connection_string=account)

    @classmethod
    def of_block(cls, data: Mapping[str, Any]) -> BlobPlace:
        """From the fields of a block of artifact storage."""
        known = {each.name for each in fields(cls)} - {"prefix"}
        told: Mapping[str, Any] = data["credentials"]
        return cls(data["prefix"], **{name: told[name] for name in known & told.keys()})

    def client(self) -> BlobServiceClient:
        """A client that reads in steps of ``PIECE``. Safe to use from many threads.

        Raises:
            SettingsError: it is no account, or one that bodies would reach unencrypted.
        """
        # The library takes a second to import.
        from azure.storage.blob import BlobServiceClient, ExponentialRetry

        retry = ExponentialRetry(
            initial_backoff=1, increment_base=2, retry_total=TRIES - 1, random_jitter_range=1
        )
        options: dict[str, Any] = {
            "connection_timeout": CONNECT_SECONDS,
            "read_timeout": READ_SECONDS,
            "retry_policy": retry,
            "max_single_get_size": PIECE,
            "max_chunk_get_size": PIECE,
            # In one: smaller ones would be put together again, at twice the memory.
            "connection_data_block_size": PIECE,
        }
        try:
            if self.connection_string is not None:
                found = BlobServiceClient.from_connection_string(self.connection_string, **options)
            else:
                url, identity = self.account_url or "", self._identity()
                found = BlobServiceClient(url, credential=identity, **options)
        except ValueError:
            # Not told from it: what it says shows what it was given.
            raise SettingsError(
                "the account of artifact storage cannot be read",
                hint="it is a connection string, or like https://ACCOUNT.blob.core.windows.net",
            ) from None
        at = urlsplit(str(found.url))
        if at.scheme != "https" and at.hostname not in _HERE:
            raise SettingsError(f"artifact storage at {at.hostname} would be reached without TLS")
        return found

    def _identity(self) -> Any:
        from azure.identity import ClientSecretCredential, DefaultAzureCredential

        if self.client_id and self.tenant_id and self.client_secret:
            return ClientSecretCredential(self.tenant_id, self.client_id, self.client_secret)
        return DefaultAzureCredential()
