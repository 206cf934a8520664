"""Prefect blocks: credentials that are chosen for a run, kept by Prefect, encrypted.

``prefect block register -m blocks`` makes them known to a server; then its UI has a form for each.
What the core needs of one is handed to it as a value, when it is needed.
"""

from blocks.artifact_storage import ArtifactStorageCredentials
from blocks.git_host import GitHostCredentials
from blocks.http import HttpCredentials
from blocks.model_endpoint import ModelEndpoint
from blocks.notification_target import NotificationTarget

__all__ = [
    "ArtifactStorageCredentials",
    "GitHostCredentials",
    "HttpCredentials",
    "ModelEndpoint",
    "NotificationTarget",
]
