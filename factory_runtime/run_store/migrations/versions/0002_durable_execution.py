"""Slots, pauses, budgets, progress, checkpoints and breakers; and indexes of what is open."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0002"
down_revision = "0001"

_TIME = sa.DateTime(timezone=True)
_OPEN = "completed_at IS NULL"


def upgrade() -> None:
    """Add to what there is; what is at work gets the slot that it has taken."""
    for name in ("admitted_at", "wake_at", "pause_requested_at"):
        op.add_column("runs", Column(name, _TIME))
    op.execute("UPDATE runs SET admitted_at = updated_at WHERE status IN ('Queued', 'Running')")
    _jobs()
    op.add_column("effects", Column("facts", sa.Text(), nullable=False, server_default="{}"))
    _checkpoints()
    _breakers()
    op.drop_index("ix_runs_queue", "runs")
    _index("ix_runs_open", "runs", "priority", "requested_at", "id", where=_OPEN)
    _index("ix_runs_open_keys", "runs", "tenant_id", "id", where=_OPEN)
    _index("ix_runs_deadline", "runs", "deadline_at", where=_OPEN)
    cancelling = f"{_OPEN} AND cancel_requested_at IS NOT NULL"
    _index("ix_runs_cancelling", "runs", "cancel_requested_at", where=cancelling)
    admitted = "admitted_at IS NOT NULL"
    _index("ix_runs_admitted", "runs", "priority", "requested_at", "id", where=admitted)
    _index("ix_jobs_lease", "jobs", "lease_expires_at", where="lease_expires_at IS NOT NULL")


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on every database."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _index(name: str, table: str, *columns: str, where: str) -> None:
    op.create_index(
        name, table, list(columns), sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )


def _jobs() -> None:
    for name in ("failures", "losses"):
        op.add_column("jobs", Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", Column("progress", sa.Float(53)))
    op.add_column("jobs", Column("phrase", sa.Text()))


def _checkpoints() -> None:
    op.create_table(
        "checkpoints",
        Column("tenant_id", _text(64), nullable=False),
        Column("run_id", _text(64), nullable=False),
        Column("step", _text(200), nullable=False),
        Column("number", sa.Integer(), nullable=False),
        Column("attempt", sa.Integer(), nullable=False),
        Column("job_type", _text(200), nullable=False),
        Column("job_type_version", _text(64), nullable=False),
        Column("saved_at", _TIME, nullable=False),
        Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "step", name="pk_checkpoints"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id", "step"],
            ["jobs.tenant_id", "jobs.run_id", "jobs.step"],
            name="fk_checkpoints_jobs",
        ),
    )


def _breakers() -> None:
    op.create_table(
        "breakers",
        Column("tenant_id", _text(64), nullable=False),
        Column("host", _text(200), nullable=False),
        Column("failures", sa.Integer(), nullable=False),
        Column("changed_at", _TIME, nullable=False),
        Column("open_until", _TIME),
        sa.PrimaryKeyConstraint("tenant_id", "host", name="pk_breakers"),
    )
