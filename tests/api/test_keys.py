"""API keys: who shows one is who it says, and nobody learns why another is refused."""

from __future__ import annotations

import logging
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import event
from starlette.requests import Request

from api.app import create_app
from api.loopback import LoopbackOwner, check_bind
from factory_runtime.bootstrap import Runtime
from factory_runtime.bootstrap.ground import SystemClock
from factory_runtime.domain.access import Grant, Principal, Role
from factory_runtime.domain.api_key import FreshKey
from factory_runtime.domain.errors import ConflictError, SettingsError, UnauthenticatedError
from factory_runtime.domain.records import AuditEntry
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.api_keys import GivenKey, WantedKey, add_key, revoke_key, rotate_key
from factory_runtime.services.key_ring import KEPT, KeyRing
from factory_runtime.settings import OidcIssuer
from tests.api.site import ApiSite, somebody
from tests.small_factory import SettableClock

KEYS, ME, RUNS = "/api/v1/keys", "/api/v1/me", "/api/v1/runs"
NOW = SystemClock()


def give(
    site: ApiSite, *grants: str, tenant_id: str = "acme", name: str = "ci", **more: Any
) -> GivenKey:
    wanted = WantedKey(name, tuple(map(Grant.parse, grants)), **more)
    return add_key(site.store, NOW, somebody(tenant_id), wanted)


def door(site: ApiSite, key: GivenKey | str | None = None, **settings: Any) -> TestClient:
    """A client of the application as it is served, which shows a key."""
    return client_of(served(site, **settings), key)


def served(site: ApiSite, **settings: Any) -> FastAPI:
    changed = {"api_refused_rate": "10000/minute", **settings}
    runtime = Runtime(site.runtime.settings.model_copy(update=changed), NOW)
    runtime.__dict__["store"] = site.store
    return create_app(runtime)


def client_of(app: FastAPI, key: GivenKey | str | None = None) -> TestClient:
    text = key.fresh.text if isinstance(key, GivenKey) else key
    headers = {} if text is None else {"Authorization": f"Bearer {text}"}
    return TestClient(
        app,
        base_url="http://127.0.0.1:4280",
        headers=headers,
        client=("127.0.0.1", 50000),
        raise_server_exceptions=False,
    )


def told(answer: Response) -> str:
    """What an answer says, but for what is another in each."""
    return str({name: value for name, value in answer.json().items() if name != "traceId"})


def audit_of(site: ApiSite, subject: str) -> list[AuditEntry]:
    with site.store.begin("acme", read_only=True) as tx:
        return list(reversed(tx.list_audit(subject=subject)))


# --- given, listed, taken back


def test_a_key_is_told_once_and_lets_in_who_shows_it(site: ApiSite):
    first = give(site, "admin", name="root")
    admin = door(site, first)
    asked = {
        "name": "deploys",
        "grants": [{"role": "operator", "projectId": "shop"}, {"role": "viewer"}],
        "groups": ["ops"],
        "expiresIn": "90d",
    }
    answer = admin.post(KEYS, json=asked)
    told = answer.json()
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    for headers in ({"Authorization": f"bearer {told['key']}"}, {"X-Api-Key": told["key"]}):
        who = door(site).get(ME, headers=headers).json()
        assert (who["name"], who["tenantId"], who["groups"]) == ("deploys", "acme", ["ops"])
        assert who["grants"] == [
            {"role": "operator", "projectId": "shop"},
            {"role": "viewer", "projectId": None},
        ]
        assert who["keyId"] == told["made"]["keyId"]
    listed = admin.get(KEYS)
    assert [key["name"] for key in listed.json()["items"]] == ["deploys", "root"]
    for secret in (told["key"], first.fresh.text, first.key.hash, FreshKey(told["key"]).hash):
        assert secret not in listed.text
    (entry,) = audit_of(site, told["made"]["keyId"])
    assert (entry.action, entry.actor, entry.key_id, entry.origin) == (
        "key.add",
        "root",
        first.key.id,
        "127.0.0.1",
    )


def test_a_key_may_do_what_its_roles_allow_where_they_allow_it(site: ApiSite):
    asked = {"templateRecipeId": "service", "inputs": {"service_name": "orders"}}
    viewer, requester = give(site, "viewer"), give(site, "requester:shop")
    assert door(site, viewer).post(RUNS, json=asked).status_code == 403
    for project, status in (("mill", 403), ("shop", 422)):  # of it, there is no such template
        got = door(site, requester).post(RUNS, json={**asked, "projectId": project})
        assert got.status_code == status, got.text
    for key in (viewer, requester, give(site, "operator")):
        assert door(site, key).get(KEYS).status_code == 403
        assert door(site, key).post(KEYS, json={"name": "x", "grants": []}).status_code in (
            403,
            422,
        )


def test_nobody_gives_takes_or_sees_what_is_beyond_them(small_site: ApiSite):
    root, mine = give(small_site, "admin"), give(small_site, "viewer:shop")
    admin = door(small_site, give(small_site, "admin:shop", "viewer", name="lead"))

    def post(*grants: tuple[str, str | None], **more: Any) -> int:
        listed = [{"role": role, "projectId": project} for role, project in grants]
        return admin.post(KEYS, json={"name": "x", "grants": listed, **more}).status_code

    assert post(("operator", "shop"), ("admin", "shop")) == 201
    for beyond in (("viewer", None), ("admin", None), ("viewer", "mill")):
        assert post(("viewer", "shop"), beyond) == 403
    assert post(("viewer", "shop"), groups=["board"]) == 403
    names = [key["grants"] for key in admin.get(KEYS).json()["items"]]
    assert len(names) == 2, "the root's and their own are not theirs to see"
    for way in ("rotate", "revoke"):
        assert admin.post(f"{KEYS}/{mine.key.id}/{way}").status_code in (200, 201)
        beyond = admin.post(f"{KEYS}/{root.key.id}/{way}")
        unknown = admin.post(f"{KEYS}/key-9/{way}")
        assert beyond.status_code == unknown.status_code == 404
        assert told(beyond).replace(root.key.id, "key-9") == told(unknown)


def test_a_tenant_s_admin_is_nobody_in_another(site: ApiSite):
    ours = give(site, "viewer")
    theirs = door(site, give(site, "admin", tenant_id="umbrella"))
    assert len(theirs.get(KEYS).json()["items"]) == 1
    for way in ("revoke", "rotate"):
        assert theirs.post(f"{KEYS}/{ours.key.id}/{way}").status_code == 404
    assert door(site, ours).get(ME).status_code == 200


def test_what_makes_no_key_is_refused(small_site: ApiSite):
    admin = door(small_site, give(small_site, "admin"))
    good = {"name": "x", "grants": [{"role": "viewer"}]}
    bad: list[dict[str, Any]] = [
        {"name": "group:ops"},
        {"name": "system"},
        {"name": " "},
        {"grants": []},
        {"grants": [{"role": "king"}]},
        {"grants": [{"role": "viewer", "projectId": "../x"}]},
        {"groups": ["group:ops"]},
        {"expiresIn": "soon"},
        {"expiresIn": "0s"},
        {"expiresIn": "99999d"},
        {"tenantId": "umbrella"},
    ]
    for change in bad:
        assert admin.post(KEYS, json={**good, **change}).status_code == 422, change
    for overlap in ("soon", "99999d"):
        made = admin.post(KEYS, json=good).json()["made"]["keyId"]
        asked = {"overlap": overlap}
        assert admin.post(f"{KEYS}/{made}/rotate", json=asked).status_code == 422


def test_keys_are_listed_in_parts(small_site: ApiSite):
    admin = door(small_site, give(small_site, "admin"))
    given = [give(small_site, "viewer", name=f"n{number}").key.id for number in range(4)]
    seen: list[str] = []
    more: dict[str, str] = {}
    while True:
        got = admin.get(KEYS, params={"limit": "2"} | more).json()
        seen += [key["keyId"] for key in got["items"]]
        if got["nextCursor"] is None:
            break
        more = {"cursor": got["nextCursor"]}
    assert len(seen) == len(set(seen)) == 5
    assert set(given) < set(seen)
    assert admin.get(KEYS, params={"cursor": "WyJhIiwiYiJd"}).status_code == 422


def test_revoking_once_more_changes_nothing(site: ApiSite):
    admin, key = door(site, give(site, "admin")), give(site, "viewer")
    first, second = (admin.post(f"{KEYS}/{key.key.id}/revoke") for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert [entry.action for entry in audit_of(site, key.key.id)] == ["key.add", "key.revoke"]


# --- refused


def test_every_credential_that_is_not_good_gets_the_same_answer(site: ApiSite):
    good, expired, revoked = give(site, "admin"), give(site, "admin"), give(site, "admin")
    with site.store.begin("acme") as tx:
        tx.save_api_key(expired.key.expire_by(NOW.now() - timedelta(seconds=1)))
    revoke_key(site.store, NOW, somebody(), revoked.key.id)
    text = good.fresh.text
    other = FreshKey.make().text
    wrong = {
        "unknown": f"Bearer {other}",
        "another secret": f"Bearer {text[:16]}{other[16:]}",
        "expired": f"Bearer {expired.fresh.text}",
        "revoked": f"Bearer {revoked.fresh.text}",
        "longer": f"Bearer {text}a",
        "shorter": f"Bearer {text[:-1]}",
        "upper case": f"Bearer {text.upper()}",
        "prefix alone": f"Bearer fk_{good.key.prefix}",
        "its hash": f"Bearer fk_{good.key.prefix}_{good.key.hash[:43]}",
        "another kind": f"Basic {text}",
        "no kind": text,
        "nothing": "Bearer ",
        "a token": "Bearer eyJhbGciOiJub25lIn0.e30.",
        "very long": "Bearer fk_" + "a" * 20_000,
    }
    app = served(site)
    answers = {name: client_of(app).get(ME, headers={"Authorization": one}) for name, one in wrong.items()}  # fmt: skip
    answers["two that differ"] = client_of(app, good).get(ME, headers={"X-Api-Key": other})
    answers["two of one header"] = client_of(app).get(
        ME, headers=[("Authorization", f"Bearer {text}"), ("Authorization", f"Bearer {other}")]
    )
    answers["a token as a key"] = client_of(app).get(ME, headers={"X-Api-Key": "eyJ.e30."})
    assert {name: one.status_code for name, one in answers.items() if one.status_code != 401} == {}
    assert len({told(one) for one in answers.values()}) == 1
    assert {one.headers["www-authenticate"] for one in answers.values()} == {"Bearer"}
    same_twice = client_of(app, good).get(ME, headers={"X-Api-Key": text})
    assert same_twice.status_code == 200, "two that agree are one"
    assert client_of(app).get(ME).status_code == 401


@contextmanager
def statements(store: SqlRunStore) -> Generator[list[str]]:
    """What the database is asked meanwhile."""
    said: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    event.listen(store.engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(store.engine, "before_cursor_execute", note)


def test_ten_thousand_keys_tried_take_one_look_each(small_site: ApiSite):
    good = give(small_site, "admin")
    store, clock = small_site.store, SettableClock()
    ring = KeyRing(lambda: store, clock)
    assert isinstance(store, SqlRunStore)
    assert ring.find(good.fresh.text) is not None
    ring.uses.settle()
    tried = [FreshKey.make().text for _ in range(3333)]
    tried += [f"fk_{good.key.prefix}_{text[16:]}" for text in tried]
    tried += [text[: number % 50] for number, text in enumerate(tried)][:3334]
    assert len(tried) == 10_000
    with statements(store) as said:
        assert not any([ring.find(text) for text in tried])
    asked = [statement for statement in said if statement != "BEGIN"]
    assert len(asked) == 10_000
    assert len(set(asked)) == 1
    with statements(store) as said:
        assert all([ring.find(good.fresh.text) for _ in range(10)])
    assert said == [], "one that is good is remembered for a moment"


# --- rotated, used, forgotten


def test_an_old_key_and_its_new_one_overlap(small_site: ApiSite):
    store, clock = small_site.store, SettableClock()
    wanted = WantedKey("ci", (Grant(Role.OPERATOR, "shop"),), ("ops",), timedelta(days=90))
    old = add_key(store, clock, somebody(), wanted)
    clock.pass_time(timedelta(days=80))
    new = rotate_key(store, clock, somebody(), old.key.id, overlap=timedelta(hours=24))
    same = {"name": "ci", "grants": old.key.grants, "groups": ("ops",), "replaces": old.key.id}
    assert {name: getattr(new.key, name) for name in same} == same
    assert new.key.expires_at == clock.now() + timedelta(days=90)

    def good() -> list[bool]:
        ring = KeyRing(lambda: store, clock)
        found = [ring.find(key.fresh.text) is not None for key in (old, new)]
        ring.uses.settle()
        return found

    assert good() == [True, True]
    clock.pass_time(timedelta(days=1))
    assert good() == [False, True]
    with pytest.raises(ConflictError, match=new.key.id):
        rotate_key(store, clock, somebody(), old.key.id)
    newest = rotate_key(store, clock, somebody(), new.key.id, overlap=timedelta(0))
    assert newest.key.replaces == new.key.id
    assert good() == [False, False]
    revoke_key(store, clock, somebody(), newest.key.id)
    with pytest.raises(ConflictError, match="revoked"):
        rotate_key(store, clock, somebody(), newest.key.id)


def test_an_overlap_makes_no_key_last_longer_than_it_would(small_site: ApiSite):
    key = give(small_site, "viewer", expires_in=timedelta(hours=1))
    rotate_key(small_site.store, NOW, somebody(), key.key.id, overlap=timedelta(days=9))
    with small_site.store.begin("acme", read_only=True) as tx:
        assert tx.get_api_key(key.key.id).expires_at == key.key.expires_at


def test_of_those_who_rotate_a_key_at_once_one_does(site: ApiSite):
    key = give(site, "viewer")

    def rotate(_: int) -> str | None:
        try:
            return rotate_key(site.store, NOW, somebody(), key.key.id).key.id
        except ConflictError:
            return None

    with ThreadPoolExecutor(4) as threads:
        made = [one for one in threads.map(rotate, range(4)) if one is not None]
    with site.store.begin("acme", read_only=True) as tx:
        assert {one.id for one in tx.list_api_keys()} == {key.key.id, *made}
    assert len(made) == 1


def test_a_revoked_key_is_good_nowhere_after_seconds(small_site: ApiSite):
    store, clock = small_site.store, SettableClock()
    key = add_key(store, clock, somebody(), WantedKey("ci", (Grant(Role.VIEWER),)))
    ring = KeyRing(lambda: store, clock)
    assert ring.find(key.fresh.text) is not None
    ring.uses.settle()
    revoke_key(store, clock, somebody(), key.key.id)
    assert KeyRing(lambda: store, clock).find(key.fresh.text) is None
    clock.pass_time(-timedelta(seconds=1))
    assert ring.find(key.fresh.text) is None, "nor where a clock was set back"
    clock.pass_time(timedelta(seconds=1) + KEPT)
    assert ring.find(key.fresh.text) is None


def test_a_key_that_expires_is_not_good_for_a_moment_more(small_site: ApiSite):
    store, clock = small_site.store, SettableClock()
    wanted = WantedKey("ci", (Grant(Role.VIEWER),), expires_in=timedelta(seconds=3))
    key, ring = add_key(store, clock, somebody(), wanted), KeyRing(lambda: store, clock)
    assert ring.find(key.fresh.text) is not None
    ring.uses.settle()
    clock.pass_time(timedelta(seconds=3))
    assert ring.find(key.fresh.text) is None


def test_its_use_is_written_down_and_nobody_waits_for_it(site: ApiSite):
    key, clock = give(site, "viewer"), SettableClock()
    ring = KeyRing(lambda: site.store, clock)
    with site.store.begin("acme"):  # on SQLite, nobody else can write now
        assert ring.find(key.fresh.text) is not None
    ring.uses.settle()
    used = site.store.find_api_key(key.key.prefix)
    assert used is not None
    assert used.last_used_at == clock.now()
    clock.pass_time(timedelta(seconds=59))
    assert ring.find(key.fresh.text) is not None
    ring.uses.settle()
    assert site.store.find_api_key(key.key.prefix) == used
    clock.pass_time()
    assert ring.find(key.fresh.text) is not None
    ring.uses.settle()
    again = site.store.find_api_key(key.key.prefix)
    assert again == replace(used, last_used_at=clock.now())


def test_a_use_that_cannot_be_written_down_costs_nobody_their_answer(small_site: ApiSite):
    key, store = give(small_site, "viewer"), small_site.store
    assert isinstance(store, SqlRunStore)
    with store.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE UPDATE ON api_keys BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    ring = KeyRing(lambda: store, NOW)
    assert ring.find(key.fresh.text) is not None
    ring.uses.settle()
    assert ring.find(key.fresh.text) is not None


# --- without a key


def test_on_the_loopback_the_owner_needs_no_key_and_one_that_is_shown_counts(
    small_site: ApiSite,
):
    app = served(small_site, database_url=None)
    owner = client_of(app).get(ME).json()
    assert (owner["tenantId"], owner["grants"][0]["role"]) == ("local", "admin")
    key = give(small_site, "viewer")
    assert client_of(app, key).get(ME).json()["tenantId"] == "acme"
    for bad in ("fk_wrong", "", "eyJ.e30."):
        assert client_of(app, bad).get(ME).status_code == 401, bad
    assert client_of(app).get(ME, headers={"Authorization": "Basic YWRhOng="}).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-Proto": "https"},
        {"Forwarded": "for=127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"X-Real-IP": "127.0.0.1"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "["},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "http://["},
    ],
    ids=str,
)
def test_who_comes_by_a_proxy_or_a_page_is_not_the_owner(
    small_site: ApiSite, headers: dict[str, str]
):
    app = served(small_site, database_url=None)
    assert client_of(app).get(ME, headers=headers).status_code == 401


def test_who_speaks_as_old_proxies_do_is_not_the_owner():
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.0",
        "method": "GET",
        "path": ME,
        "headers": [(b"host", b"127.0.0.1:4280")],
        "client": ("127.0.0.1", 5),
    }
    with pytest.raises(UnauthenticatedError):
        LoopbackOwner("local").find(Request(scope))
    assert LoopbackOwner("local").find(Request({**scope, "http_version": "1.1"})) is not None
    assert LoopbackOwner("local").find(Request({**scope, "client": ("10.0.0.7", 5)})) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"api_host": "0.0.0.0"},  # noqa: S104 - as somebody sets it
        {"api_host": "factory.example"},
        {"api_proxies": ("127.0.0.1",)},
        {"database_url": "postgresql://db.example/factory"},
    ],
    ids=str,
)
def test_where_others_can_come_nobody_is_the_owner(small_site: ApiSite, settings: dict[str, Any]):
    app = served(small_site, **{"database_url": None, **settings})
    assert client_of(app).get(ME).status_code == 401
    assert client_of(app, give(small_site, "viewer")).get(ME).status_code == 200


def test_a_network_is_not_listened_to_before_there_is_a_key(small_site: ApiSite):
    settings = small_site.runtime.settings.model_copy(
        update={"database_url": None, "tenant": "acme"}
    )
    store = small_site.store
    for host in ("127.0.0.1", "localhost", "::1"):
        check_bind(settings, store, NOW, host)
    gone = give(small_site, "admin")
    revoke_key(store, NOW, somebody(), gone.key.id)
    for host in ("0.0.0.0", "::", "10.0.0.7", "factory.example", ""):  # noqa: S104
        with pytest.raises(SettingsError, match="key"):
            check_bind(settings, store, NOW, host)
    issuer = OidcIssuer(issuer="https://login.example", audience="factory")
    check_bind(settings.model_copy(update={"oidc_issuers": (issuer,)}), store, NOW, "::")
    give(small_site, "viewer")
    check_bind(settings, store, NOW, "::")


# --- said nowhere


def test_nothing_that_is_kept_or_logged_says_a_key(
    small_site: ApiSite, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    admin = give(small_site, "admin")
    client = door(small_site, admin)
    made = client.post(KEYS, json={"name": "x", "grants": [{"role": "viewer"}]}).json()
    turned = client.post(f"{KEYS}/{made['made']['keyId']}/rotate").json()
    wrong = FreshKey.make().text
    for text in (wrong, turned["key"], made["key"]):
        client.get(RUNS, headers={"Authorization": f"Bearer {text}"})
        door(small_site, text).post(KEYS, json={"name": text, "grants": "none"})
    store = small_site.store
    assert isinstance(store, SqlRunStore)
    with store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(FULL)")
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    said = kept + "\n".join(map(_all_of, caplog.records)).encode()
    assert admin.key.hash.encode() in kept, "it was looked where they would be"
    for text in (admin.fresh.text, made["key"], turned["key"], wrong):
        assert text[16:].encode() not in said


def _all_of(record: logging.LogRecord) -> str:
    return f"{record.getMessage()} {vars(record)}"


def test_who_has_no_role_is_told_who_they_are(small_site: ApiSite):
    nobody = Principal("ada", "acme", ())
    client = small_site.client(nobody)
    assert client.get(ME).json()["grants"] == []
    assert client.get(RUNS).status_code == 403
