"""Who we are to a git host."""

from __future__ import annotations

from enum import StrEnum

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, SecretStr

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
    """A git host, and the token that repositories are made and pushed with.

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
    token: SecretStr = Field(
        description="A personal access token that may make repositories and push to them."
    )
    user: str | None = Field(
        default=None, description="The name that goes with the token, where the host wants one."
    )
    tenants: Tenants
