"""Dead letters, redrive orders, approvals, policies, audit; undoing runs and their effects."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0003"
down_revision = "0002"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add to what there is; nothing of it is changed."""
    op.add_column("runs", Column("undoes", _text(64)))
    op.add_column("runs", Column("undo_requested_by", _text(200)))
    op.add_column("runs", Column("inputs_digest", _text(64)))
    op.add_column("runs", Column("people_asked_at", _TIME))
    _index("ux_runs_undoes", "runs", "tenant_id", "undoes", where="undoes IS NOT NULL", unique=True)
    _index(
        "ix_runs_inputs_digest",
        "runs",
        "tenant_id",
        "inputs_digest",
        where="inputs_digest IS NOT NULL",
    )
    slotless = (
        "completed_at IS NULL AND admitted_at IS NULL AND pause_requested_at IS NULL"
        " AND cancel_requested_at IS NULL"
    )
    place = ("tenant_id", "priority", "requested_at", "id", "project_id")
    queued = f"{slotless} AND status IN ('Validated', 'Queued', 'Running')"
    _index("ix_runs_queue", "runs", *place, where=queued)
    timed = f"{slotless} AND status = 'Waiting' AND wake_at IS NOT NULL"
    _index("ix_runs_wake", "runs", "wake_at", *place, where=timed)
    op.add_column("jobs", Column("degraded", sa.Text()))
    op.add_column("checkpoints", Column("with_digest", _text(64)))
    for column in (
        Column("link", sa.Text()),
        Column("reason", sa.Text()),
        Column("settled_at", _TIME),
        Column("undone_by", _text(64)),
    ):
        op.add_column("effects", column)
    op.create_index("ix_effects_age", "effects", ["tenant_id", "intended_at", "effect_key", "kind"])
    _dead_letters()
    _orders()
    _approvals()
    _policies()
    _queues()
    _topic_waits()
    _audit()


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on every database."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _index(name: str, table: str, *columns: str, where: str, unique: bool = False) -> None:
    op.create_index(
        name,
        table,
        list(columns),
        unique=unique,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )


def _dead_letters() -> None:
    op.create_table(
        "dead_letters",
        Column("tenant_id", _text(64), nullable=False),
        Column("id", _text(64), nullable=False),
        Column("run_id", _text(64), nullable=False),
        Column("step", _text(200), nullable=False),
        Column("project_id", _text(200), nullable=False),
        Column("template_id", _text(200), nullable=False),
        Column("template_version", _text(64), nullable=False),
        Column("job_type", _text(200), nullable=False),
        Column("fingerprint", _text(64), nullable=False),
        Column("error_code", _text(200), nullable=False),
        Column("error", sa.Text(), nullable=False),
        Column("attempts", sa.Integer(), nullable=False),
        Column("trace_id", _text(200), nullable=False),
        Column("first_failed_at", _TIME, nullable=False),
        Column("failed_at", _TIME, nullable=False),
        Column("status", sa.String(32), nullable=False),
        Column("version", sa.Integer(), nullable=False),
        Column("cycle", sa.Integer(), nullable=False),
        Column("redrives", sa.Integer(), nullable=False),
        Column("with_", sa.Text()),
        Column("traceback", sa.Text()),
        Column("checkpoint", sa.Integer()),
        Column("order_id", _text(64)),
        Column("closed_at", _TIME),
        Column("closed_by", _text(200)),
        Column("reason", sa.Text()),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_dead_letters"),
        sa.UniqueConstraint("tenant_id", "run_id", "step", name="uq_dead_letters"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"], name="fk_dead_letters_runs"
        ),
    )
    by_status = ["tenant_id", "status", "failed_at", "id"]
    op.create_index("ix_dead_letters_status", "dead_letters", by_status)
    by_kind = ["tenant_id", "fingerprint", "status", "failed_at", "id"]
    op.create_index("ix_dead_letters_fingerprint", "dead_letters", by_kind)
    for column in ("project_id", "trace_id"):
        op.create_index(f"ix_dead_letters_{column}", "dead_letters", ["tenant_id", column])
    given = "order_id IS NOT NULL"
    _index("ix_dead_letters_order_id", "dead_letters", "tenant_id", "order_id", where=given)
    op.create_table(
        "letter_counts",
        Column("tenant_id", _text(64), nullable=False),
        Column("fingerprint", _text(64), nullable=False),
        Column("letters", sa.Integer(), nullable=False),
        Column("runs", sa.Integer(), nullable=False),
        Column("first_failed_at", _TIME, nullable=False),
        Column("last_failed_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "fingerprint", name="pk_letter_counts"),
    )
    read = ("letters", "runs", "first_failed_at", "last_failed_at")
    keys = ("fingerprint", "tenant_id")
    _index("ix_letter_counts_open", "letter_counts", *keys, *read, where="letters > 0")
    op.create_table(
        "failure_kinds",
        Column("tenant_id", _text(64), nullable=False),
        Column("fingerprint", _text(64), nullable=False),
        Column("job_type", _text(200), nullable=False),
        Column("error_code", _text(200), nullable=False),
        Column("message", sa.Text(), nullable=False),
        Column("first_seen", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "fingerprint", name="pk_failure_kinds"),
    )


def _orders() -> None:
    op.create_table(
        "redrive_orders",
        Column("tenant_id", _text(64), nullable=False),
        Column("id", _text(64), nullable=False),
        Column("status", sa.String(32), nullable=False),
        Column("requested_by", _text(200), nullable=False),
        Column("requested_at", _TIME, nullable=False),
        Column("total", sa.Integer(), nullable=False),
        Column("version", sa.Integer(), nullable=False),
        Column("fingerprint", _text(64)),
        Column("job_type", _text(200)),
        Column("template_id", _text(200)),
        Column("project_id", _text(200)),
        Column("since", _TIME),
        Column("until", _TIME),
        Column("canary_id", _text(64)),
        Column("redriven", sa.Integer(), nullable=False),
        Column("refused", sa.Integer(), nullable=False),
        Column("error", sa.Text()),
        Column("change", sa.Text()),
        Column("finished_at", _TIME),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_redrive_orders"),
    )
    age = ["tenant_id", "requested_at", "id"]
    op.create_index("ix_redrive_orders_age", "redrive_orders", age)
    of_project = ["tenant_id", "project_id"]
    op.create_index("ix_redrive_orders_project_id", "redrive_orders", of_project)


def _approvals() -> None:
    op.create_table(
        "approvals",
        Column("tenant_id", _text(64), nullable=False),
        Column("id", _text(64), nullable=False),
        Column("run_id", _text(64), nullable=False),
        Column("step", _text(200), nullable=False),
        Column("project_id", _text(200), nullable=False),
        Column("plan_digest", _text(64), nullable=False),
        Column("requested_by", _text(200), nullable=False),
        Column("message", sa.Text(), nullable=False),
        Column("by", sa.Text(), nullable=False),
        Column("count", sa.Integer(), nullable=False),
        Column("requested_at", _TIME, nullable=False),
        Column("expires_at", _TIME, nullable=False),
        Column("status", sa.String(32), nullable=False),
        Column("version", sa.Integer(), nullable=False),
        Column("escalate_at", _TIME),
        Column("escalate_to", sa.Text(), nullable=False),
        Column("escalated_at", _TIME),
        Column("decided_at", _TIME),
        Column("cycle", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_approvals"),
        sa.UniqueConstraint(
            "tenant_id", "run_id", "step", "plan_digest", "cycle", name="uq_approvals"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id", "step"],
            ["jobs.tenant_id", "jobs.run_id", "jobs.step"],
            name="fk_approvals_jobs",
        ),
    )
    by_status = ["tenant_id", "status", "requested_at", "id"]
    op.create_index("ix_approvals_status", "approvals", by_status)
    op.create_index("ix_approvals_project_id", "approvals", ["tenant_id", "project_id"])
    op.create_table(
        "votes",
        Column("tenant_id", _text(64), nullable=False),
        Column("approval_id", _text(64), nullable=False),
        Column("person", _text(200), nullable=False),
        Column("granted", sa.Boolean(), nullable=False),
        Column("at", _TIME, nullable=False),
        Column("comment", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "approval_id", "person", name="pk_votes"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "approval_id"],
            ["approvals.tenant_id", "approvals.id"],
            name="fk_votes_approvals",
        ),
    )


def _policies() -> None:
    op.create_table(
        "policies",
        Column("tenant_id", _text(64), nullable=False),
        Column("version", sa.Integer(), nullable=False),
        Column("document", sa.Text(), nullable=False),
        Column("digest", _text(64), nullable=False),
        Column("updated_at", _TIME, nullable=False),
        Column("updated_by", _text(200), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_policies"),
    )


def _queues() -> None:
    op.create_table(
        "queues",
        Column("tenant_id", _text(64), nullable=False),
        Column("topic", _text(200), nullable=False),
        Column("served", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "topic", name="pk_queues"),
    )
    op.create_index("ix_queues_topic", "queues", ["topic"])
    op.create_table(
        "set_asides",
        Column("tenant_id", _text(64), nullable=False),
        Column("run_id", _text(64), nullable=False),
        Column("times", sa.Integer(), nullable=False),
        Column("until", _TIME, nullable=False),
        Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", name="pk_set_asides"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"], name="fk_set_asides_runs"
        ),
    )


def _topic_waits() -> None:
    op.create_table(
        "topic_waits",
        Column("tenant_id", _text(64), nullable=False),
        Column("run_id", _text(64), nullable=False),
        Column("step", _text(200), nullable=False),
        Column("topic", _text(200), nullable=False),
        Column("priority", sa.SmallInteger(), nullable=False),
        Column("since", _TIME, nullable=False),
        Column("seen_at", _TIME, nullable=False),
        Column("back_at", _TIME),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "step", name="pk_topic_waits"),
    )
    op.create_index("ix_topic_waits_topic", "topic_waits", ["topic", "priority", "since"])


def _audit() -> None:
    op.create_table(
        "audit",
        Column("tenant_id", _text(64), nullable=False),
        Column("id", _text(64), nullable=False),
        Column("at", _TIME, nullable=False),
        Column("actor", _text(200), nullable=False),
        Column("action", _text(200), nullable=False),
        Column("subject", _text(300), nullable=False),
        Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_audit"),
    )
    op.create_index("ix_audit_subject", "audit", ["tenant_id", "subject", "at"])
