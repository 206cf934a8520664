"""The artifact storage that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory_runtime.artifacts.local import LocalArtifactStorage
from factory_runtime.domain.errors import SettingsError
from factory_runtime.ports import ArtifactStorage
from factory_runtime.settings import Settings

if TYPE_CHECKING:
    from factory_runtime.artifacts.blob_place import BlobPlace

_BLOCK_TYPE = "factory-artifact-storage"


def open_artifact_storage(settings: Settings) -> ArtifactStorage:
    """A folder, or containers of Azure's: those are first asked for when a body is.

    Raises:
        SettingsError: nobody knows whose storage it is.
    """
    kind, _, name = settings.artifact_storage.partition(":")
    if kind == "local":
        return LocalArtifactStorage(settings.artifacts_folder)
    from factory_runtime.artifacts.blob import BlobArtifactStorage
    from factory_runtime.artifacts.blob_place import BlobPlace

    if kind == "block":
        return BlobArtifactStorage(lambda: _place_in(name, settings.prefect_api_url))
    if settings.artifact_account is None:
        raise SettingsError(
            f"nobody knows whose storage {settings.artifact_storage} is in",
            hint="give a connection string, or an account's URL, in FACTORY_ARTIFACT_ACCOUNT",
        )
    account = settings.artifact_account.get_secret_value()
    place = BlobPlace.of_account(name.removeprefix("//"), account)
    return BlobArtifactStorage(lambda: place)


def _place_in(block: str, api_url: str | None) -> BlobPlace:
    """What a block of Prefect's says, whichever server this process talks to otherwise.

    Raises:
        HostBusyError: no Prefect server answers, or this process knows none.
        InputError: there is none of this name.
    """
    from factory_runtime.artifacts.blob_place import BlobPlace
    from factory_runtime.orchestration.kept_blocks import read_block, server_at

    with server_at(api_url):
        return BlobPlace.of_block(read_block(_BLOCK_TYPE, block)["data"])
