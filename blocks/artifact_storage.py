"""Where the bodies of artifacts lie, and who we are there."""

from __future__ import annotations

from prefect.blocks.core import Block
from prefect_azure import AzureBlobStorageCredentials
from pydantic import ConfigDict, Field

from blocks import logos
from blocks.pages import BLOCKS_PAGE
from blocks.tenants import Tenants


class ArtifactStorageCredentials(Block):
    """Containers of Azure Blob Storage, one for each tenant, and the credentials they are used with.

    The credentials are a block of ``prefect-azure``: a connection string, a service principal, or
    the identity of the machine. ``FACTORY_ARTIFACT_STORAGE=block:NAME`` has bodies go there.

    Example:
        ```python
        from blocks import ArtifactStorageCredentials

        storage = ArtifactStorageCredentials.load("NAME")
        container = container_of(storage.prefix, "acme")  # of factory_runtime.artifacts.blob
        async with storage.credentials.get_container_client(container) as client:
            ...
        ```
    """

    _block_type_name = "Factory Artifact Storage"
    _block_type_slug = "factory-artifact-storage"
    _logo_url = logos.STORAGE
    _documentation_url = BLOCKS_PAGE

    model_config = ConfigDict(hide_input_in_errors=True)  # it may be the secret

    credentials: AzureBlobStorageCredentials = Field(
        description="Who we are there: a block of Azure credentials."
    )
    prefix: str = Field(
        # As Azure names containers: nothing that could lead out of them.
        pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$",
        max_length=20,
        description="The names of containers begin so: lower case, digits, hyphens; up to 20.",
    )
    tenants: Tenants
