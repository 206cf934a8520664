"""What was learned: vectors of their own, what was seen, what was used, what is forgotten."""

from __future__ import annotations

import hashlib

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

from factory_runtime.run_store.migrations.tenant_wall import put_behind_wall

revision = "0015"
down_revision = "0014"

_TIME = sa.DateTime(timezone=True)
_AT_ONCE = 500


def upgrade() -> None:
    """Add to what there is. Vectors are copied; where they lay, the release before finds them."""
    _memory_records()
    _memory_vectors()
    _fill_in()
    _memory_observations()
    _memory_uses()
    _memory_forgotten()
    _memory_models()
    _memory_packages()
    put_behind_wall(
        op.get_bind(),
        "memory_vectors",
        "memory_observations",
        "memory_uses",
        "memory_forgotten",
        "memory_models",
        "memory_packages",
    )


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on every database."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _memory_records() -> None:
    for column in (
        Column("kind", sa.String(32)),
        Column("artifact_id", _text(64)),
        Column("commit", _text(200)),
        Column("path", _text(2000)),
        Column("first_line", sa.Integer()),
        Column("last_line", sa.Integer()),
        Column("text_digest", _text(64)),
        Column("prose", sa.Text()),
        Column("changed_at", _TIME),
        Column("revision", sa.Integer(), nullable=False, server_default="1"),
        Column("indexed_at", _TIME),
    ):
        op.add_column("memory_records", column)
    op.create_index("ix_memory_records_kind", "memory_records", ["tenant_id", "kind", "id"])
    op.create_index("ix_memory_records_text_digest", "memory_records", ["tenant_id", "text_digest"])
    _found_by("memory_records", "template_id")
    waits = sa.text("indexed_at IS NULL")
    op.create_index(
        "ix_memory_records_unindexed",
        "memory_records",
        ["tenant_id", "changed_at", "id"],
        sqlite_where=waits,
        postgresql_where=waits,
    )


def _found_by(table: str, column: str) -> None:
    given = sa.text(f"{column} IS NOT NULL")
    op.create_index(
        f"ix_{table}_{column}",
        table,
        ["tenant_id", column],
        sqlite_where=given,
        postgresql_where=given,
    )


def _memory_vectors() -> None:
    op.create_table(
        "memory_vectors",
        Column("tenant_id", _text(64), nullable=False),
        Column("model", _text(200), nullable=False),
        Column("text_digest", _text(64), nullable=False),
        Column("vector", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "text_digest", "model", name="pk_memory_vectors"),
    )


def _fill_in() -> None:
    """Kind and digest of what is there, and its vectors, a few hundred rows at a time."""
    connection = op.get_bind()
    place = ("", "")
    while True:
        rows = connection.execute(
            _ROWS, {"tenant_id": place[0], "id": place[1], "most": _AT_ONCE}
        ).all()
        if not rows:
            return
        fills: list[dict[str, str]] = []
        vectors: list[dict[str, str | bytes]] = []
        for row in rows:
            digest = hashlib.sha256(row.text.encode("utf-8", "replace")).hexdigest()
            fills.append({"digest": digest, "tenant_id": row.tenant_id, "id": row.id})
            if row.vector is not None:
                model = f"{row.embedding_model}/{row.embedding_version}"
                vectors.append({**fills[-1], "model": model, "vector": row.vector})
        connection.execute(_FILL, fills)
        if vectors:
            connection.execute(_COPY, vectors)
        place = (rows[-1].tenant_id, rows[-1].id)


_ROWS = sa.text("""
    SELECT tenant_id, id, text, embedding_model, embedding_version, vector FROM memory_records
    WHERE (tenant_id, id) > (:tenant_id, :id)
    ORDER BY tenant_id, id LIMIT :most
""")
_FILL = sa.text("""
    UPDATE memory_records SET text_digest = :digest, changed_at = created_at,
        kind = CASE collection WHEN 'templates' THEN 'template' WHEN 'runs' THEN 'run'
                               WHEN 'code' THEN 'code' ELSE 'document' END
    WHERE tenant_id = :tenant_id AND id = :id
""")
_COPY = sa.text("""
    INSERT INTO memory_vectors (tenant_id, model, text_digest, vector)
    VALUES (:tenant_id, :model, :digest, :vector) ON CONFLICT DO NOTHING
""")


def _memory_observations() -> None:
    key = ("tenant_id", "subject", "kind", "run_id", "step", "cycle", "place")
    op.create_table(
        "memory_observations",
        Column("tenant_id", _text(64), nullable=False),
        Column("subject", _text(300), nullable=False),
        Column("kind", sa.String(32), nullable=False),
        Column("run_id", _text(64), nullable=False),
        Column("step", _text(200), nullable=False),
        Column("cycle", sa.Integer(), nullable=False),
        Column("place", _text(300), nullable=False),
        Column("at", _TIME, nullable=False),
        Column("project_id", _text(200)),
        Column("worked", sa.Boolean()),
        Column("facts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(*key, name="pk_memory_observations"),
    )
    for name, columns in (("at", ["subject", "at"]), ("run_id", ["run_id"])):
        op.create_index(
            f"ix_memory_observations_{name}", "memory_observations", ["tenant_id", *columns]
        )
    _found_by("memory_observations", "project_id")


def _memory_uses() -> None:
    op.create_table(
        "memory_uses",
        Column("tenant_id", _text(64), nullable=False),
        Column("run_id", _text(64), nullable=False),
        Column("step", _text(200), nullable=False),
        Column("memory_id", _text(300), nullable=False),
        Column("project_id", _text(200), nullable=False),
        Column("rank", sa.Integer(), nullable=False),
        Column("score", sa.Float(53), nullable=False),
        Column("shown_at", _TIME, nullable=False),
        Column("used_at", _TIME),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "step", "memory_id", name="pk_memory_uses"),
    )
    for column in ("memory_id", "project_id"):
        op.create_index(f"ix_memory_uses_{column}", "memory_uses", ["tenant_id", column])


def _memory_forgotten() -> None:
    op.create_table(
        "memory_forgotten",
        Column("tenant_id", _text(64), nullable=False),
        Column("scope", sa.String(32), nullable=False),
        Column("key", _text(200), nullable=False),
        Column("at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "scope", "key", name="pk_memory_forgotten"),
    )


def _memory_models() -> None:
    op.create_table(
        "memory_models",
        Column("tenant_id", _text(64), nullable=False),
        Column("model", _text(200), nullable=False),
        Column("embedder", _text(200), nullable=False),
        Column("dimensions", sa.Integer(), nullable=False),
        Column("status", sa.String(32), nullable=False),
        Column("begun_at", _TIME, nullable=False),
        Column("switched_at", _TIME),
        sa.PrimaryKeyConstraint("tenant_id", "model", name="pk_memory_models"),
    )
    active = sa.text("status = 'active'")
    op.create_index(
        "ux_memory_models_active",
        "memory_models",
        ["tenant_id"],
        unique=True,
        sqlite_where=active,
        postgresql_where=active,
    )


def _memory_packages() -> None:
    op.create_table(
        "memory_packages",
        Column("tenant_id", _text(64), nullable=False),
        Column("id", _text(64), nullable=False),
        Column("task_digest", _text(64), nullable=False),
        Column("memory_ids", sa.Text(), nullable=False),
        Column("scores", sa.Text(), nullable=False),
        Column("budget", sa.Integer(), nullable=False),
        Column("created_at", _TIME, nullable=False),
        Column("expires_at", _TIME, nullable=False),
        Column("newest_at", _TIME),
        Column("lag_seconds", sa.Float(53), nullable=False),
        Column("projects", sa.Text()),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_memory_packages"),
    )
    op.create_index(
        "ix_memory_packages_task_digest",
        "memory_packages",
        ["tenant_id", "task_digest", "expires_at"],
    )
    op.create_index("ix_memory_packages_expires_at", "memory_packages", ["expires_at"])
