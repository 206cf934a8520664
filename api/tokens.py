"""Tokens of issuers: JSON Web Tokens (RFC 7519), signed with keys that the issuer publishes.

What is checked, and why so, is RFC 8725 (best current practices).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import jwt

from api.issuer_keys import IssuerKeys, Jwk
from factory_runtime.domain.access import Grant, Principal, is_person
from factory_runtime.domain.errors import InputError
from factory_runtime.domain.ids import is_slug
from factory_runtime.settings import OidcIssuer

_LOG = logging.getLogger("factory.tokens")

_LONGEST = 16 * 1024
_LEEWAY_SECONDS = 30
"""How far the clocks of two machines may be apart."""

_MOST_NAMES = 500

# Signatures that only the issuer can make; and for each, the keys that fit it (RFC 7518, RFC 8037).
_KEYS_OF: Mapping[str, Mapping[str, str]] = {
    "RS256": {"kty": "RSA"},
    "PS256": {"kty": "RSA"},
    "ES256": {"kty": "EC", "crv": "P-256"},
    "EdDSA": {"kty": "OKP", "crv": "Ed25519"},
}

# What the library raises of a token that somebody has made up, and what slips by it: an ``exp`` of
# 1e999, say.
_BAD = (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError)


@dataclass(frozen=True, slots=True)
class _Trusted:
    issuer: OidcIssuer
    keys: IssuerKeys


class Tokens:
    """Reads who a token is about. One for each process."""

    def __init__(self, issuers: Sequence[OidcIssuer]) -> None:
        self._trusted = {one.issuer: _Trusted(one, IssuerKeys(one.issuer)) for one in issuers}

    def find(self, token: str, origin: str | None) -> Principal | None:
        """Who it is about; None where anything is wrong with it.

        Raises:
            IssuerUnavailableError: the issuer it names does not tell its keys now.
        """
        if len(token) > _LONGEST:
            return None
        try:
            trusted, claims = self._read(token)
            return _principal(trusted.issuer, claims, origin)
        except _BAD as error:
            # Its kind alone: a message may hold what the token says.
            _LOG.info("a token is refused: %s", type(error).__name__)
            return None

    def _read(self, token: str) -> tuple[_Trusted, Mapping[str, Any]]:
        header, unverified = _peek(token)
        name, algorithm, kid = unverified.get("iss"), header.get("alg"), header.get("kid")
        trusted = self._trusted.get(name) if isinstance(name, str) else None
        if trusted is None:
            raise jwt.InvalidIssuerError
        # Of the header these two alone are read: `jku`, `x5u` and `jwk` name keys of whoever made it.
        if not isinstance(algorithm, str) or algorithm not in _KEYS_OF or not isinstance(kid, str):
            raise jwt.InvalidAlgorithmError
        jwk = trusted.keys.find(kid)
        if jwk is None or not _fits(jwk, algorithm):
            raise jwt.InvalidKeyError
        claims = jwt.decode(
            token,
            jwt.PyJWK(dict(jwk), algorithm),
            algorithms=[algorithm],
            audience=trusted.issuer.audience,
            issuer=trusted.issuer.issuer,
            leeway=_LEEWAY_SECONDS,
            options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
        )
        return trusted, claims


def _peek(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The header and the claims, of which nothing is known yet."""
    whole = jwt.decode_complete(token, options={"verify_signature": False})
    return whole["header"], whole["payload"]


def _fits(jwk: Jwk, algorithm: str) -> bool:
    kind = _KEYS_OF[algorithm]
    meant_for = (jwk.get("use", "sig"), jwk.get("alg", algorithm))
    return meant_for == ("sig", algorithm) and all(jwk.get(k) == kind[k] for k in kind)


def _principal(issuer: OidcIssuer, claims: Mapping[str, Any], origin: str | None) -> Principal:
    said = claims.get(issuer.tenant_claim)
    if issuer.tenant is not None and said not in (None, issuer.tenant):
        raise ValueError("a token of another tenant")
    tenant_id, name = issuer.tenant or said, claims.get(issuer.name_claim)
    if not isinstance(tenant_id, str) or not is_slug(tenant_id):
        raise ValueError("no tenant")
    if not isinstance(name, str) or not is_person(name):
        raise ValueError("nobody's name")
    groups = frozenset(filter(is_person, _names(claims.get(issuer.groups_claim))))
    return Principal(name, tenant_id, _grants(claims.get(issuer.roles_claim)), groups, None, origin)


def _grants(claim: Any) -> tuple[Grant, ...]:
    grants: list[Grant] = []
    for word in _names(claim):
        try:
            grants.append(Grant.parse(word))
        except InputError:
            continue  # a role of another application's
    return tuple(dict.fromkeys(grants))


def _names(claim: Any) -> list[str]:
    """The words of a claim: a list of them, or one text with spaces between."""
    listed = claim.split() if isinstance(claim, str) else claim
    if not isinstance(listed, list):
        return []
    return [word for word in cast("list[Any]", listed)[:_MOST_NAMES] if isinstance(word, str)]
