"""`factory audit`."""

from __future__ import annotations

from sqlalchemy import text

from factory_runtime.run_store import SqlRunStore
from factory_runtime.run_store.engines import for_writing
from tests.cli_home import Factory, accept_run


def test_what_was_done_is_listed_sealed_and_verified(factory: Factory):
    run = accept_run(factory.runtime)
    assert factory("runs", "cancel", run.id).code == 0
    (entry,) = factory("audit", "list", "--action", "run.cancel", "--json").json["entries"]
    assert (entry["subject"], entry["origin"], entry["key_id"]) == (run.id, "cli", None)
    first = factory("audit", "list", "--limit", "1", "--json").json
    second = factory("audit", "list", "--limit", "1", "--cursor", first["cursor"], "--json").json
    assert first["entries"] != second["entries"]
    assert run.id in factory("audit", "list", "--subject", run.id, "--within", "1h").out
    assert factory("audit", "list", "--cursor", "nonsense").code == 2
    waits = factory("audit", "verify")
    assert (waits.code, "nothing is sealed yet" in waits.out) == (0, True)
    assert "not sealed yet, since" in waits.out
    assert factory("sweep").code == 0
    found = factory("audit", "verify", "--json").json
    assert (found["intact"], found["unsealed"], found["tenant"]) == (True, 0, "local")
    head = f"{found['head']['number']}:{found['head']['digest']}"
    assert f"intact up to {head}" in factory("audit", "verify", "--head", head).out


def test_an_audit_that_was_tampered_with_ends_with_1_and_says_where(factory: Factory):
    run = accept_run(factory.runtime)
    factory("sweep")
    store = factory.runtime.store
    assert isinstance(store, SqlRunStore)
    with store.engine.connect() as connection, for_writing(connection).begin():
        connection.execute(text("DROP TRIGGER audit_no_update"))
        connection.execute(text("UPDATE audit SET actor = 'mallory'"))
    said = factory("audit", "verify")
    assert said.code == 1
    assert said.out.startswith("changed: entry aud-")
    broken = factory("audit", "verify", "--json")
    assert (broken.code, broken.json["broken"]["number"]) == (1, 1)
    cut = factory("audit", "verify", "--head", "9:" + "a" * 64, "--tenant", "other")
    assert (cut.code, "removed" in cut.out) == (1, True)
    assert factory("audit", "verify", "--head", "9").code == 2
    assert factory("audit", "list", "--subject", run.id, "--tenant", "other").code == 0
