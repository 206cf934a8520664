"""A query that hangs holds no connection for good; what looks over all tenants may take its time."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from factory_runtime.bootstrap import Runtime
from factory_runtime.bootstrap.ground import SystemClock
from factory_runtime.domain.errors import StoreUnavailableError
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import RunFilter
from factory_runtime.run_store import open_run_store
from factory_runtime.run_store.translate import translated
from factory_runtime.settings import Settings
from tests.builders import TENANT, a_run, after

pytestmark = pytest.mark.service

_SLOW_ROWS = """
CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(2); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON runs FOR EACH ROW EXECUTE FUNCTION hang();
"""
_SLOW_MIGRATIONS = """
CREATE FUNCTION hang() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(0.6); END $$;
CREATE EVENT TRIGGER slow ON ddl_command_end WHEN TAG IN ('CREATE FUNCTION') EXECUTE FUNCTION hang();
"""


def execute(url: str, statements: str) -> None:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(statements.encode())


def test_a_statement_of_a_tenant_is_given_up_and_one_over_all_is_not(
    own_postgres_url: str, tmp_path: Path
):
    run = a_run(status=RunStatus.VALIDATED)
    queued = run.move_to(RunStatus.QUEUED, after(1), admitted_at=after(1))
    settings = Settings(
        home=tmp_path,
        database_url=own_postgres_url,
        database_connections=1,
        database_statement_seconds=1.0,
    )
    with closing(Runtime(settings, SystemClock()).store) as store:
        with store.begin(TENANT) as tx:
            tx.add_run(run)
        execute(own_postgres_url, _SLOW_ROWS)
        with pytest.raises(StoreUnavailableError, match="too busy"), store.begin(TENANT) as tx:
            tx.add_run(a_run())
        with store.begin(TENANT, read_only=True) as tx:  # on the one connection that there is
            assert tx.list_runs(RunFilter()).items == (run,)
        with store.begin_dispatch() as dispatch:
            dispatch.of_tenant(TENANT).save_run(run, queued)
        with store.begin(TENANT, read_only=True) as tx:
            assert tx.get_run(run.id) == queued


def test_what_looks_over_all_tenants_is_given_up_in_the_end(postgres_url: str):
    with closing(open_run_store(postgres_url, 1, timedelta(seconds=0.1))) as store:
        with (
            pytest.raises(StoreUnavailableError, match="too busy"),
            translated("the store"),
            store.engine.connect() as connection,
        ):
            connection.exec_driver_sql("SELECT pg_sleep(60)")
        assert store.running_runs() == ()


def test_a_migration_takes_as_long_as_it_takes(empty_postgres_url: str):
    execute(empty_postgres_url, _SLOW_MIGRATIONS)
    with closing(open_run_store(empty_postgres_url, 1, timedelta(seconds=0.02))) as store:
        store.check()
