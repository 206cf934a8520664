"""Credentials of jobs, as Prefect's blocks keep them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from factory_runtime.orchestration.kept_blocks import read_block
from factory_runtime.ports import Credentials

_ANY = "*"


class CredentialBlocks:
    """Implements ports.CredentialBook. Asked each time: what was changed there counts at once."""

    def credentials_of(self, kind: str, name: str) -> Credentials:
        """Those in the block of this type and name.

        Raises:
            HostBusyError: no Prefect server answers, or this process knows none.
            InputError: there is none of this name.
        """
        return credentials_in(name, read_block(kind, name))


def credentials_in(name: str, block: Mapping[str, Any]) -> Credentials:
    """What the API says of a block, with its secrets told from the rest by its schema."""
    data: Mapping[str, Any] = block["data"]
    paths: list[str] = block["block_schema"]["fields"].get("secret_fields", [])
    found = {text for path in paths for text in _texts(data, path.split("."))}
    tenants: list[str] = data.get("tenants") or []
    return Credentials(name, data, frozenset(found), frozenset(map(str, tenants)))


def _texts(value: Any, path: list[str]) -> Iterator[str]:
    """All text at a place, or below it; ``*`` is every key."""
    if isinstance(value, Mapping):
        inner = cast("Mapping[str, Any]", value)
        key, rest = (path[0], path[1:]) if path else (_ANY, [])
        for name in inner if key == _ANY else (key,):
            yield from _texts(inner.get(name), rest)
    elif isinstance(value, list):
        for one in cast("list[Any]", value):
            yield from _texts(one, path)
    elif isinstance(value, str):
        yield value
