"""Links to one blob, which are good for reading it, for a while."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, BlobServiceClient, UserDelegationKey

_KEY_LASTS = timedelta(hours=6)
"""Azure lends one for seven days at most."""
_SKEW = timedelta(minutes=5)
"""Of this machine's clock against Azure's."""


class BlobLinks:
    """Signs links: by the account's key, or by one that Azure lends to an identity.

    Who is there by a signature alone can sign nothing.
    """

    def __init__(self, service: BlobServiceClient) -> None:
        self._service = service
        self._lent: UserDelegationKey | None = None
        self._lent_until = datetime.min.replace(tzinfo=UTC)
        self._lock = threading.Lock()

    def link(
        self, blob: BlobClient, until: datetime, disposition: str, media_type: str
    ) -> str | None:
        """The address to read it at; None where nothing can be signed."""
        from azure.storage.blob import BlobSasPermissions, generate_blob_sas

        signer = self._signer(until)
        if signer is None:
            return None
        is_encrypted = str(blob.url).startswith("https:")
        signature = generate_blob_sas(
            str(self._service.account_name),
            blob.container_name,
            blob.blob_name,
            **signer,
            permission=BlobSasPermissions(read=True),
            expiry=until,
            protocol="https" if is_encrypted else None,
            content_disposition=disposition,
            content_type=media_type,
        )
        return f"{blob.url}?{signature}"

    def _signer(self, until: datetime) -> dict[str, Any] | None:
        credential: Any = self._service.credential
        if hasattr(credential, "account_key"):
            return {"account_key": credential.account_key}
        if hasattr(credential, "get_token"):
            return {"user_delegation_key": self._lent_key(until)}
        return None

    def _lent_key(self, until: datetime) -> UserDelegationKey:
        with self._lock:
            if self._lent is None or self._lent_until < until:
                last = max(until, datetime.now(UTC) + _KEY_LASTS)
                first = datetime.now(UTC) - _SKEW
                self._lent = self._service.get_user_delegation_key(first, last)
                self._lent_until = last
            return self._lent
