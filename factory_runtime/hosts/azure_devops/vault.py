"""A personal access token that lies in Azure Key Vault.

Route: https://learn.microsoft.com/rest/api/keyvault/secrets/get-secret/get-secret
"""

from __future__ import annotations

import re
import threading
import time
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, SecretStr, ValidationError

from factory_runtime.domain.errors import HostBusyError, HostRejectedError, InputError
from factory_runtime.domain.loopback import is_loopback
from factory_runtime.hosts.azure_devops.access import Token, Tokens, personal_token

SCOPE = "https://vault.azure.net/.default"

# Of the public cloud, of Azure Government, and of the one in China.
_VAULT = re.compile(r"[a-z0-9-]+\.vault\.(?:azure\.net|usgovcloudapi\.net|azure\.cn)")
_FRESH = timedelta(minutes=5)
"""So long a token is used before the vault is asked whether there is another by now."""


class _Secret(BaseModel):
    value: SecretStr


class VaultToken:
    """Implements ``Tokens``. Safe to use from many threads.

    Args:
        url: of the secret, like ``https://acme.vault.azure.net/secrets/azure-devops``.
        identity: who may read it.
        user: the name that goes with the token, where the host wants one.

    Raises:
        InputError: it is no address of a secret: nobody else is shown who we are.
    """

    def __init__(self, url: str, identity: Tokens, user: str | None = None) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        is_vault = parts.scheme == "https" and _VAULT.fullmatch(host) and parts.port in (None, 443)
        if not (is_vault or is_loopback(host)) or not parts.path.startswith("/secrets/"):
            raise InputError(
                "key_vault_secret is no address of a secret in Azure Key Vault",
                hint="it is like https://acme.vault.azure.net/secrets/azure-devops",
            )
        self._url = f"{parts.scheme}://{parts.netloc}{parts.path}"
        self._identity, self._user = identity, user
        self._lock = threading.Lock()
        self._kept: tuple[Token, float] | None = None

    def __call__(self) -> Token:
        with self._lock:
            now = time.monotonic()
            if self._kept is None or now > self._kept[1]:
                self._kept = self._read(), now + _FRESH.total_seconds()
            return self._kept[0]

    def _read(self) -> Token:
        shown = self._identity()
        try:
            answer = httpx.get(
                self._url,
                params={"api-version": "7.4"},
                headers={"Authorization": shown.header},
                timeout=20.0,
                follow_redirects=False,
            )
        except httpx.HTTPError as exc:
            raise HostBusyError(f"the key vault does not answer: {type(exc).__name__}") from exc
        where = urlsplit(self._url).hostname
        if answer.status_code in (408, 429) or answer.status_code >= 500:
            raise HostBusyError(f"{where} answers {answer.status_code}")
        if not answer.is_success:
            raise HostRejectedError(
                f"{where} does not give the secret: it answers {answer.status_code}",
                hint="give the identity the right to get secrets there, and look at the address",
            )
        try:
            held = _Secret.model_validate_json(answer.content).value.get_secret_value()
        except ValidationError:
            raise HostRejectedError(f"{where} answers without a secret") from None
        return personal_token(held.strip(), self._user)()
