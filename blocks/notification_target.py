"""Where notices go."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, SecretStr, field_validator

from blocks import logos
from blocks.pages import BLOCKS_PAGE


class NotificationTarget(Block):
    """An address that notices are sent to; a policy names it as ``to: block:NAME``.

    It is read each time a notice is sent: a new token needs no restart.

    Example:
        ```python
        from blocks import NotificationTarget

        NotificationTarget(url="slack://TOKEN_A/TOKEN_B/TOKEN_C").save("NAME")
        ```
    """

    _block_type_name = "Factory Notification Target"
    # What `factory_runtime.orchestration.notification_blocks` asks for.
    _block_type_slug = "factory-notification-target"
    _logo_url = logos.NOTIFICATION
    _documentation_url = BLOCKS_PAGE

    model_config = ConfigDict(hide_input_in_errors=True)  # it may be the secret

    url: SecretStr = Field(
        title="URL",
        description="As Apprise writes addresses: mailtos://user:password@host?to=ops@example.com, "
        "slack://…, jsons://host/path.",
    )

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: SecretStr) -> SecretStr:
        scheme, separator, rest = url.get_secret_value().partition("://")
        if not (separator and scheme and rest.strip()):
            raise ValueError("it has to be an address, like jsons://host/path")
        return url
