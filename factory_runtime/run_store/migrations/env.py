"""Alembic's environment: migrations run on the connection that the caller hands over."""

from alembic import context

from factory_runtime.run_store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    # SQLite cannot alter tables: Alembic copies them instead.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
