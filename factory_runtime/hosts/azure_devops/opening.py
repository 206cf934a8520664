"""Opens an organisation of Azure DevOps as the fields of a block describe it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from factory_runtime.domain.errors import InputError
from factory_runtime.domain.secrets import Secrets
from factory_runtime.hosts.azure_devops.access import (
    AzureDevOps,
    Token,
    Tokens,
    entra_credential,
    entra_tokens,
    personal_token,
)
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient
from factory_runtime.hosts.azure_devops.delivery import AzureDevOpsDelivery
from factory_runtime.hosts.azure_devops.host import AzureDevOpsGitHost
from factory_runtime.hosts.azure_devops.vault import SCOPE, VaultToken


def open_azure_devops(
    fields: Mapping[str, Any], mirrors: Path, secrets: Secrets, *, is_shared: bool = False
) -> AzureDevOpsGitHost:
    """The host. Nothing is asked of it yet.

    Args:
        fields: of a block ``factory-git-host``, secrets in the open.
        mirrors: folder for copies of repositories; it may be lost at any time.
        secrets: what nothing may say; tokens are added to it before they are used.
        is_shared: whether several tenants may use the block.

    Raises:
        InputError: they do not say where it is, or who we are to it.
    """
    projects = str(fields.get("projects") or "{project}")
    tokens = _hidden(_tokens(fields), secrets)
    access = AzureDevOps(str(fields["url"]), tokens, projects, is_shared)
    client = AzureDevOpsClient(access)
    delivery = AzureDevOpsDelivery(client)
    return AzureDevOpsGitHost(client, mirrors, lambda: datetime.now(UTC), delivery)


def _hidden(tokens: Tokens, secrets: Secrets) -> Tokens:
    """The same: those that a vault or an identity gives stand in no block, and are secrets too."""
    known = set[str]()

    def current() -> Token:
        token = tokens()
        if token.text not in known:
            secrets.add([token.text])
            known.add(token.text)
        return token

    return current


def _tokens(fields: Mapping[str, Any]) -> Tokens:
    """A token of the block itself, or of a vault, or of an identity: the first that there is."""
    user = fields.get("user") or None
    if fields.get("token"):
        return personal_token(str(fields["token"]), user)
    identity = entra_credential(fields)
    if identity is None:
        raise InputError(
            "the block of the git host does not say who we are there",
            hint="give it a token, a service principal, or a managed identity",
        )
    if fields.get("key_vault_secret"):
        secret = str(fields["key_vault_secret"])
        return VaultToken(secret, entra_tokens(identity, SCOPE), user)
    return entra_tokens(identity)
