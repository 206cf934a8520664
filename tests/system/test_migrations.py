"""Migrations lead to the tables of the code, on both databases."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, insert, text

from factory_runtime.domain.errors import CorruptStoreError
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.records import Effect
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import JobKey
from factory_runtime.run_store import SqlRunStore, open_run_store
from factory_runtime.run_store.engines import for_writing, open_engine, parse_url
from factory_runtime.run_store.records import EFFECTS, JOBS, RUNS, Record
from factory_runtime.run_store.schema import HEAD_REVISION
from factory_runtime.run_store.tables import metadata
from tests.builders import TENANT, a_claimed_job, a_job, a_run, after, an_effect
from tests.factory import until
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
    UNION ALL
    SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(t.oid) || prosrc
    FROM pg_trigger t JOIN pg_proc p ON p.oid = tgfoid WHERE NOT tgisinternal
    ORDER BY 1, 2, 3
"""


def schema_of(connection: Connection) -> list[tuple[Any, ...]]:
    """Every table, column, index, constraint and trigger, as the database itself spells it."""
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
    columns = re.sub(r', (?="?[a-z_]+"? [A-Z]+)', "\n", definition)
    return columns.splitlines()


def schema_of_the_code(url: str) -> list[tuple[Any, ...]]:
    engine = create_engine(url)
    with engine.begin() as connection:
        metadata.create_all(connection)
        schema = schema_of(connection)
    engine.dispose()
    return schema


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", "factory_runtime.run_store:migrations")
    return config


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
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [HEAD_REVISION]


def test_every_row_names_its_tenant_and_tenants_come_first_in_every_key() -> None:
    over_all_tenants = {
        "ix_outbox_open",
        "ix_memory_packages_expires_at",
        "ix_memory_tallies_about",
        "ix_runs_open",
        "ix_runs_deadline",
        "ix_runs_ended",
        "ix_runs_cancelling",
        "ix_runs_admitted",
        "ix_runs_wake",
        "ix_jobs_lease",
        "ix_letter_counts_open",
        "ix_topic_waits_topic",
        "ix_queues_topic",
        "ux_deployments_prefect_id",
        "ux_jobs_routed_flow_run_id",
        "ux_webhook_sources_id",
        "ix_webhook_deliveries_old",
        "ux_api_keys_prefix",
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


# --- databases of the releases before


_ADDED = {
    "0002": {
        "runs": {"admitted_at", "wake_at", "pause_requested_at"},
        "jobs": {"failures", "losses", "progress", "phrase"},
        "effects": {"facts"},
    },
    "0003": {
        "runs": {"undoes", "undo_requested_by", "inputs_digest", "people_asked_at"},
        "jobs": {"degraded"},
        "effects": {"link", "reason", "settled_at", "undone_by"},
    },
    "0006": {"jobs": {"routed_to", "routed_flow_run_id"}},
    "0007": {"runs": {"delivery_id"}},
    "0019": {"runs": {"git_host"}},
}
"""The columns that each revision has added."""

OLD_RUNS = {status: a_run(id=f"run-{status.value}", status=status) for status in RunStatus}
OLD_JOB = a_claimed_job(OLD_RUNS[RunStatus.RUNNING], outputs=None)
OLD_EFFECT = an_effect(OLD_RUNS[RunStatus.RUNNING])


def write_as_before(
    connection: Connection,
    revision: str,
    runs: Sequence[Run] = tuple(OLD_RUNS.values()),
    jobs: Sequence[Job] = (OLD_JOB,),
    effects: Sequence[Effect] = (OLD_EFFECT,),
) -> None:
    """Insert rows as the release of a revision did, that knows nothing of newer columns."""
    kinds: list[tuple[Record[Any], Sequence[Any]]] = [
        (RUNS, runs),
        (JOBS, jobs),
        (EFFECTS, effects),
    ]
    for record, values in kinds:
        newer = [
            added.get(record.table.name, set[str]())
            for name, added in _ADDED.items()
            if name > revision
        ]
        new = set[str]().union(*newer)
        for value in values:
            row = {name: field for name, field in record.row_of(value).items() if name not in new}
            connection.execute(insert(record.table).values(row))


@pytest.fixture(params=["0001", "0002", "0003"])
def old_revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def old_url(request: pytest.FixtureRequest, tmp_path: Path, old_revision: str) -> str:
    """A database with an old schema, and rows of every status in it."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'old.db'}"
    else:
        url = str(request.getfixturevalue("empty_postgres_url"))
    engine = open_engine(parse_url(url))
    with engine.connect() as connection, for_writing(connection).begin():
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, old_revision)
        write_as_before(connection, old_revision)
    engine.dispose()
    return url


def test_an_old_database_is_brought_up_to_date_with_all_its_rows(
    old_url: str, old_revision: str
) -> None:
    # Slots came with the second revision. What is at work in a database of the first has one
    # already: nobody may start it a second time.
    at_work = {RunStatus.QUEUED, RunStatus.RUNNING} if old_revision == "0001" else set[RunStatus]()
    with closing(open_run_store(old_url)) as store:
        with store.begin(TENANT, read_only=True) as tx:
            for status, run in OLD_RUNS.items():
                admitted_at = run.updated_at if status in at_work else None
                assert tx.get_run(run.id) == replace(run, admitted_at=admitted_at)
            assert tx.get_job(OLD_JOB.run_id, OLD_JOB.step) == OLD_JOB
            assert tx.list_effects() == (OLD_EFFECT,)
        assert {key.run_id for key in store.running_runs()} == {
            OLD_RUNS[status].id for status in at_work
        }
        want_a_slot = {RunStatus.VALIDATED, RunStatus.QUEUED, RunStatus.RUNNING} - at_work
        assert {key.run_id for key in store.waiting_runs(after(9))} == {
            OLD_RUNS[status].id for status in want_a_slot
        }
        assert store.expired_jobs(after(60)) == (JobKey(TENANT, OLD_JOB.run_id, OLD_JOB.step),)
        with store.begin(TENANT) as tx:
            tx.renew_leases(OLD_JOB.run_id, str(OLD_JOB.lease_owner), after(300))
            tx.save_job(OLD_JOB, OLD_JOB.move_to(JobStatus.SUCCEEDED, after(1)))


def test_the_releases_before_still_write_to_the_new_schema(old_url: str, old_revision: str) -> None:
    run = a_run(status=RunStatus.VALIDATED)
    job, effect = a_job(run), an_effect(run)
    with closing(open_run_store(old_url)) as store:
        with store.engine.connect() as connection, for_writing(connection).begin():
            write_as_before(connection, old_revision, [run], [job], [effect])
        with store.begin(TENANT) as tx:
            assert tx.get_run(run.id) == run
            assert tx.get_job(run.id, job.step) == job
            assert tx.list_effects(run_id=run.id) == (effect,)


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(
    old_url: str, old_revision: str
) -> None:
    engine = open_engine(parse_url(old_url))
    with engine.connect() as connection, for_writing(connection).begin():
        connection.execute(text("CREATE TABLE deployments (x INTEGER)"))  # in the last step's way
        before = schema_of(connection)
    with pytest.raises(CorruptStoreError):
        open_run_store(old_url)
    with engine.connect() as connection, for_writing(connection).begin():
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        assert version == old_revision
        assert schema_of(connection) == before
        connection.execute(text("DROP TABLE deployments"))
    engine.dispose()
    with closing(open_run_store(old_url)) as store, store.begin(TENANT) as tx:
        assert tx.get_job(OLD_JOB.run_id, OLD_JOB.step).failures == OLD_JOB.failures


@pytest.mark.service
def test_an_upgrade_and_a_release_at_work_do_not_wait_for_each_other(
    empty_postgres_url: str,
) -> None:
    engine = open_engine(parse_url(empty_postgres_url))
    with engine.connect() as connection, connection.begin():
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0006")
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with ThreadPoolExecutor(1) as pool, engine.connect() as at_work, engine.connect() as onlooker:
        # As who accepts a request: it writes down the key, and the run behind that.
        at_work.execute(text("LOCK TABLE requests IN ROW EXCLUSIVE MODE"))
        upgrade = pool.submit(open_run_store, empty_postgres_url)
        until(lambda: upgrade.done() or onlooker.execute(waiting).scalar(), "the upgrade waits")
        at_work.execute(text("LOCK TABLE runs IN ROW EXCLUSIVE MODE"))
        at_work.commit()
        with closing(upgrade.result(60)) as store:
            store.check()
    engine.dispose()
