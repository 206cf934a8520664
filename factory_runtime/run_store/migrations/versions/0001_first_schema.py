"""The first schema: runs, what they are made of, and what they leave."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0001"
down_revision = None

# Spelt out here, not taken from the code: a migration stays as it is when the code moves on.
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make every table."""
    _runs()
    _jobs()
    _attempts()
    _artifacts()
    _run_events()
    _effects()
    _outbox()
    _templates()
    _requests()
    _memory_records()
    _locks()


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on every database."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _found_by(table: str, *columns: str) -> None:
    for column in columns:
        given = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"ix_{table}_{column}",
            table,
            ["tenant_id", column],
            sqlite_where=given,
            postgresql_where=given,
        )


def _runs() -> None:
    op.create_table(
        "runs",
        Column("tenant_id", _text(64), nullable=False),
        Column("id", _text(64), nullable=False),
        Column("project_id", _text(200), nullable=False),
        Column("module_id", _text(200)),
        Column("template_id", _text(200), nullable=False),
        Column("template_version", _text(64), nullable=False),
        Column("template_digest", _text(64), nullable=False),
        Column("status", sa.String(32), nullable=False),
        Column("version", sa.Integer(), nullable=False),
        Column("cycle", sa.Integer(), nullable=False),
        Column("priority", sa.SmallInteger(), nullable=False),
        Column("inputs", sa.Text(), nullable=False),
        Column("plan", sa.Text()),
        Column("outputs", sa.Text()),
        Column("requested_by", _text(200), nullable=False),
        Column("requested_at", _TIME, nullable=False),
        Column("updated_at", _TIME, nullable=False),
        Column("started_at", _TIME),
        Column("completed_at", _TIME),
        Column("deadline_at", _TIME),
        Column("cancel_requested_at", _TIME),
        Column("flow_run_id", _text(64)),
        Column("trace_id", _text(200), nullable=False),
        Column("correlation_id", _text(200), nullable=False),
        Column("build_id", _text(200)),
        Column("repo_id", _text(200)),
        Column("pipeline_id", _text(200)),
        Column("work_item_id", _text(200)),
        Column("error", sa.Text()),
        Column("metadata", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_runs"),
    )
    op.create_index("ix_runs_age", "runs", ["tenant_id", "requested_at", "id"])
    _found_by("runs", "build_id")
    op.create_index("ix_runs_correlation_id", "runs", ["tenant_id", "correlation_id"])
    _found_by("runs", "module_id", "pipeline_id")
    op.create_index("ix_runs_project", "runs", ["tenant_id", "project_id", "requested_at", "id"])
    op.create_index("ix_runs_queue", "runs", ["status", "priority", "requested_at", "id"])
    _found_by("runs", "repo_id")
    op.create_index(
        "ix_runs_requested_by", "runs", ["tenant_id", "requested_by", "requested_at", "id"]
    )
    op.create_index("ix_runs_status", "runs", ["tenant_id", "status", "requested_at", "id"])
    op.create_index("ix_runs_template", "runs", ["tenant_id", "template_id", "requested_at", "id"])
    op.create_index("ix_runs_trace_id", "runs", ["tenant_id", "trace_id"])
    _found_by("runs", "work_item_id")
    op.create_index(
        "ux_runs_flow_run_id",
        "runs",
        ["tenant_id", "flow_run_id"],
        unique=True,
        sqlite_where=sa.text("flow_run_id IS NOT NULL"),
        postgresql_where=sa.text("flow_run_id IS NOT NULL"),
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        Column("tenant_id", _text(64), nullable=False),
        Column("run_id", _text(64), nullable=False),
        Column("step", _text(200), nullable=False),
        Column("id", _text(64), nullable=False),
        Column("position", sa.Integer(), nullable=False),
        Column("type", _text(200), nullable=False),
        Column("status", sa.String(32), nullable=False),
        Column("version", sa.Integer(), nullable=False),
        Column("needs", sa.Text(), nullable=False),
        Column("priority", sa.SmallInteger(), nullable=False),
        Column("attempt", sa.Integer(), nullable=False),
        Column("max_attempts", sa.Integer(), nullable=False),
        Column("not_before", _TIME),
        Column("lease_owner", _text(200)),
        Column("lease_expires_at", _TIME),
        Column("fencing_token", sa.BigInteger(), nullable=False),
        Column("updated_at", _TIME, nullable=False),
        Column("started_at", _TIME),
        Column("completed_at", _TIME),
        Column("last_attempt_at", _TIME),
        Column("cached", sa.Boolean()),
        Column("skip_reason", sa.String(32)),
        Column("error", sa.Text()),
        Column("outputs", sa.Text()),
        Column("span_id", _text(200)),
        Column("build_id", _text(200)),
        Column("repo_id", _text(200)),
        Column("pipeline_id", _text(200)),
        Column("work_item_id", _text(200)),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"], name="fk_jobs_runs"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "step", name="pk_jobs"),
        sa.UniqueConstraint("tenant_id", "id", name="uq_jobs"),
    )
    _found_by("jobs", "build_id", "pipeline_id")
    op.create_index("ix_jobs_position", "jobs", ["tenant_id", "run_id", "position"])
    _found_by("jobs", "repo_id", "span_id", "work_item_id")


def _attempts() -> None:
    op.create_table(
        "attempts",
        Column("tenant_id", _text(64), nullable=False),
        Column("key", _text(300), nullable=False),
        Column("run_id", _text(64), nullable=False),
        Column("step", _text(200), nullable=False),
        Column("number", sa.Integer(), nullable=False),
        Column("fencing_token", sa.BigInteger(), nullable=False),
        Column("started_at", _TIME, nullable=False),
        Column("completed_at", _TIME),
        Column("worker", _text(200), nullable=False),
        Column("environment", _text(200), nullable=False),
        Column("outcome", sa.String(32)),
        Column("cached", sa.Boolean()),
        Column("error", sa.Text()),
        Column("error_code", _text(200)),
        Column("traceback", sa.Text()),
        Column("cpu_seconds", sa.Float(precision=53)),
        Column("peak_memory_bytes", sa.BigInteger()),
        Column("task_run_id", _text(64)),
        Column("span_id", _text(200)),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id", "step"],
            ["jobs.tenant_id", "jobs.run_id", "jobs.step"],
            name="fk_attempts_jobs",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "key", name="pk_attempts"),
    )
    op.create_index("ix_attempts_job", "attempts", ["tenant_id", "run_id", "step", "number"])
    _found_by("attempts", "span_id", "task_run_id")


def _artifacts() -> None:
    op.create_table(
        "artifacts",
        Column("tenant_id", _text(64), nullable=False),
        Column("id", _text(64), nullable=False),
        Column("run_id", _text(64), nullable=False),
        Column("step", _text(200), nullable=False),
        Column("kind", sa.String(32), nullable=False),
        Column("name", _text(200), nullable=False),
        Column("project_id", _text(200), nullable=False),
        Column("uri", _text(2000), nullable=False),
        Column("media_type", _text(200), nullable=False),
        Column("size", sa.BigInteger()),
        Column("sha256", _text(64)),
        Column("classification", sa.String(32), nullable=False),
        Column("creator", _text(300), nullable=False),
        Column("created_at", _TIME, nullable=False),
        Column("accessed_at", _TIME),
        Column("expires_at", _TIME),
        Column("metadata", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"], name="fk_artifacts_runs"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_artifacts"),
        sa.UniqueConstraint("tenant_id", "run_id", "step", "kind", "name", name="uq_artifacts"),
    )
    op.create_index("ix_artifacts_age", "artifacts", ["tenant_id", "created_at", "id"])
    op.create_index(
        "ix_artifacts_project", "artifacts", ["tenant_id", "project_id", "created_at", "id"]
    )
    _found_by("artifacts", "sha256")


def _run_events() -> None:
    op.create_table(
        "run_events",
        Column("tenant_id", _text(64), nullable=False),
        Column("run_id", _text(64), nullable=False),
        Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        Column("at", _TIME, nullable=False),
        Column("kind", _text(200), nullable=False),
        Column("step", _text(200)),
        Column("from_status", _text(200)),
        Column("to_status", _text(200)),
        Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"], name="fk_run_events_runs"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "sequence", name="pk_run_events"),
    )


def _effects() -> None:
    op.create_table(
        "effects",
        Column("tenant_id", _text(64), nullable=False),
        Column("effect_key", _text(300), nullable=False),
        Column("kind", _text(200), nullable=False),
        Column("run_id", _text(64), nullable=False),
        Column("step", _text(200), nullable=False),
        Column("target", sa.Text(), nullable=False),
        Column("status", sa.String(32), nullable=False),
        Column("intended_at", _TIME, nullable=False),
        Column("confirmed_at", _TIME),
        Column("reference", sa.Text()),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"], name="fk_effects_runs"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "effect_key", "kind", name="pk_effects"),
    )
    op.create_index("ix_effects_run", "effects", ["tenant_id", "run_id", "intended_at"])
    op.create_index("ix_effects_status", "effects", ["tenant_id", "status", "intended_at"])


def _outbox() -> None:
    op.create_table(
        "outbox",
        Column("tenant_id", _text(64), nullable=False),
        Column("id", _text(64), nullable=False),
        Column("topic", _text(200), nullable=False),
        Column("key", _text(300), nullable=False),
        Column("payload", sa.Text(), nullable=False),
        Column("created_at", _TIME, nullable=False),
        Column("not_before", _TIME, nullable=False),
        Column("attempts", sa.Integer(), nullable=False),
        Column("done_at", _TIME),
        Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_outbox"),
        sa.UniqueConstraint("tenant_id", "topic", "key", name="uq_outbox"),
    )
    op.create_index(
        "ix_outbox_open",
        "outbox",
        ["created_at", "id", "not_before"],
        sqlite_where=sa.text("done_at IS NULL"),
        postgresql_where=sa.text("done_at IS NULL"),
    )


def _templates() -> None:
    op.create_table(
        "templates",
        Column("tenant_id", _text(64), nullable=False),
        Column("template_id", _text(200), nullable=False),
        Column("version", _text(64), nullable=False),
        Column("digest", _text(64), nullable=False),
        Column("title", sa.Text(), nullable=False),
        Column("description", sa.Text(), nullable=False),
        Column("published_at", _TIME, nullable=False),
        Column("inputs_schema", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "template_id", "version", name="pk_templates"),
    )


def _requests() -> None:
    op.create_table(
        "requests",
        Column("tenant_id", _text(64), nullable=False),
        Column("idempotency_key", _text(300), nullable=False),
        Column("body_digest", _text(64), nullable=False),
        Column("run_id", _text(64), nullable=False),
        Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "idempotency_key", name="pk_requests"),
    )


def _memory_records() -> None:
    op.create_table(
        "memory_records",
        Column("tenant_id", _text(64), nullable=False),
        Column("id", _text(300), nullable=False),
        Column("collection", sa.String(32), nullable=False),
        Column("title", sa.Text(), nullable=False),
        Column("text", sa.Text(), nullable=False),
        Column("created_at", _TIME, nullable=False),
        Column("project_id", _text(200)),
        Column("module_id", _text(200)),
        Column("run_id", _text(64)),
        Column("step", _text(200)),
        Column("trace_id", _text(200)),
        Column("correlation_id", _text(200)),
        Column("template_id", _text(200)),
        Column("template_version", _text(64)),
        Column("outcome", _text(200)),
        Column("classification", _text(200), nullable=False),
        Column("embedding_model", _text(200)),
        Column("embedding_version", _text(64)),
        Column("superseded_by", _text(300)),
        Column("vector", sa.LargeBinary()),
        Column("facts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_memory_records"),
    )
    op.create_index(
        "ix_memory_records_collection", "memory_records", ["tenant_id", "collection", "id"]
    )
    _found_by("memory_records", "correlation_id", "module_id", "project_id", "run_id", "trace_id")


def _locks() -> None:
    op.create_table(
        "locks",
        Column("tenant_id", _text(64), nullable=False),
        Column("name", _text(300), nullable=False),
        Column("holder", _text(200), nullable=False),
        Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "name", name="pk_locks"),
    )
