"""Where the tenants' databases are: a local folder, or a prefix in an Azure container."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from factory_runtime.domain.ids import is_slug
from factory_runtime.memory.container import Container
from factory_runtime.memory.folder import Folder


@dataclass(frozen=True, slots=True)
class Place:
    """A folder, or an address like ``az://container/prefix``.

    Its methods raise the errors of the file system, or of Azure.

    Attributes:
        options: what the storage needs, by LanceDB's names: ``account_name``, ``account_key``,
            ``azure_storage_sas_key``, ``azure_storage_endpoint``, ``allow_http``.
        ground: what it is on.
    """

    uri: str
    options: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    ground: Folder | Container = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        is_address = "://" in self.uri
        ground = Container(self.uri, self.options) if is_address else Folder(Path(self.uri))
        object.__setattr__(self, "ground", ground)

    def of(self, tenant_id: str) -> str:
        """The address of the tenant's database."""
        return f"{self.uri.rstrip('/')}/{tenant_id}"

    def make(self) -> None:
        """What databases are put into, where it is not there."""
        self.ground.make()

    def has(self, tenant_id: str) -> bool:
        """Whether there may be a database: connecting to a local one makes its folder."""
        return self.ground.has(tenant_id)

    def has_files(self, tenant_id: str, name: str = "") -> bool:
        """Whether there is one now, in the tenant's database or in a folder of it."""
        return self.ground.has_files(f"{tenant_id}/{name}".rstrip("/"))

    def tenants(self) -> tuple[str, ...]:
        """Those that have a database here, in the order of names."""
        return tuple(sorted(name for name in self.ground.names() if is_slug(name)))

    def remove(self, tenant_id: str, name: str = "") -> None:
        """What LanceDB leaves of a database, or of a table in it, that it cannot read."""
        self.ground.remove(f"{tenant_id}/{name}".rstrip("/"))

    def file_sizes(self, tenant_id: str) -> list[int]:
        """Bytes of each of the database's files."""
        return self.ground.sizes(tenant_id)

    def making(self, tenant_id: str) -> AbstractContextManager[None]:
        """One maker of a tenant's tables at a time, as far as the ground can see to it."""
        return self.ground.making(tenant_id)
