"""Who we are to a git host."""

from __future__ import annotations

from enum import StrEnum

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, SecretStr, model_validator

from blocks import logos
from blocks.pages import BLOCKS_PAGE
from blocks.tenants import Tenants
from blocks.urls import OpenUrl


class GitHostKind(StrEnum):
    """Which service it is."""

    AZURE_DEVOPS = "azure-devops"
    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"


class GitHostCredentials(Block):
    """A git host, and who we are there: by a token, or by an identity of Microsoft Entra.

    Example:
        ```python
        from blocks import GitHostCredentials

        host = GitHostCredentials.load("NAME")
        ```
    """

    _block_type_name = "Factory Git Host"
    _block_type_slug = "factory-git-host"
    _logo_url = logos.GIT
    _documentation_url = BLOCKS_PAGE

    model_config = ConfigDict(hide_input_in_errors=True)  # it may be the secret

    kind: GitHostKind = Field(description="Which service it is.")
    url: OpenUrl = Field(
        title="URL",
        description="Where it is, with the organisation: https://dev.azure.com/acme.",
    )
    token: SecretStr | None = Field(
        default=None,
        description="A personal access token that may make repositories and push to them.",
    )
    user: str | None = Field(
        default=None, description="The name that goes with the token, where the host wants one."
    )
    projects: str = Field(
        default="{project}",
        description="What the project of a tenant is called there: {tenant}-{project}, where"
        " tenants share an organisation.",
    )
    managed_identity: bool = Field(
        default=False,
        description="Azure DevOps: show the identity of the machine instead of a token.",
    )
    tenant_id: str | None = Field(
        default=None,
        title="Directory (tenant) ID",
        description="Azure DevOps: of a service principal that is shown instead of a token.",
    )
    client_id: str | None = Field(
        default=None,
        title="Client ID",
        description="Of that service principal, or of a user-assigned managed identity.",
    )
    client_secret: SecretStr | None = Field(default=None, description="Of that service principal.")
    key_vault_secret: OpenUrl | None = Field(
        default=None,
        description="A secret of Azure Key Vault that holds the token, read by the identity:"
        " https://acme.vault.azure.net/secrets/azure-devops.",
    )
    tenants: Tenants

    @model_validator(mode="after")
    def _says_who_we_are(self) -> GitHostCredentials:
        principal = (self.tenant_id, self.client_id, self.client_secret)
        is_principal = all(one is not None for one in principal)
        if self.kind is not GitHostKind.AZURE_DEVOPS and self.token is None:
            raise ValueError("a token is needed")
        if self.token is None and not is_principal and not self.managed_identity:
            raise ValueError(
                "a token is needed, or the tenant_id, client_id and client_secret of a service"
                " principal, or a managed identity"
            )
        return self
