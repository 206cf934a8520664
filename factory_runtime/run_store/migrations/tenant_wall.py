"""How a migration puts its tables behind the wall between tenants; on SQLite there is none.

A migration that makes a table calls ``put_behind_wall`` with its name; ``run_store.walls`` says what
the policies are there for.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from factory_runtime.domain.errors import SettingsError
from factory_runtime.run_store.walls import TENANT_ROLE

APPEND = ("SELECT", "INSERT")
CHANGE = ("SELECT", "INSERT", "UPDATE", "DELETE")


def put_behind_wall(
    connection: Connection, *tables: str, rights: Iterable[str] = CHANGE, shown_by: str = ""
) -> None:
    """Have rows of these tables be seen and written by their tenant's transactions alone.

    Args:
        connection: in the migration's transaction.
        tables: each with a ``tenant_id``.
        rights: what a tenant's transaction may do.
        shown_by: a column that finds a row before its tenant is known; whoever presents its value
            reads that row.
    """
    if connection.dialect.name != "postgresql":
        return
    quote = connection.dialect.identifier_preparer.quote
    for table in tables:
        owners = ", ".join(sorted({quote(owner) for owner in _owners(connection, table)}))
        statements = [
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
            f"CREATE POLICY tenant_wall ON {table} {_both(_OF_TENANT)}",
            f"CREATE POLICY everybody ON {table} TO {owners} {_both(_OF_NOBODY)}",
            f"GRANT {', '.join(rights)} ON {table} TO {TENANT_ROLE}",
        ]
        if shown_by:
            shown = f"{shown_by} = current_setting('factory.presented', true)"
            statements.append(f"CREATE POLICY presented ON {table} FOR SELECT USING ({shown})")
        for statement in statements:
            connection.execute(text(statement))


_OF_TENANT = "tenant_id = current_setting('factory.tenant', true)"
# Once a transaction has set it, it is empty behind that; before, it is null.
_OF_NOBODY = "coalesce(current_setting('factory.tenant', true), '') = ''"


def _both(condition: str) -> str:
    return f"USING ({condition}) WITH CHECK ({condition})"


def _owners(connection: Connection, table: str) -> tuple[str, str]:
    """Whose the table is, and who migrates: a superuser may do it for the owner."""
    owner = (
        "SELECT pg_get_userbyid(relowner), current_user FROM pg_class WHERE oid = :name ::regclass"
    )
    first, second = connection.execute(text(owner), {"name": table}).one()
    return first, second


def ensure_tenant_role(connection: Connection) -> None:
    """Make the role that tenants' transactions go on as, and let the owner of the tables become it.

    It is the server's. Another database's migration may have made it, or be about to.

    Raises:
        SettingsError: it is not there and may not be made, or it can see through walls.
    """
    if connection.dialect.name != "postgresql":
        return
    by_hand = f"CREATE ROLE {TENANT_ROLE} NOLOGIN NOBYPASSRLS; GRANT {TENANT_ROLE} TO <login>;"
    try:
        connection.execute(text(_MAKE_ROLE))
        sees_through = connection.execute(text(_SEES_THROUGH)).scalar_one()
    except DBAPIError as exc:
        if getattr(exc.orig, "sqlstate", None) != "42501":
            raise
        raise SettingsError(
            f"the login of the run store may not make the role {TENANT_ROLE}: {exc.orig}",
            hint=f"have an administrator of the server type: {by_hand}",
        ) from exc
    if sees_through:
        raise SettingsError(
            f"the role {TENANT_ROLE} sees through the walls between tenants",
            hint=f"ALTER ROLE {TENANT_ROLE} NOSUPERUSER NOBYPASSRLS;",
        )


# The first exception: another database's migration was quicker. Whoever has made a role may grant
# it; from version 16 on, that is not to be a member of it already.
_MAKE_ROLE = f"""
DO $$
DECLARE mode text := 'MEMBER';
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{TENANT_ROLE}') THEN
    BEGIN
      CREATE ROLE {TENANT_ROLE} NOLOGIN NOBYPASSRLS;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END;
  END IF;
  IF current_setting('server_version_num')::int >= 160000 THEN mode := 'SET'; END IF;
  IF NOT pg_has_role(current_user, '{TENANT_ROLE}', mode) THEN
    GRANT {TENANT_ROLE} TO CURRENT_USER;
  END IF;
END $$
"""

_SEES_THROUGH = f"SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = '{TENANT_ROLE}'"  # noqa: S608
