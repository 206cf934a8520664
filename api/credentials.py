"""The credential of a request: an API key, or a token of an issuer."""

from __future__ import annotations

from fastapi import Request

from api.tokens import Tokens
from factory_runtime.domain.access import Principal
from factory_runtime.domain.api_key import KEY_BEGINNING
from factory_runtime.domain.errors import UnauthenticatedError
from factory_runtime.services.key_ring import KeyRing

_HEADERS = ("authorization", "x-api-key")


class Credentials:
    """Takes ``Authorization: Bearer …`` and ``X-Api-Key: …``.

    What is wrong with one is never told: a key that is unknown, expired or revoked, and a token with
    any fault, get the same answer.
    """

    def __init__(self, keys: KeyRing, tokens: Tokens) -> None:
        self._keys = keys
        self._tokens = tokens

    def recall(self, request: Request) -> Principal | None:
        """Who shows a key that was good a moment ago."""
        credentials = _shown(request)
        key = self._keys.recall(credentials.pop()) if len(credentials) == 1 else None
        return None if key is None else key.principal(_origin(request))

    def find(self, request: Request) -> Principal | None:
        """Who shows it; None where no header is there.

        Raises:
            UnauthenticatedError: it is not good, or there are two that differ.
            IssuerUnavailableError, StoreUnavailableError: nobody can tell now.
        """
        credentials = _shown(request)
        if not credentials:
            return None
        principal = self._check(request, credentials.pop()) if len(credentials) == 1 else None
        if principal is None:
            raise UnauthenticatedError(
                "the credential is not good",
                hint="it is wrong, expired or revoked, or there are two: show one that is good",
            )
        return principal

    def _check(self, request: Request, credential: str) -> Principal | None:
        origin = _origin(request)
        if not credential.startswith(KEY_BEGINNING):
            return self._tokens.find(credential, origin)
        key = self._keys.find(credential)
        return None if key is None else key.principal(origin)


def _shown(request: Request) -> set[str]:
    headers = request.headers
    return {_credential(name, value) for name in _HEADERS for value in headers.getlist(name)}


def _origin(request: Request) -> str | None:
    return None if request.client is None else request.client.host


def _credential(header: str, value: str) -> str:
    """What a header shows; nothing that is good where it shows another kind."""
    if header == "x-api-key":
        # A token is shown as a bearer's alone, as RFC 6750 has it.
        return value if value.startswith(KEY_BEGINNING) else ""
    kind, _, credential = value.partition(" ")
    return credential.strip() if kind.lower() == "bearer" else ""
