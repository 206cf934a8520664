"""Migrations lead to the tables of the code, on both databases."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from factory_runtime.run_store import SqlRunStore, open_run_store
from factory_runtime.run_store.schema import HEAD_REVISION
from factory_runtime.run_store.tables import metadata
from tests.services import PostgresServer

_IN_SQLITE = """
    SELECT tbl_name, name, sql FROM sqlite_master
    WHERE tbl_name != 'alembic_version' ORDER BY 1, 2
"""
_IN_POSTGRESQL = """
    SELECT table_name, column_name,
           data_type || coalesce(character_maximum_length, 0) || is_nullable
           || coalesce(collation_name, '') || coalesce(column_default, '')
    FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name != 'alembic_version'
    UNION ALL
    SELECT tablename, indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND tablename != 'alembic_version'
    UNION ALL
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
      AND conrelid::regclass::text != 'alembic_version'
    ORDER BY 1, 2, 3
"""


def schema_of(connection: Connection) -> list[tuple[Any, ...]]:
    """Every table, column, index and constraint, as the database itself spells it."""
    query = _IN_SQLITE if connection.dialect.name == "sqlite" else _IN_POSTGRESQL
    # The order of constraints means nothing, and SQLite keeps the text as it was given: columns
    # that were added stand behind the last one, on its line.
    return [
        (table, name, sorted(line.strip(" \t,") for line in _lines(definition or "")))
        for table, name, definition in connection.execute(text(query))
    ]


def _lines(definition: str) -> list[str]:
    if not definition.startswith("CREATE TABLE"):
        return definition.splitlines()
    columns = re.sub(r", (?=[a-z_]+ [A-Z]+)", "\n", definition)
    return columns.splitlines()


def schema_of_the_code(url: str) -> list[tuple[Any, ...]]:
    engine = create_engine(url)
    with engine.begin() as connection:
        metadata.create_all(connection)
        schema = schema_of(connection)
    engine.dispose()
    return schema


def test_tables_equal_migrations_on_sqlite(tmp_path: Path) -> None:
    with (
        closing(open_run_store(f"sqlite:///{tmp_path / 'migrated.db'}")) as store,
        store.engine.connect() as connection,
    ):
        schema = schema_of(connection)
    assert len(schema) > len(metadata.tables)
    assert schema == schema_of_the_code(f"sqlite:///{tmp_path / 'made.db'}")


def test_tables_equal_migrations_on_postgresql(
    postgres_server: PostgresServer, own_postgres_url: str
) -> None:
    with (
        closing(open_run_store(own_postgres_url)) as store,
        store.engine.connect() as connection,
    ):
        schema = schema_of(connection)
    with postgres_server.database(migrated=False) as empty_url:
        assert schema == schema_of_the_code(empty_url)
    assert {table for table, _, _ in schema} == set(metadata.tables)


def test_alembic_finds_nothing_left_to_migrate(database_store: SqlRunStore) -> None:
    with database_store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_code_knows_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "factory_runtime.run_store:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD_REVISION]


def test_every_row_names_its_tenant_and_tenants_come_first_in_every_key() -> None:
    over_all_tenants = {
        "ix_outbox_open",
        "ix_runs_open",
        "ix_runs_deadline",
        "ix_runs_cancelling",
        "ix_runs_admitted",
        "ix_jobs_lease",
    }
    for table in metadata.tables.values():
        assert not table.c.tenant_id.nullable, table.name
        assert next(iter(table.primary_key.columns)).name == "tenant_id", table.name
        for index in table.indexes:
            if index.name not in over_all_tenants:
                assert next(iter(index.columns)).name == "tenant_id", index.name


def test_every_id_that_people_search_by_has_an_index() -> None:
    searched = {
        "trace_id",
        "correlation_id",
        "project_id",
        "module_id",
        "span_id",
        "build_id",
        "repo_id",
        "pipeline_id",
        "work_item_id",
    }
    for table in metadata.tables.values():
        seconds = {
            index.columns.values()[1].name for index in table.indexes if len(index.columns) > 1
        }
        for column in searched & set(table.c.keys()):
            assert column in seconds, f"{table.name}.{column}"
