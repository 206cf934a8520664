"""Where the tenants' databases are: a local folder, or a prefix in an Azure container."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from factory_runtime.domain.ids import is_slug


@dataclass(frozen=True, slots=True)
class Place:
    """A folder, or an address like ``az://container/prefix``.

    Attributes:
        options: what the storage needs, by LanceDB's names: ``account_name``, ``account_key``,
            ``azure_storage_endpoint``, ``allow_http`` …
    """

    uri: str
    options: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def folder(self) -> Path | None:
        """Of local files; None where it is an address."""
        return None if "://" in self.uri else Path(self.uri)

    def of(self, tenant_id: str) -> str:
        """The address of the tenant's database."""
        if self.folder is not None:
            return str(self.folder / tenant_id)
        return f"{self.uri.rstrip('/')}/{tenant_id}"

    def has(self, tenant_id: str) -> bool:
        """Whether there may be a database: connecting to a local one makes its folder."""
        return self.folder is None or (self.folder / tenant_id).exists() or self.folder.is_file()

    def tenants(self) -> tuple[str, ...]:
        """Those that have a database here, in the order of names."""
        names = _azure_names(self) if self.folder is None else _folder_names(self.folder)
        return tuple(sorted(name for name in names if is_slug(name)))

    def remove(self, tenant_id: str, name: str = "") -> None:
        """What LanceDB leaves of a database, or of a table in it, that it cannot read."""
        if self.folder is not None and (self.folder / tenant_id / name).exists():
            shutil.rmtree(self.folder / tenant_id / name)

    def file_sizes(self, tenant_id: str) -> list[int] | None:
        """Bytes of each of a local database's files; None of what is not local."""
        if self.folder is None:
            return None
        return [_size(file) for file in (self.folder / tenant_id).rglob("*") if file.is_file()]

    @contextmanager
    def making(self, tenant_id: str) -> Generator[None]:
        """One maker of a tenant's tables at a time, in every process of this machine.

        LanceDB lets two who make one table at once write over each other: with an empty table.
        The kernel gives the lock back when a maker is killed. On other storage nothing but the
        store's lock keeps makers apart.
        """
        with nullcontext() if self.folder is None else _locked(self.folder / tenant_id):
            yield


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".making").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _size(file: Path) -> int:
    # One that is put away while we look takes nothing any more.
    with suppress(FileNotFoundError):
        return file.stat().st_size
    return 0


def _folder_names(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()] if folder.exists() else []


def _azure_names(place: Place) -> list[str]:
    # LanceDB lists tables, not databases.
    fs: Any = import_module("pyarrow.fs")
    address = urlsplit(place.uri)
    where = f"{address.netloc}{address.path}".rstrip("/")
    files = fs.AzureFileSystem(**_arrow_options(place.options))
    found = files.get_file_info(fs.FileSelector(where, allow_not_found=True))
    return [one.base_name for one in found if one.type == fs.FileType.Directory]


def _arrow_options(options: Mapping[str, str]) -> dict[str, str]:
    """The same account, by Arrow's names."""
    named = {
        "account_name": "account_name",
        "account_key": "account_key",
        "azure_storage_account_name": "account_name",
        "azure_storage_account_key": "account_key",
        "azure_storage_sas_key": "sas_token",
        "sas_token": "sas_token",
    }
    chosen = {named[key]: value for key, value in options.items() if key in named}
    if endpoint := options.get("azure_storage_endpoint"):
        address = urlsplit(endpoint)
        chosen |= {
            "blob_storage_scheme": address.scheme,
            "dfs_storage_scheme": address.scheme,
            "blob_storage_authority": address.netloc,
            "dfs_storage_authority": address.netloc,
        }
    return chosen
