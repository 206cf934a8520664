"""Where a language model answers."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, SecretStr

from blocks import logos
from blocks.pages import BLOCKS_PAGE
from blocks.tenants import Tenants
from blocks.urls import OpenUrl


class ModelEndpoint(Block):
    """A language model that agents may ask.

    Example:
        ```python
        from blocks import ModelEndpoint

        endpoint = ModelEndpoint.load("NAME")
        ```
    """

    _block_type_name = "Factory Model Endpoint"
    _block_type_slug = "factory-model-endpoint"
    _logo_url = logos.MODEL
    _documentation_url = BLOCKS_PAGE

    model_config = ConfigDict(hide_input_in_errors=True)  # it may be the secret

    url: OpenUrl = Field(title="URL", description="Where it answers: https://host/v1.")
    model: str = Field(
        min_length=1,
        description="Name of the model, or of its deployment, as the endpoint knows it.",
    )
    key: SecretStr | None = Field(
        default=None, description="What it lets us in by; an endpoint of one's own may need none."
    )
    tenants: Tenants
