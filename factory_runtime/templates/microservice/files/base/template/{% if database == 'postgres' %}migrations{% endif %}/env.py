"""Alembic's way to the database: the models' metadata and the service's own settings."""

from alembic import context
from sqlalchemy import Connection, text

from service import domain
from service.database import Base, open_engine
from service.settings import Settings

# Any number, as long as nobody else on this database takes it.
MIGRATION_LOCK = 7205759403

domain.modules("model")


def migrate_offline() -> None:
    """Write the SQL instead of running it."""
    context.configure(
        url=database_url(),
        target_metadata=Base.metadata,
        literal_binds=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def migrate_online() -> None:
    """Run the revisions that are missing, all or none."""
    engine = open_engine(database_url())
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=connection.dialect.name == "sqlite",
        )
        with context.begin_transaction():
            wait_for_turn(connection)
            context.run_migrations()
    engine.dispose()


def wait_for_turn(connection: Connection) -> None:
    """Every starting replica migrates: let one do it, and the others find it done."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})


def database_url() -> str:
    """Where a test says, or else where the environment does."""
    return context.config.attributes.get("database_url") or Settings().database_url


if context.is_offline_mode():
    migrate_offline()
else:
    migrate_online()
