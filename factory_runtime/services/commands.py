"""Commands as people are told to type them."""

from __future__ import annotations

from factory_runtime.settings import HOME_TENANT


def for_tenant(command: str, tenant_id: str) -> str:
    """The command with what makes it one of this tenant, where it is not by default."""
    return command if tenant_id == HOME_TENANT else f"{command} --tenant {tenant_id}"
