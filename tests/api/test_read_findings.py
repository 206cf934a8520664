"""What a hostile caller could get, or take from others, before somebody read for it."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.context import Api
from api.etags import ETags
from api.limits import BodyLimit
from api.strict_json import why_not
from api.turns import SearchTurns
from factory_runtime.domain.access import Principal, Role
from factory_runtime.domain.errors import (
    DataRefusedError,
    RunNotFoundError,
    StoreUnavailableError,
    UnsupportedEventError,
)
from factory_runtime.domain.webhook import SourceKind
from factory_runtime.jobs.report.locations import addresses_of, parse_url
from factory_runtime.ports import RecallQuery, RunStore
from factory_runtime.services.recall import Recaller
from factory_runtime.services.webhook_event import read_event
from factory_runtime.services.webhook_verify import Sent
from factory_runtime.wire.paths import API_PREFIX
from factory_runtime.wire.webhook import SourceOptions
from tests.api.laid_out import lay_out
from tests.api.site import ApiSite, somebody

RUNS = f"{API_PREFIX}/runs"
ASKED = {"templateRecipeId": "service", "inputs": {"service_name": "orders"}}
STREAM = {"Accept": "text/event-stream"}


def asgi(app: Any, scope: dict[str, Any], comes: list[dict[str, Any] | None]) -> list[Any]:
    """What an application sends to a request that comes like this; None is silence from then on."""
    sent = list[Any]()
    left = list(comes)

    async def receive() -> dict[str, Any]:
        found = left.pop(0) if left else {"type": "http.disconnect"}
        if found is None:
            await asyncio.Event().wait()
        assert found is not None
        return found

    async def send(message: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        sent.append(message)

    whole = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "query_string": b""}
    asyncio.run(asyncio.wait_for(app({**whole, **scope}, receive, send), 20))
    return sent


# --- streams


def test_a_stream_ends_with_the_credential_that_opened_it(small_site: ApiSite):
    app, ada = small_site.app(), somebody()
    owner = small_site.client(ada, app)
    run = small_site.run(owner)
    reader = small_site.client(somebody(role=Role.VIEWER, name="bob"), app)
    token = reader.headers["authorization"].partition(" ")[2]
    with ThreadPoolExecutor() as threads:
        stream = threads.submit(reader.get, f"{RUNS}/{run}/events", headers=STREAM)
        api: Api = app.state.api
        while not api.streams.count:
            assert not stream.done()
        del small_site.told.known[token]
        try:
            assert "event: end" not in stream.result(timeout=10).text
        finally:
            owner.post(f"{RUNS}/{run}/cancel")
    assert api.streams.count == 0


def test_no_tenant_takes_all_streams(small_site: ApiSite):
    app = small_site.app()
    api: Api = app.state.api
    ids = {name: small_site.run(small_site.client(somebody(name), app)) for name in ("acme", "zoo")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api.streams, "_of_tenant", 3)
        for _ in range(3):
            api.streams.take("acme")
        refused = small_site.client(somebody(), app).get(
            f"{RUNS}/{ids['acme']}/events", headers=STREAM
        )
        assert refused.status_code == 429
        zoo = small_site.client(somebody("zoo"), app)
        zoo.post(f"{RUNS}/{ids['zoo']}/cancel")
        assert zoo.get(f"{RUNS}/{ids['zoo']}/events", headers=STREAM).status_code == 200


def test_a_reader_who_is_gone_before_the_first_event_keeps_no_stream(small_site: ApiSite):
    app = small_site.app()
    client = small_site.client(somebody(), app)
    run = small_site.run(client)
    shown = client.headers["authorization"].encode()
    scope = {
        "method": "GET",
        "path": f"{RUNS}/{run}/events",
        "headers": [(b"authorization", shown), (b"accept", b"text/event-stream")],
    }
    asgi(app, scope, [{"type": "http.disconnect"}])
    api: Api = app.state.api
    assert api.streams.count == 0


# --- threads


def test_a_tenant_whose_requests_take_long_leaves_the_others_theirs(
    small_site: ApiSite, monkeypatch: pytest.MonkeyPatch
):
    app, long, begun = small_site.app(), threading.Event(), threading.Event()

    def look(_: object, reader: Principal, run_id: str) -> None:
        if run_id == "long":
            begun.set()
            long.wait(20)
        raise RunNotFoundError(run_id)

    monkeypatch.setattr("api.routes.runs.visible_run", look)
    monkeypatch.setattr(app.state.api.turns, "_of_tenant", 1)
    monkeypatch.setattr(app.state.api.turns, "_seconds", 0.05)
    with small_site.client(app=app) as client, ThreadPoolExecutor() as threads:

        def get(tenant: str, run_id: str) -> int:
            shown = {"Authorization": f"Told {small_site.token(somebody(tenant))}"}
            return client.get(f"{RUNS}/{run_id}", headers=shown).status_code

        try:
            waiting = threads.submit(get, "acme", "long")
            assert begun.wait(10)
            assert [get("acme", "run-1"), get("zoo", "run-1")] == [429, 404]
        finally:
            long.set()
        assert waiting.result(10) == 404
        assert get("acme", "run-1") == 404, "and its turn is free again"


def test_searches_that_take_long_leave_all_other_requests_theirs(
    small_site: ApiSite, monkeypatch: pytest.MonkeyPatch
):
    app, long, begun = small_site.app(), threading.Event(), threading.Event()

    def recall(_: object, tenant_id: str, query: RecallQuery) -> tuple[()]:
        begun.set()
        long.wait(20)
        return ()

    monkeypatch.setattr(Recaller, "recall", recall)
    monkeypatch.setattr(app.state.api.turns, "_of_tenant", 1)
    app.state.api = replace(app.state.api, searches=SearchTurns(2, 1, seconds=0.05))
    with small_site.client(app=app) as client, ThreadPoolExecutor() as threads:

        def ask(tenant: str, method: str, path: str, **body: Any) -> int:
            shown = {"Authorization": f"Told {small_site.token(somebody(tenant))}"}
            return client.request(method, f"{API_PREFIX}{path}", headers=shown, **body).status_code

        def search(tenant: str) -> int:
            return ask(tenant, "POST", "/memory/search", json={"query": "orders"})

        try:
            waiting = threads.submit(search, "acme")
            assert begun.wait(10)
            assert [search("acme"), search("zoo")] == [429, 429]
            assert ask("acme", "GET", "/runs/run-1") == 404
        finally:
            long.set()
        assert waiting.result(10) == 200
        assert search("acme") == 200, "and its turn is free again"


def test_who_has_many_addresses_guesses_no_more_often(
    tmp_path: Path, sqlite_url: str, sqlite_store: RunStore
):
    site = ApiSite(tmp_path, sqlite_url, sqlite_store, api_refused_rate="2/hour")
    app = site.app()

    def guess(address: str) -> int:
        return TestClient(app, client=(address, 1)).get(RUNS).status_code

    assert [guess(f"2001:db8::{n:x}") for n in range(4)] == [401, 401, 429, 429]
    assert guess("2001:db8:0:1::") == 401, "another network's"
    assert [guess(f"::ffff:192.0.2.{n}") for n in range(4)] == [401] * 4, "each its own"


# --- bodies


def test_a_body_that_does_not_come_is_not_waited_for(small_site: ApiSite):
    app = BodyLimit(small_site.app(), 1000, seconds=0.05)
    headers = [(b"content-type", b"application/json")]
    scope = {"method": "POST", "path": RUNS, "headers": headers}
    first = {"type": "http.request", "body": b"{", "more_body": True}
    start, body = asgi(app, scope, [first, None])
    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]
    assert json.loads(body["body"])["type"].endswith(":request-timeout")


def test_a_content_type_that_cannot_be_read_is_refused_like_others():
    odd = "application/json; charset*0*=; charset*0*=utf-8; charset*=x"
    with pytest.raises(UnsupportedEventError):
        read_event(SourceKind.GITHUB, SourceOptions(), Sent((("content-type", odd),), b"{}"))


def test_a_number_takes_no_longer_to_read_than_its_neighbours():
    # Digits cost their square: a megabyte of them held the whole process for a second.
    assert why_not(b'{"size": 0.' + b"1" * 5000 + b"}") is not None
    assert why_not(b'{"size": 0.1000000000000000055511151231257827021181583404541015625}') is None


def test_mistakes_are_told_of_up_to_a_hundred(shared_site: ApiSite):
    client = shared_site.client(somebody())
    answer = client.post(RUNS, json={**ASKED, **{f"x{n}": 1 for n in range(20_000)}})
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 100
    assert "19900 more" in answer.json()["detail"]


# --- what is another's


def test_a_large_answer_is_kept_by_no_cache_that_others_use():
    async def large(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"1" * (5 << 20), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    start, *_ = asgi(ETags(large), {"method": "GET", "path": "/", "headers": []}, [])
    said = dict(start["headers"])
    assert said[b"cache-control"] == b"private, no-cache"
    assert b"X-Api-Key" in said[b"vary"]


def test_an_idempotency_key_of_another_project_is_none_of_this_one(shared_site: ApiSite):
    app, key = shared_site.app(), {"Idempotency-Key": "release-17"}
    bob = shared_site.client(somebody(role=Role.REQUESTER, project_id="billing"), app)
    ada = shared_site.client(somebody(role=Role.REQUESTER, project_id="shop"), app)
    theirs = bob.post(RUNS, json={**ASKED, "projectId": "billing"}, headers=key).json()["runId"]
    answer = ada.post(RUNS, json={**ASKED, "projectId": "shop"}, headers=key)
    assert answer.status_code == 202
    assert theirs not in answer.text
    again = bob.post(RUNS, json={**ASKED, "projectId": "billing", "priority": "high"}, headers=key)
    assert theirs in again.text, "whose it is are helped to find it"


@pytest.mark.parametrize("key", ["webhook:hook-1:0123:service", "flow-run:1", "project:shop:1"])
def test_nobody_stands_in_for_a_delivery_by_its_key(shared_site: ApiSite, key: str):
    answer = shared_site.client(somebody()).post(RUNS, json=ASKED, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["detail"]


def test_a_source_of_another_project_is_not_there(shared_site: ApiSite):
    app = shared_site.app()
    owner = shared_site.client(somebody(), app)
    asked = {"name": "ci-of-billing", "kind": "github", "projectId": "billing"}
    assert owner.post(f"{API_PREFIX}/webhooks", json=asked).status_code == 201
    ada = shared_site.client(somebody(project_id="shop"), app)
    for action in ("rotate", "disable"):
        told = [
            ada.post(f"{API_PREFIX}/webhooks/{name}/{action}").json()
            for name in ("ci-of-billing", "ci-of-nobody")
        ]
        for one in told:
            one.pop("traceId")
        one, other = (json.dumps(one).replace("billing", "nobody") for one in told)
        assert one == other


def test_a_failure_of_another_project_is_like_one_that_never_was(site: ApiSite):
    out = lay_out(site, "billing")
    app, path = site.app(), f"{API_PREFIX}/dead-letters"
    ada = site.client(somebody(role=Role.VIEWER, project_id="shop"), app)
    whole = out.letter.fingerprint
    assert whole is not None
    never = "0123456789"
    assert not whole.startswith(never)
    for beginning in (whole[:10], never):
        answer = ada.get(path, params={"fingerprint": beginning})
        assert (answer.status_code, answer.json().get("items")) == (404, None), answer.text
    theirs = site.client(somebody(role=Role.VIEWER, project_id="billing"), app)
    found = theirs.get(path, params={"fingerprint": whole[:10]}).json()["items"]
    assert [one["letterId"] for one in found] == [out.letter.id]


# --- what is inside


def test_what_fails_within_is_told_to_the_log_alone(
    small_site: ApiSite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def away(*_: object) -> None:
        raise StoreUnavailableError(
            'the run store db.internal:5432/factory does not answer: no user "factory_api"'
        )

    monkeypatch.setattr("api.routes.runs.visible_run", away)
    answer = small_site.client(somebody()).get(f"{RUNS}/run-1")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["type"].endswith(":store-unavailable")
    assert "internal" not in answer.text
    assert "factory_api" not in answer.text
    assert "db.internal:5432" in caplog.text


@pytest.mark.parametrize("address", ["fec0::1", "64:ff9b:1::7f00:1", "5f00::1", "2002:7f00:1::"])
def test_addresses_that_lead_inside_are_refused_though_python_calls_them_global(address: str):
    with pytest.raises(DataRefusedError):
        addresses_of(parse_url(f"https://[{address}]/hook"), ["*"])
