"""The run store's transaction: API keys."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, or_, select

from factory_runtime.domain.api_key import ApiKey
from factory_runtime.domain.errors import ApiKeyNotFoundError, ConflictError
from factory_runtime.run_store.records import API_KEYS
from factory_runtime.run_store.rows import Condition, TenantRows
from factory_runtime.run_store.tables import api_keys


class Access:
    """``ports.AccessRecords``."""

    def __init__(self, rows: TenantRows) -> None:
        self._rows = rows

    def add_api_key(self, key: ApiKey) -> None:
        if not self._rows.insert_if_absent(API_KEYS, key):
            raise ConflictError("another key came in between", hint="try it again")

    def get_api_key(self, key_id: str) -> ApiKey:
        key = self._rows.find(API_KEYS, id=key_id)
        if key is None:
            raise ApiKeyNotFoundError(key_id)
        return key

    def lock_api_key(self, key_id: str) -> ApiKey:
        self._rows.lock(API_KEYS, id=key_id)
        return self.get_api_key(key_id)

    def save_api_key(self, key: ApiKey) -> None:
        row = API_KEYS.row_of(key)
        del row["last_used_at"]
        if not self._rows.change(API_KEYS, row, id=key.id):
            raise ApiKeyNotFoundError(key.id)

    def touch_api_key(self, key_id: str, at: datetime, *, unless_since: datetime) -> bool:
        used = api_keys.c.last_used_at
        changes = {"last_used_at": at}
        long_ago = or_(used.is_(None), used <= unless_since)
        return self._rows.update(API_KEYS, changes, api_keys.c.id == key_id, long_ago) == 1

    def find_replacement(self, key_id: str) -> ApiKey | None:
        return self._rows.find(API_KEYS, replaces=key_id)

    def list_api_keys(
        self,
        *,
        good_at: datetime | None = None,
        name: str | None = None,
        limit: int = 200,
        before_id: str | None = None,
    ) -> tuple[ApiKey, ...]:
        columns, where = api_keys.c, list[Condition]()
        if good_at is not None:
            lasts = or_(columns.expires_at.is_(None), columns.expires_at > good_at)
            where += [columns.revoked_at.is_(None), lasts]
        if name is not None:
            where.append(columns.name == name)
        if before_id is not None:
            where.append(columns.id < before_id)
        return self._rows.list(API_KEYS, *where, order_by=(columns.id.desc(),), limit=limit)


# Asked with every request that shows a key not seen just now: built once.
API_KEY_OF_PREFIX = select(*API_KEYS.columns).where(api_keys.c.prefix == bindparam("shown"))
"""The key that has a prefix, ``shown``, of whichever tenant."""
