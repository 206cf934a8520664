"""Who we are to a web service that jobs send requests to."""

from __future__ import annotations

from typing import Annotated

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, SecretStr, field_validator

from blocks import logos
from blocks.pages import BLOCKS_PAGE
from blocks.tenants import Tenants

_Host = Annotated[str, Field(pattern=r"^(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$")]


class HttpCredentials(Block):
    """A token, a key or a password of a web service, and the hosts that it is shown to.

    Example:
        ```python
        from blocks import HttpCredentials

        service = HttpCredentials.load("NAME")
        ```
    """

    _block_type_name = "Factory HTTP"
    # What `factory_runtime.jobs.http_request` asks for.
    _block_type_slug = "factory-http"
    _logo_url = logos.NOTIFICATION
    _documentation_url = BLOCKS_PAGE

    model_config = ConfigDict(hide_input_in_errors=True)  # it may be the secret

    secret: SecretStr = Field(description="A token, a key or a password; 8 characters or more.")
    hosts: list[_Host] = Field(
        description="Whom it may be shown to: api.example.com, api.example.com:8443, *.example.com."
    )
    user: str | None = Field(
        default=None, description="Whose password it is; then it goes as basic authentication."
    )
    header: str | None = Field(
        default=None,
        pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
        description="Goes as it is in this header, like X-Api-Key. Without both it is a bearer token.",
    )
    tenants: Tenants

    @field_validator("secret")
    @classmethod
    def _fits_a_header(cls, secret: SecretStr) -> SecretStr:
        text = secret.get_secret_value()
        if not (text.isascii() and text.isprintable() and text == text.strip()):
            raise ValueError("it has to be one line of plain characters")
        return secret
