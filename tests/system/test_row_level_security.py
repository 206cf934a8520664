"""PostgreSQL's wall between tenants: on every table, for every login, on servers of all kinds."""

from __future__ import annotations

import inspect
import re
import secrets
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from sqlalchemy import create_engine, event, insert, make_url, select, text

from factory_runtime.domain.errors import SettingsError
from factory_runtime.domain.records import Lock
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import RunFilter, RunStore
from factory_runtime.run_store import SqlRunStore, open_run_store
from factory_runtime.run_store.migrations.tenant_wall import ensure_tenant_role
from factory_runtime.run_store.records import LOCKS
from factory_runtime.run_store.tables import locks, metadata, runs
from factory_runtime.services.executor_sign import show_sign
from factory_runtime.settings import HOME_TENANT
from factory_runtime.wire.paths import API_PREFIX
from tests.api.site import ApiSite, somebody
from tests.builders import TENANT, a_run, after
from tests.services import PostgresServer, running_postgres
from tests.stored import added
from tests.two_tenants import INTRUDER, JOB, KEY, RUN, SOURCE, settle

pytestmark = pytest.mark.service

_MADE_BY_HAND = "CREATE ROLE factory_tenant NOLOGIN NOBYPASSRLS; GRANT factory_tenant TO plain"

# --- every table

_WALLS = """
    SELECT relname, relrowsecurity AND relforcerowsecurity,
           has_table_privilege('factory_tenant', pg_class.oid, 'SELECT, INSERT')
             AND NOT has_table_privilege('factory_tenant', pg_class.oid, 'TRUNCATE'),
           has_table_privilege('factory_tenant', pg_class.oid, 'UPDATE')
             OR has_table_privilege('factory_tenant', pg_class.oid, 'DELETE')
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""
_POLICIES = """
    SELECT tablename, policyname, permissive, cmd, 'public' = ANY(roles), qual, with_check
    FROM pg_policies
"""
_OF_TENANT = "((tenant_id)::text = current_setting('factory.tenant'::text, true))"
_OF_NOBODY = "(COALESCE(current_setting('factory.tenant'::text, true), ''::text) = ''::text)"
_PRESENTED = "(({column})::text = current_setting('factory.presented'::text, true))"


def test_every_table_stands_behind_the_wall(postgres_store: SqlRunStore) -> None:
    with postgres_store.engine.connect() as connection:
        found = {name: walls for name, *walls in connection.execute(text(_WALLS))}
        policies = {tuple(row) for row in connection.execute(text(_POLICIES))}
    del found["alembic_version"]
    append_only = {"audit", "audit_seals"}
    assert found == {name: [True, True, name not in append_only] for name in metadata.tables}
    wanted: set[tuple[Any, ...]] = set()
    for name in metadata.tables:
        wanted.add((name, "tenant_wall", "PERMISSIVE", "ALL", True, _OF_TENANT, _OF_TENANT))
        wanted.add((name, "everybody", "PERMISSIVE", "ALL", False, _OF_NOBODY, _OF_NOBODY))
    for name, column in (("api_keys", "prefix"), ("webhook_sources", "id")):
        shown = _PRESENTED.format(column=column)
        wanted.add((name, "presented", "PERMISSIVE", "SELECT", True, shown, None))
    assert policies == wanted


FILTERS: tuple[tuple[RunFilter, set[str]], ...] = (
    (RunFilter(), {"tenant_id"}),
    (RunFilter(project_id="p1", statuses=(RunStatus.FAILED,)), {"project_id", "status"}),
    (RunFilter(projects=("p1", "p2")), {"project_id"}),
    (RunFilter(template_id="t1", since=after(0)), {"template_id", "requested_at"}),
    (RunFilter(requested_by="u1"), {"requested_by"}),
    (RunFilter(trace_id="trace-1"), {"trace_id"}),
    (RunFilter(outside_id="build-1"), {"build_id", "delivery_id"}),
    (RunFilter(text="orders"), {"word"}),
)
_OTHERWISE = {
    "id": "'run-' || n",
    "project_id": "'p' || n % 500",
    "template_id": "'t' || n % 500",
    "requested_by": "'u' || n % 500",
    "trace_id": "'trace-' || n",
    "build_id": "'build-' || n",
    "status": "(array['Failed', 'Succeeded', 'Running'])[1 + n % 3]",
    "requested_at": "requested_at + n * interval '1 second'",
    "flow_run_id": "NULL",
}

_WORDS = """
    INSERT INTO run_words (tenant_id, word, requested_at, run_id)
    SELECT tenant_id, 'word-' || n, requested_at, id FROM runs, generate_series(1, 2) n
    WHERE id <> 'run-0'
"""


def test_indexes_are_entered_by_a_filter_s_columns_behind_the_wall(own_postgres_url: str) -> None:
    asked: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        asked.append((statement, parameters))

    with closing(open_run_store(own_postgres_url)) as store:
        added(store, a_run(id="run-0"))
        columns = [column.name for column in runs.columns]
        values = ", ".join(_OTHERWISE.get(name, name) for name in columns)
        many = f"INSERT INTO runs ({', '.join(columns)}) SELECT {values} FROM runs"  # noqa: S608
        with store.engine.begin() as connection:
            connection.execute(text(f"{many}, generate_series(1, 4000) n"))
            connection.execute(text(_WORDS))
            connection.execute(text("ANALYZE"))
        event.listen(store.engine, "before_cursor_execute", note)
        for where, wanted in FILTERS:
            asked.clear()
            with store.begin(TENANT, read_only=True) as tx:
                tx.list_runs(where)
            behind_wall, (statement, parameters) = asked[0], asked[-1]
            assert "set_config('role'" in behind_wall[0]
            with store.engine.begin() as connection:
                connection.exec_driver_sql(*behind_wall)
                plan = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars()
                entered = "\n".join(line for line in plan if "Index Cond" in line)
            found = {name for name in wanted if re.search(rf"\({name}[ )]", entered)}
            assert found == wanted, (where, entered)


# --- a server that has not seen a factory yet, and logins that are no superusers


@pytest.fixture(scope="module")
def own_server() -> Generator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def bare_server(own_server: PostgresServer) -> Generator[PostgresServer]:
    """Without a database of ours, without our role; with a login that may do nothing special."""

    def clear() -> None:
        with own_server.connect() as connection:
            found = connection.execute("SELECT datname FROM pg_database WHERE datname ~ 'factory'")
            names = [name for (name,) in found]
        for name in names:
            own_server.drop(name)
        with own_server.connect() as connection:
            connection.execute("DROP ROLE IF EXISTS factory_tenant")
            connection.execute("DROP ROLE IF EXISTS plain")

    clear()
    with own_server.connect() as connection:
        connection.execute("CREATE ROLE plain LOGIN")
    yield own_server
    clear()


def database_of(server: PostgresServer, login: str) -> str:
    """The URL of an empty database that this login owns."""
    name = f"factory_{secrets.token_hex(4)}"
    server.create(name)
    with server.connect() as connection:
        give = sql.SQL("ALTER DATABASE {} OWNER TO {}")
        connection.execute(give.format(sql.Identifier(name), sql.Identifier(login)))
    return as_login(server.url(name), login)


def as_login(url: str, login: str) -> str:
    return make_url(url).set(username=login).render_as_string(hide_password=False)


def test_a_login_that_may_make_no_role_is_told_what_to_type(bare_server: PostgresServer) -> None:
    url = database_of(bare_server, "plain")
    with pytest.raises(SettingsError) as refusal:
        open_run_store(url)
    assert _MADE_BY_HAND.replace("plain", "<login>") in str(refusal.value.hint)
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM pg_policies")).scalar() == 0
        assert connection.execute(text("SELECT to_regclass('runs')")).scalar() is None
    engine.dispose()
    with bare_server.connect() as connection:
        connection.execute(_MADE_BY_HAND)
    with closing(open_run_store(url)) as store:
        settle(store)
        with bare_server.connect() as connection:
            connection.execute("REVOKE factory_tenant FROM plain")
        with pytest.raises(SettingsError, match="factory_tenant"), store.begin(TENANT):
            pass


def test_an_owner_sees_all_until_it_names_a_tenant(bare_server: PostgresServer) -> None:
    with bare_server.connect() as connection:
        connection.execute("ALTER ROLE plain CREATEROLE")  # as the first login of a managed server
    url = database_of(bare_server, "plain")
    with closing(open_run_store(url)) as store:
        settle(store)
        added(store, a_run(tenant_id=INTRUDER, id="run-9"))
        with store.begin_dispatch() as dispatch:
            dispatch.serve(TENANT, 1.0)
            assert dispatch.served() == {TENANT: 1.0}
        assert store.find_routed_job("nothing") is None
        # As the releases before do, that name no tenant to the database.
        with store.engine.begin() as connection:
            row = LOCKS.row_of(Lock(INTRUDER, "old", "somebody", after(1)))
            connection.execute(insert(locks), row)
            assert set(connection.execute(select(locks.c.tenant_id)).scalars()) == {
                TENANT,
                INTRUDER,
                "*",
            }
            connection.execute(text("SELECT set_config('factory.tenant', 'umbrella', true)"))
            assert set(connection.execute(select(locks.c.tenant_id)).scalars()) == {INTRUDER}
        with store.engine.begin() as connection:
            assert len(connection.execute(select(locks.c.tenant_id)).all()) == 3


def test_databases_of_one_server_make_the_role_at_once(bare_server: PostgresServer) -> None:
    mine, other = (database_of(bare_server, "postgres") for _ in range(2))
    engine = create_engine(mine)
    with engine.connect() as connection, ThreadPoolExecutor(1) as pool:
        ensure_tenant_role(connection)
        opened = pool.submit(open_run_store, other)
        wait_for_a_waiting_session(bare_server)
        connection.commit()
        for store in (opened.result(), open_run_store(mine)):
            with closing(store):
                settle(store)
    engine.dispose()


def wait_for_a_waiting_session(server: PostgresServer) -> None:
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    give_up = time.monotonic() + 30
    with server.connect() as connection:
        while connection.execute(query).fetchone() == (0,):
            assert time.monotonic() < give_up, "nobody waits"
            time.sleep(0.02)


def test_a_role_that_sees_through_walls_is_refused(bare_server: PostgresServer) -> None:
    with bare_server.connect() as connection:
        connection.execute("CREATE ROLE factory_tenant BYPASSRLS")
    with pytest.raises(SettingsError, match="sees through"):
        open_run_store(database_of(bare_server, "postgres"))


# --- a login that serves the API

Look = Callable[[RunStore], Any]
OVER_ALL: dict[str, Look] = {
    "due_messages": lambda store: store.due_messages(after(0)),
    "begin_dispatch": lambda store: store.begin_dispatch().__enter__(),
    "waiting_runs": lambda store: store.waiting_runs(after(0)),
    "running_runs": lambda store: store.running_runs(),
    "held_runs": lambda store: store.held_runs("walk:", "ada", after(0)),
    "overdue_runs": lambda store: store.overdue_runs(after(0)),
    "expired_jobs": lambda store: store.expired_jobs(after(0)),
    "policies": lambda store: store.policies(),
    "find_deployment": lambda store: store.find_deployment("deployment-1"),
    "open_flow_runs": lambda store: store.open_flow_runs(),
    "find_routed_job": lambda store: store.find_routed_job("flow-1"),
    "routed_jobs": lambda store: store.routed_jobs(),
    "unfinished_runs": lambda store: store.unfinished_runs(),
    "next_unsealed_tenant": lambda store: store.next_unsealed_tenant(""),
    "tenants_of_old_deliveries": lambda store: store.tenants_of_old_deliveries(after(9)),
    "unindexed_tenants": lambda store: store.unindexed_tenants(),
    "remembering_tenants": lambda store: store.remembering_tenants(),
    "migrating_tenants": lambda store: store.migrating_tenants(),
    "tenants_of_old_packages": lambda store: store.tenants_of_old_packages(after(9)),
    "tenants_of_expired_artifacts": lambda store: store.tenants_of_expired_artifacts(after(9)),
    "unindexed_line": lambda store: store.unindexed_line(),
    "outbox_lines": lambda store: store.outbox_lines(),
    "numbers": lambda store: store.numbers(after(9), since=after(0), most=9, seen_after=after(0)),
}
FOR_A_TENANT = {
    "begin",
    "letter_groups",
    "find_api_key",
    "find_webhook_source",
    "check",
    "close",
    "sharing_reads",
}


@pytest.fixture
def api_store(postgres_server: PostgresServer, own_postgres_url: str) -> Generator[SqlRunStore]:
    """As a login that is a member of the role and no more; the first tenant has all kinds of rows."""
    with closing(open_run_store(own_postgres_url)) as store:
        settle(store)
    login = f"api_{secrets.token_hex(4)}"
    made, dropped = sql.SQL("CREATE ROLE {} LOGIN IN ROLE factory_tenant"), sql.SQL("DROP ROLE {}")
    with postgres_server.connect() as connection:
        connection.execute(made.format(sql.Identifier(login)))
    with closing(open_run_store(as_login(own_postgres_url, login))) as store:
        yield store
    with postgres_server.connect() as connection:
        connection.execute(dropped.format(sql.Identifier(login)))


def test_a_login_of_the_role_serves_tenants_and_finds_what_is_presented(
    api_store: SqlRunStore,
) -> None:
    api_store.check()
    added(api_store, a_run(tenant_id=INTRUDER, id="run-9"))
    with api_store.begin(TENANT) as tx:
        assert tx.count_runs(RunFilter()) == 2
        tx.wake_job(RUN.id, JOB.step, after(1))
    with api_store.begin(INTRUDER) as tx:
        assert tx.count_runs(RunFilter()) == 1
    assert api_store.find_api_key(KEY.prefix) == KEY
    assert api_store.find_api_key("b" * 12) is None
    assert api_store.find_webhook_source(SOURCE.id) == SOURCE
    assert api_store.find_webhook_source("hook-9") is None
    (group,) = api_store.letter_groups(tenant_id=TENANT)
    assert group.tenants == (TENANT,)
    assert api_store.letter_groups(tenant_id=INTRUDER) == ()
    for table in metadata.tables.values():
        with api_store.engine.connect() as connection:
            assert connection.execute(select(table.c.tenant_id)).all() == [], table.name


def test_a_login_of_the_role_is_refused_a_look_over_all_tenants(api_store: SqlRunStore) -> None:
    methods = {
        name
        for name, _ in inspect.getmembers(RunStore, inspect.isfunction)
        if not name.startswith("_")
    }
    assert methods == OVER_ALL.keys() | FOR_A_TENANT
    for name, look in OVER_ALL.items():
        with pytest.raises(SettingsError, match="may not look over"):
            pytest.fail(f"{name} answered {look(api_store)}")
    with pytest.raises(SettingsError, match="may not look over"):
        api_store.letter_groups()


def test_the_api_serves_tenants_by_a_login_of_the_role(
    tmp_path: Path, api_store: SqlRunStore
) -> None:
    url = api_store.engine.url.render_as_string(hide_password=False)
    site = ApiSite(tmp_path, url, api_store)
    client = site.client(somebody(tenant_id=INTRUDER))
    run = site.run(client, projectId=RUN.project_id)
    for path in (f"/runs/{run}", "/runs", "/dead-letters/groups", "/keys", "/policy", "/audit"):
        answer = client.get(f"{API_PREFIX}{path}")
        assert answer.status_code == 200, (path, answer.text)
    assert client.get("/health/ready").status_code == 200
    show_sign(api_store, site.runtime.clock, "executor:1")
    parts = client.get("/health").json()["components"]
    assert (parts["agentHost"], parts["knowledgeSystem"]) == ("healthy", "healthy")
    numbers = site.client(somebody(tenant_id=HOME_TENANT)).get("/metrics").text
    assert "factory_api_requests_total{" in numbers
    assert "factory_runs_open{" not in numbers
