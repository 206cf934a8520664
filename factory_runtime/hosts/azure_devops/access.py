"""Where an organisation of Azure DevOps is, and who we are to it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlsplit

from factory_runtime.domain.errors import HostBusyError, HostRejectedError, InputError
from factory_runtime.domain.loopback import is_loopback

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

_SCOPE = "499b84ac-1321-427f-aa17-267ca6975798/.default"
"""Of Azure DevOps itself, in every directory: "Authenticate to Azure DevOps with Microsoft Entra",
https://learn.microsoft.com/azure/devops/integrate/get-started/authentication/entra"""

_PROJECTS = "{project}"


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """What shows who we are. It prints as its scheme.

    Attributes:
        scheme: of HTTP, ``Basic`` for a personal access token, ``Bearer`` for one of Entra.
        user: the name before a personal access token; any, or none.
    """

    text: str
    scheme: str
    user: str = ""

    def __repr__(self) -> str:
        return f"Token({self.scheme})"

    @property
    def header(self) -> str:
        """The value of ``Authorization``."""
        return f"{self.scheme} {self._shown()}"

    def hidden(self, words: str) -> str:
        """The words without the token, should they hold it."""
        return words.replace(self._shown(), "***").replace(self.text, "***")

    def _shown(self) -> str:
        if self.scheme == "Bearer":
            return self.text
        return base64.b64encode(f"{self.user}:{self.text}".encode()).decode()


class Tokens(Protocol):
    """Gives the token of the moment."""

    def __call__(self) -> Token:
        """Asked before each request.

        Raises:
            HostBusyError: whoever gives it does not answer now.
            HostRejectedError: it is refused to us.
        """
        ...


@dataclass(frozen=True, slots=True)
class AzureDevOps:
    """An organisation, and how we show who we are there.

    Attributes:
        url: like ``https://dev.azure.com/acme``, or a collection's of a server.
        projects: what the project of ``{tenant}`` and ``{project}`` is called there.
        is_shared: whether several tenants are here.

    Raises:
        InputError: it is no address of one, or the token would go in clear over a network.
    """

    url: str
    tokens: Tokens = field(repr=False)
    projects: str = _PROJECTS
    is_shared: bool = False

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise InputError(
                "the URL of the git host is no address of Azure DevOps",
                hint="it is like https://dev.azure.com/acme; a token is no part of it",
            )
        if parts.query or parts.fragment or not parts.path.strip("/"):
            raise InputError(
                f"{self.url} names no organisation", hint="it is like https://dev.azure.com/acme"
            )
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise InputError(
                f"whoever is on the way to {parts.hostname} could read the token: it would go by"
                " plain http",
                hint="use https",
            )
        if "{project}" not in self.projects:
            raise InputError(
                f"the projects {self.projects!r} name no {{project}}",
                hint="like {project}, or {tenant}-{project} where tenants share an organisation",
            )
        object.__setattr__(self, "url", self.url.rstrip("/"))

    @property
    def keeps_tenants_apart(self) -> bool:
        """Whether no two tenants have a project in common."""
        return not self.is_shared or "{tenant}" in self.projects

    @property
    def name(self) -> str:
        """What messages call it."""
        parts = urlsplit(self.url)
        return f"{parts.netloc}{parts.path}"

    def project_of(self, tenant_id: str, project_id: str) -> str:
        """The name there of a project of ours."""
        named = self.projects.replace("{tenant}", tenant_id)
        return named.replace("{project}", project_id)

    def clone_url(self, project: str, repository_id: str) -> str:
        """Where git finds a repository by its id, however it is called by now."""
        return f"{self.url}/{quote(project, safe='')}/_git/{quote(repository_id, safe='')}"


def personal_token(token: str, user: str | None = None) -> Tokens:
    """A personal access token.

    Raises:
        InputError: it has characters that no token has.
    """
    if not (token and token.isascii() and token.isprintable()) or ":" in (user or ""):
        raise InputError("the token of the git host has characters that no token has")
    fixed = Token(token, "Basic", user or "")
    return lambda: fixed


def entra_tokens(credential: TokenCredential, scope: str = _SCOPE) -> Tokens:
    """Tokens of a service principal or a managed identity, each as long as it is good."""

    def current() -> Token:
        from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

        try:
            return Token(credential.get_token(scope).token, "Bearer")
        except ServiceRequestError as exc:
            raise HostBusyError("Microsoft Entra does not answer") from exc
        except ClientAuthenticationError as exc:
            # CredentialUnavailableError is one: there is no managed identity here. What Entra
            # says names the directory and the client; the secret is not in it.
            raise HostRejectedError(
                f"Microsoft Entra gives no token: {_first_line(exc)}",
                hint="look at the secret's expiry, or at the identity that this machine has",
            ) from exc

    return current


def entra_credential(fields: Mapping[str, Any]) -> TokenCredential | None:
    """The identity that the fields of a block name; None where they name none.

    Raises:
        InputError: they name half of one.
    """
    principal = [fields.get(name) for name in ("tenant_id", "client_id", "client_secret")]
    if fields.get("managed_identity"):
        from azure.identity import ManagedIdentityCredential

        return ManagedIdentityCredential(client_id=fields.get("client_id") or None)
    if not any(principal):
        return None
    if not all(principal):
        raise InputError(
            "a service principal has a tenant_id, a client_id and a client_secret",
            hint="fill in all three, or say managed_identity",
        )
    from azure.identity import ClientSecretCredential

    directory, client, secret = (str(one) for one in principal)
    return ClientSecretCredential(directory, client, secret)


def _first_line(error: Exception) -> str:
    words = "".join(c if c.isprintable() else " " for c in str(error).split("\n", 1)[0])
    return " ".join(words.split())[:300]
