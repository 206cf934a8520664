"""Where the bodies of artifacts lie, and who we are there."""

from __future__ import annotations

from prefect.blocks.core import Block
from prefect_azure import AzureBlobStorageCredentials
from pydantic import ConfigDict, Field

from blocks import logos
from blocks.pages import BLOCKS_PAGE
from blocks.tenants import Tenants


class ArtifactStorageCredentials(Block):
    """A container of Azure Blob Storage, and the credentials it is read and written with.

    The credentials are a block of ``prefect-azure``: a connection string, a service principal, or
    the identity of the machine.

    Example:
        ```python
        from blocks import ArtifactStorageCredentials

        storage = ArtifactStorageCredentials.load("NAME")
        async with storage.credentials.get_container_client(storage.container) as container:
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
    container: str = Field(
        # As Azure names them: nothing that could lead out of the container.
        pattern=r"^[a-z0-9](?:-?[a-z0-9]){2,62}$",
        description="Its name: lower case, digits, hyphens; 3 to 63 of them.",
    )
    tenants: Tenants
