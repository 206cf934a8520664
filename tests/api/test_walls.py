"""Every route, asked by those who may not see: what is another's is what never was.

A new route needs a line in one of the tables: ``BY_ID`` where its address, or its query, names one
thing; ``OVER_MANY`` where it looks over what there is; ``OF_NO_TENANT`` where nothing is anybody's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from sqlalchemy import event

from factory_runtime.domain.access import Principal, Right, Role
from factory_runtime.domain.hold import HoldScope
from factory_runtime.domain.webhook import SourceKind
from factory_runtime.run_store import SqlRunStore
from factory_runtime.wire.paths import API_PREFIX
from factory_runtime.wire.webhook import SourceOptions
from tests.api.laid_out import lay_out
from tests.api.site import TEMPLATE, ApiSite, somebody
from tests.builders import FINGERPRINT, TENANT
from tests.two_tenants import CALLBACK, DELIVERY, HOLD, INTRUDER, KEY, PACKAGE, after

_NOTHING: Mapping[str, Any] = {}
BY_ID: Mapping[str, Any] = {
    "GET /runs/{runId}": None,
    "GET /runs/{runId}/jobs": None,
    "GET /runs/{runId}/events": None,
    "GET /runs/{runId}/plan": None,
    "GET /runs/{runId}/effects": None,
    "GET /runs/{runId}/approvals": None,
    "GET /runs/{runId}/dead-letters": None,
    "GET /runs/{runId}/artifacts": None,
    "GET /runs/{runId}/logs": None,
    "GET /runs/{runId}/memories": None,
    "DELETE /memory/runs/{runId}": None,
    "POST /runs/{runId}/pause": None,
    "POST /runs/{runId}/resume": None,
    "POST /runs/{runId}/jobs/{step}/retry": _NOTHING,
    "POST /runs/{runId}/retry": _NOTHING,
    "POST /runs/{runId}/undo": _NOTHING,
    "POST /runs/{runId}/cancel": _NOTHING,
    "GET /redrive-orders/{orderId}": None,
    "POST /redrive-orders/{orderId}/stop": {"reason": "enough"},
    "GET /dead-letters/{letterId}": None,
    "GET /dead-letters/{letterId}/hints": None,
    "POST /dead-letters/{letterId}/retry": _NOTHING,
    "POST /dead-letters/{letterId}/discard": {"reason": "nobody wants it"},
    "GET /approvals/{approvalId}": None,
    "POST /approvals/{approvalId}/grant": _NOTHING,
    "POST /approvals/{approvalId}/deny": {"comment": "no"},
    "GET /artifacts/{artifactId}": None,
    "GET /artifacts/{artifactId}/body": None,
    "POST /artifacts/{artifactId}/expiry": {"onceDownloaded": True},
    "POST /holds/{holdId}/release": None,
    "POST /artifacts/{artifactId}/link": None,
    "GET /templates/{templateId}": None,
    "GET /templates/{templateId}/versions/{version}": None,
    "GET /memory/context/{contextPackageId}": None,
    "POST /webhooks/deliveries/{deliveryId}/again": None,
    "POST /webhooks/{source}/rotate": _NOTHING,
    "POST /webhooks/{source}/subscribe": {"event": "git.push", "url": "https://f.example"},
    "POST /webhooks/{source}/disable": None,
    "POST /webhooks/{source}": {"forged": True},
    "DELETE /callbacks/{callbackId}": None,
    "POST /keys/{keyId}/rotate": _NOTHING,
    "POST /keys/{keyId}/revoke": None,
}
OVER_MANY: Mapping[str, Any] = {
    "GET /runs": None,
    "GET /runs?text=service": None,
    "GET /runs?traceId={traceId}": None,
    "GET /runs/actions/cancel": None,
    "POST /runs/actions/cancel": _NOTHING,
    "GET /runs/actions/retry": None,
    "POST /runs/actions/retry": _NOTHING,
    "GET /dead-letters": None,
    "GET /dead-letters/groups": None,
    "GET /dead-letters/actions/retry": None,
    "POST /dead-letters/actions/retry": _NOTHING,
    "GET /dead-letters/actions/discard": None,
    "POST /dead-letters/actions/discard": {"reason": "nobody wants them"},
    "GET /redrive-orders": None,
    "GET /approvals": None,
    "GET /effects": None,
    "GET /templates": None,
    "GET /policy": None,
    "GET /artifacts": None,
    "GET /holds": None,
    "GET /audit": None,
    "GET /audit/head": None,
    "GET /webhooks": None,
    "GET /webhooks/deliveries": None,
    "GET /callbacks": None,
    "GET /keys": None,
    "GET /me": None,
}
OF_NO_PROJECT = {
    "GET /templates",
    "GET /templates/{templateId}",
    "GET /templates/{templateId}/versions/{version}",
}
"""Whoever is of the tenant may look at these."""
TOLD_TO_ADMINS = {
    "POST /webhooks/{source}/rotate",
    "POST /webhooks/{source}/subscribe",
    "POST /webhooks/{source}/disable",
    "DELETE /callbacks/{callbackId}",
}
"""An admin of one project can tell those of the tenant's other projects from none."""
OF_NO_TENANT = {
    "POST /runs",  # names templates, as GET /templates/{templateId} does, and its own memories
    "POST /runs/preview",
    "POST /memory/search",  # tests/contract/test_memory_index.py
    "POST /memory/context",
    "POST /memory/documents",  # tests/api/test_memory_documents.py
    "DELETE /memory/projects/{projectId}",  # tests/api/test_memory_forget.py
    "DELETE /memory",
    "POST /templates/suggest",  # tests/api/test_suggest.py
    "POST /holds",  # tests/api/test_artifacts.py
    "POST /webhooks",
    "POST /callbacks",
    "POST /keys",
    "OPTIONS /webhooks/{source}",  # says the same of every address
    "GET /health",
    "GET /health/live",
    "GET /health/ready",
    "GET /metrics",
    "GET /openapi.json",
    "GET /docs",
    "GET /docs/{asset}",
}
TEMPLATE_ID = "of-their-own"
_PACKAGE = replace(PACKAGE, memory_ids=(), scores=(), projects=("shop",), expires_at=after(10**9))


@dataclass(frozen=True)
class Answer:
    """What one who asks can tell answers apart by."""

    status: int
    headers: frozenset[tuple[str, str]]
    body: str
    statements: int


class Asking:
    """Asks a site's routes, and counts what each answer costs the database."""

    def __init__(self, site: ApiSite) -> None:
        self.site = site
        self._statements = 0

    def ask(self, client: TestClient, route: str, ids: Mapping[str, str], body: Any) -> Answer:
        method, path = route.split(" ")
        address = API_PREFIX + path.format(**ids)
        with self._counted():
            answer = client.request(method, address, json=body)
        text = re.sub(r'"traceId":"[^"]*"', "", answer.text)
        for name, value in ids.items():
            text = text.replace(value, f"<{name}>")
        told = {"content-type", "content-length", "www-authenticate", "cache-control", "allow"}
        headers = {(name, value) for name, value in answer.headers.items() if name in told}
        return Answer(answer.status_code, frozenset(headers), text, self._statements)

    @contextmanager
    def _counted(self) -> Generator[None]:
        def count(*_: object) -> None:
            self._statements += 1

        self._statements = 0
        store = self.site.store
        assert isinstance(store, SqlRunStore)
        event.listen(store.engine, "before_cursor_execute", count)
        try:
            yield
        finally:
            event.remove(store.engine, "before_cursor_execute", count)


@dataclass(frozen=True)
class Scene:
    """A tenant that has all there is in one project; the names of it, and names that never were.

    The unknown ones are as long as the others: so answers are, too.
    """

    site: ApiSite
    theirs: Mapping[str, str]
    unknown: Mapping[str, str]


@pytest.fixture
def scene(tmp_path: Path, database_url: str, database_store: SqlRunStore) -> Scene:
    often = "1000000/second"
    site = ApiSite(
        tmp_path,
        database_url,
        database_store,
        api_rate=often,
        api_tenant_rate=often,
    )
    there = lay_out(site, "shop")
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "template.yaml").write_text(TEMPLATE.format(name=TEMPLATE_ID))
    site.runtime.publisher.publish(TENANT, str(folder), "ada")
    source, _secret = site.runtime.webhook_sources.add(
        TENANT, "ada", "hub", SourceKind.GITHUB, "shop", SourceOptions()
    )
    with site.store.begin(TENANT) as tx:
        tx.add_delivery(replace(DELIVERY, source_id=source.id))
        tx.add_callback(replace(CALLBACK, run_id=None, project_id="shop"))
        tx.add_api_key(KEY)
        tx.add_package(_PACKAGE)
        tx.add_hold(replace(HOLD, subject_id=there.artifact.id, scope=HoldScope.ARTIFACT))
        trace_id = tx.get_run(there.failed).trace_id
    theirs = {
        "runId": there.failed,
        "step": "make",
        "orderId": there.order.id,
        "letterId": there.letter.id,
        "approvalId": there.approval.id,
        "artifactId": there.artifact.id,
        "templateId": TEMPLATE_ID,
        "version": "1.0.0",
        "deliveryId": DELIVERY.id,
        "source": source.id,
        "callbackId": CALLBACK.id,
        "keyId": KEY.id,
        "holdId": HOLD.id,
        "contextPackageId": _PACKAGE.id,
        "traceId": trace_id,
    }
    kept = {"step", "version"}
    unknown = {name: _other(id_) for name, id_ in theirs.items() if name not in kept}
    return Scene(site, theirs, {**theirs, **unknown})


def _other(id_: str) -> str:
    return id_[:-3] + ("abc" if not id_.endswith("abc") else "cba")


def those_who_may_not_see() -> Mapping[str, Principal]:
    return {
        "another tenant": somebody(tenant_id=INTRUDER, name="eve"),
        "a viewer of another project": somebody(role=Role.VIEWER, project_id="mill", name="bob"),
        "an admin of another project": somebody(role=Role.ADMIN, project_id="mill", name="cleo"),
    }


def may_look(principal: Principal, route: str) -> bool:
    told = route in TOLD_TO_ADMINS and principal.may(Right.ADMINISTER)
    return principal.tenant_id == TENANT and (route in OF_NO_PROJECT or told)


def test_every_route_is_tried_here(small_site: ApiSite) -> None:
    found: set[str] = set()
    for route in iter_route_contexts(small_site.app().routes):
        path = str(route.path).removeprefix(API_PREFIX)
        found |= {f"{method} {path}" for method in (route.methods or set()) - {"HEAD"}}
    tried = {line.partition("?")[0] for line in (*BY_ID, *OVER_MANY, *OF_NO_TENANT)}
    assert sorted(found) == sorted(tried)


def test_what_is_another_s_is_what_never_was(scene: Scene) -> None:
    asking, told_apart = Asking(scene.site), dict[str, Any]()
    for who, principal in those_who_may_not_see().items():
        client = scene.site.client(principal)
        for route, body in BY_ID.items():
            if may_look(principal, route):
                continue
            asking.ask(client, route, scene.unknown, body)  # what is read once is read by now
            unknown = asking.ask(client, route, scene.unknown, body)
            foreign = asking.ask(client, route, scene.theirs, body)
            refused = foreign.status in {401, 403, 404}
            if foreign != unknown or not refused:
                told_apart[f"{who}: {route}"] = (foreign, unknown)
    assert told_apart == {}
    # All of it is there for the tenant itself, as it was.
    admin = scene.site.client(somebody())
    for route, body in BY_ID.items():
        if route != "POST /webhooks/{source}":
            answer = asking.ask(admin, route, scene.theirs, body)
            assert answer.status not in {401, 404}, (route, answer)


def test_who_looks_over_many_sees_and_changes_nothing_of_another_s(scene: Scene) -> None:
    admin, site = scene.site.client(somebody()), scene.site
    of_no_list = {"step", "version", "traceId", "contextPackageId"}
    ids = {id_ for name, id_ in scene.theirs.items() if name not in of_no_list}
    words = {*ids, FINGERPRINT, "shop"}

    def shown(client: TestClient, route: str, body: Any) -> tuple[str, set[str]]:
        method, path = route.split(" ")
        answer = client.request(method, API_PREFIX + path.format(**scene.theirs), json=body)
        assert answer.status_code in {200, 202, 403, 404}, (route, answer.text)
        return answer.text, {word for word in words if word in answer.text}

    reads = {route: body for route, body in OVER_MANY.items() if route.startswith("GET")}
    before = {route: shown(admin, route, body)[1] for route, body in reads.items()}
    seen_by_its_tenant = set[str]().union(*before.values())
    assert seen_by_its_tenant == words, "there is all of it to see"
    for who, principal in those_who_may_not_see().items():
        client = site.client(principal)
        for route, body in OVER_MANY.items():
            if may_look(principal, route):
                continue
            text, found = shown(client, route, body)
            assert found == set(), (who, route, text)
            done = json.loads(text)
            if route.startswith("POST") and "status" not in done:
                assert done["count"] == 0, (who, route, text)
    after = {route: shown(admin, route, body)[1] for route, body in reads.items()}
    assert after == before
