"""Azure DevOps: repositories and what comes after them, by REST 7.1 and git over https."""

from factory_runtime.hosts.azure_devops.opening import open_azure_devops

__all__ = ["open_azure_devops"]
