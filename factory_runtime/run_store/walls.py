"""The second wall between tenants: PostgreSQL's row-level security. SQLite has none.

A tenant's transaction goes on as a role that owns no table, and has the tenant's id in a setting of
its own; the policies of the tables compare each row's with it. Who owns the tables and names no
tenant sees all: dispatchers, sweeps, and releases that know nothing of this. Both are set for the
transaction alone, so that neither a pool nor a pooler in between hands them on.

https://www.postgresql.org/docs/current/ddl-rowsecurity.html
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from factory_runtime.domain.errors import SettingsError
from factory_runtime.run_store.column_types import clean_text
from factory_runtime.run_store.engines import goes_on, statement_milliseconds

TENANT_ROLE = "factory_tenant"
"""What a tenant's transaction goes on as. Roles are the server's: its databases share this one."""

_ROLE_BEFORE = "factory_role_before"

# The last is no wall: it comes along, so that it takes no way of its own to the server.
_GO_BEHIND = (
    "SELECT current_setting('role'), set_config('role', %(role)s, true),"
    " set_config('factory.tenant', %(tenant)s, true),"
    " set_config('factory.presented', %(presented)s, true),"
    " set_config('statement_timeout', %(wait)s, true)"
)
_SEES_ALL = (
    "SELECT NOT row_security_active(oid) OR pg_has_role(current_user, relowner, 'USAGE'),"
    " current_user FROM pg_class WHERE oid = 'runs'::regclass"
)


def go_behind_wall(connection: Connection, *, tenant_id: str = "", presented: str = "") -> None:
    """From here to its end, the transaction sees this tenant's rows, or what this names.

    Args:
        connection: in a transaction that has done nothing yet.
        tenant_id: whose rows.
        presented: what somebody shows whose tenant is not known yet: a key's prefix, the id of a
            source of webhooks. It opens that one row.

    Raises:
        SettingsError: the database's login may not become the role.
    """
    if connection.dialect.name == "postgresql":
        _set(connection, TENANT_ROLE, clean_text(tenant_id), clean_text(presented))


@contextmanager
def beyond_wall(connection: Connection, tenant_id: str) -> Generator[None]:
    """For this block, a tenant's transaction sees the rows of all: where they stand in one line."""
    if connection.dialect.name != "postgresql":
        yield
        return
    _set(connection, connection.info[_ROLE_BEFORE], "", "")
    try:
        yield
    finally:
        if goes_on(connection):
            go_behind_wall(connection, tenant_id=tenant_id)


def require_sight_of_all(connection: Connection, place: str) -> None:
    """Refuse a login to which the rows of most tenants would silently be none.

    Raises:
        SettingsError: it is no owner of the tables.
    """
    sees_all, login = connection.exec_driver_sql(_SEES_ALL).one()
    if not sees_all:
        raise SettingsError(
            f"{login} may not look over the tenants of {place}",
            hint="such a login serves the API; all else connects as the owner of the tables",
        )


def _set(connection: Connection, role: str, tenant_id: str, presented: str) -> None:
    wait = statement_milliseconds(connection)
    wanted = {"role": role, "tenant": tenant_id, "presented": presented, "wait": wait}
    try:
        before = connection.exec_driver_sql(_GO_BEHIND, wanted).scalar_one()
    except DBAPIError as exc:
        if getattr(exc.orig, "sqlstate", None) in {"22023", "42501"}:
            raise SettingsError(
                f"the database does not let its login become {role}: {exc.orig}",
                hint=f"as its administrator: CREATE ROLE {role} NOLOGIN; GRANT {role} TO <login>;",
            ) from exc
        raise
    if role == TENANT_ROLE:
        connection.info[_ROLE_BEFORE] = before
