"""What is known of a run or a project, page by page in the order of an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Widen indexes: what stands in them is found as before."""
    for column in ("project_id", "run_id"):
        given = sa.text(f"{column} IS NOT NULL")
        _widen("memory_records", column, "id", given)
        # Of what was observed, a run always stands beside it.
        _widen("memory_observations", column, "subject", given if column == "project_id" else None)


def _widen(table: str, column: str, then: str, where: sa.TextClause | None) -> None:
    name = f"ix_{table}_{column}"
    op.drop_index(name, table)
    columns = ["tenant_id", column, then]
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
