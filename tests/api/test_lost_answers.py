"""Requests whose answer was lost are sent again: the same answer, and nothing done twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import RunStatus
from tests.api.laid_out import LaidOut, lay_out
from tests.api.site import ApiSite, somebody

API = "/api/v1"
NUMBERS = count(1)
REASON = {"reason": "the host is gone"}


@dataclass(frozen=True)
class Repeat:
    """A request that is sent twice.

    Attributes:
        path: with the names of what is laid out.
        ready: asked before it, in this order.
        entries: that it leaves in the audit: of the run or order itself, and of each letter.
        key: for idempotency.
        by: who asks.
    """

    path: str
    body: dict[str, Any] | None = None
    ready: tuple[str, ...] = ()
    verb: str = "POST"
    entries: int = 1
    key: str | None = None
    by: str = "ada"


SAME: dict[str, Repeat] = {
    "POST /runs": Repeat(
        "/runs",
        {"templateRecipeId": "service", "inputs": {"service_name": "orders"}},
        key="once",
    ),
    "POST /runs/{runId}/cancel": Repeat("/runs/{waiting}/cancel"),
    "POST /runs/{runId}/cancel with undo": Repeat("/runs/{waiting}/cancel", {"undo": True}),
    "POST /runs/{runId}/pause": Repeat("/runs/{waiting}/pause"),
    "POST /runs/{runId}/resume": Repeat("/runs/{waiting}/resume", ready=("/runs/{waiting}/pause",)),
    "POST /runs/{runId}/retry": Repeat("/runs/{failed}/retry", entries=2),
    "POST /runs/{runId}/retry with a change": Repeat(
        "/runs/{failed}/retry", {"inputs": {"size": 2}}, entries=2
    ),
    "POST /runs/{runId}/jobs/{step}/retry": Repeat("/runs/{failed}/jobs/make/retry", entries=2),
    "POST /runs/{runId}/undo": Repeat("/runs/{failed}/undo"),
    "POST /dead-letters/{letterId}/retry": Repeat("/dead-letters/{letter}/retry"),
    "POST /dead-letters/{letterId}/retry with a change": Repeat(
        "/dead-letters/{letter}/retry", {"timeoutSeconds": 60, "beside": ["check"]}
    ),
    "POST /dead-letters/{letterId}/discard": Repeat("/dead-letters/{letter}/discard", REASON),
    "POST /dead-letters/{letterId}/discard with undo": Repeat(
        "/dead-letters/{letter}/discard", {**REASON, "undo": True}, entries=2
    ),
    "POST /dead-letters/actions/retry": Repeat("/dead-letters/actions/retry?project={project}"),
    "POST /dead-letters/actions/retry with a canary": Repeat(
        "/dead-letters/actions/retry?project={project}",
        {"canary": True, "expectedCount": 1},
        entries=2,
    ),
    "POST /redrive-orders/{orderId}/stop": Repeat("/redrive-orders/{order}/stop", REASON),
    "POST /approvals/{approvalId}/grant": Repeat("/approvals/{approval}/grant", by="grace"),
    "POST /approvals/{approvalId}/deny": Repeat(
        "/approvals/{approval}/deny", {"comment": "no"}, by="grace"
    ),
    "POST /keys/{keyId}/revoke": Repeat("/keys/{key}/revoke"),
    "POST /webhooks/{source}/disable": Repeat("/webhooks/{source}/disable"),
    "DELETE /callbacks/{callbackId}": Repeat("/callbacks/{callback}", verb="DELETE"),
}
"""What stands already is answered with, as it was the first time."""

ANEW = {
    "POST /runs/actions/cancel": "does what is left",
    "POST /runs/actions/retry": "does what is left",
    "POST /dead-letters/actions/discard": "does what is left",
    "POST /webhooks/deliveries/{deliveryId}/again": "begins no run twice: test_webhooks",
    "POST /webhooks/{source}": "the replay table knows it: test_webhooks",
    "POST /keys": "a key is told once: the one that was never used is revoked",
    "POST /keys/{keyId}/rotate": "a key is told once, so the answer names the one to rotate",
    "POST /webhooks": "a secret is told once, so its name is taken: rotate it",
    "POST /webhooks/{source}/rotate": "another secret, beside the lost one",
    "POST /webhooks/{source}/subscribe": "the host has it already: test_subscriptions",
    "POST /callbacks": "a secret is told once: the lost one is removed",
    "POST /runs/preview": "changes nothing",
    "POST /memory/search": "changes nothing",
    "POST /templates/suggest": "changes nothing",
    "DELETE /memory/runs/{runId}": "erases what is left: test_memory_forget",
    "DELETE /memory/projects/{projectId}": "erases what is left: test_memory_forget",
    "DELETE /memory": "erases what is left: test_memory_forget",
    "POST /memory/context": "the same package: test_memory_context",
    "POST /artifacts/{artifactId}/expiry": "changes nothing: test_artifacts",
    "POST /artifacts/{artifactId}/link": "another link to the same bytes: test_artifact_links",
    "POST /holds": "a second hold beside the first: both are listed, and released",
    "POST /holds/{holdId}/release": "changes nothing: test_artifacts",
    "POST /memory/documents": "changes nothing: test_memory_documents",
}
"""What has an answer of its own each time, and why."""


@pytest.fixture(scope="module")
def admin(shared_site: ApiSite) -> TestClient:
    return shared_site.client(somebody())


@pytest.fixture
def there(shared_site: ApiSite) -> LaidOut:
    """In a project of its own."""
    return lay_out(shared_site, f"project-{next(NUMBERS)}")


@pytest.fixture
def names(there: LaidOut) -> dict[str, str]:
    """What paths name, of what is laid out."""
    return {
        "failed": there.failed,
        "waiting": there.waiting,
        "letter": there.letter.id,
        "order": there.order.id,
        "approval": there.approval.id,
        "project": there.project,
    }


MADE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "key": ("keys", "keyId", {"name": "ci", "grants": [{"role": "viewer"}]}),
    "source": ("webhooks", "sourceId", {"name": "x", "kind": "github", "options": {}}),
    "callback": ("callbacks", "callbackId", {"url": "https://a.example/x"}),
}
"""What a path names that has to be made first: where, and how its id is called."""


def make(admin: TestClient, wanted: Repeat, names: dict[str, str]) -> None:
    for name, (path, id_name, body) in MADE.items():
        if f"{{{name}}}" in wanted.path:
            answer = admin.post(f"{API}/{path}", json=body).json()
            names[name] = answer.get("made", answer)[id_name]


def ask(client: TestClient, wanted: Repeat, names: dict[str, str]) -> Response:
    headers = {} if wanted.key is None else {"Idempotency-Key": wanted.key}
    address = API + wanted.path.format(**names)
    return client.request(wanted.verb, address, json=wanted.body, headers=headers)


def test_every_route_that_changes_something_says_what_a_second_time_is(shared_site: ApiSite):
    asked = {
        f"{verb.upper()} {path.removeprefix(API)}"
        for path, verbs in shared_site.app().openapi()["paths"].items()
        for verb in verbs
        if verb not in ("get", "options")
    }
    assert {name.partition(" with ")[0] for name in SAME} | ANEW.keys() == asked


@pytest.mark.parametrize("name", SAME)
def test_a_repeat_is_answered_alike_and_does_nothing(
    shared_site: ApiSite, admin: TestClient, names: dict[str, str], name: str
):
    wanted = SAME[name]
    make(admin, wanted, names)
    for path in wanted.ready:
        assert admin.post(API + path.format(**names)).status_code == 200
    before, client = entries(shared_site), shared_site.client(somebody(name=wanted.by))
    first = ask(client, wanted, names)
    assert first.is_success, first.text
    after = entries(shared_site)
    assert after - before == wanted.entries
    again = ask(client, wanted, names)
    assert (again.status_code, again.json().keys()) == (first.status_code, first.json().keys())
    assert changing(again.json()) == changing(first.json())
    assert entries(shared_site) == after


def entries(site: ApiSite) -> int:
    """How many the audit has."""
    with site.store.begin("acme", read_only=True) as tx:
        return len(tx.list_audit(limit=100_000))


def changing(body: dict[str, Any]) -> dict[str, Any]:
    """An answer, but for whether the vote counted."""
    return {name: value for name, value in body.items() if name != "counted"}


# --- what is no repeat


def test_a_contradiction_stays_one(shared_site: ApiSite, admin: TestClient, there: LaidOut):
    bob = shared_site.client(somebody(name="bob"))
    letter, run = f"{API}/dead-letters/{there.letter.id}", f"{API}/runs/{there.waiting}"
    order = f"{API}/redrive-orders/{there.order.id}/stop"
    assert admin.post(f"{run}/resume").status_code == 409, "nobody has put it aside"
    assert admin.post(order, json=REASON).status_code == 200
    assert admin.post(order, json={"reason": "another"}).status_code == 409
    assert bob.post(order, json=REASON).status_code == 409
    assert admin.post(f"{letter}/discard", json=REASON).status_code == 200
    assert bob.post(f"{letter}/discard", json=REASON).status_code == 409
    assert admin.post(f"{letter}/discard", json={"reason": "another"}).status_code == 409
    assert admin.post(f"{letter}/discard", json={**REASON, "undo": True}).status_code == 409
    assert admin.post(f"{letter}/retry").status_code == 200
    assert admin.post(f"{letter}/discard", json=REASON).status_code == 409, "it is under way again"
    assert admin.post(f"{letter}/retry", json={"timeoutSeconds": 9}).status_code == 409
    assert bob.post(f"{letter}/retry").status_code == 409
    assert admin.post(f"{API}/runs/{there.failed}/retry").status_code == 409, "its letter went"
    assert admin.post(f"{API}/runs/{there.failed}/cancel").status_code == 200
    assert admin.post(f"{letter}/retry").status_code == 409, "it was cancelled since"


def test_a_run_that_went_on_meanwhile_was_resumed_and_one_that_ended_so_too(
    shared_site: ApiSite, admin: TestClient, there: LaidOut
):
    run = f"{API}/runs/{there.waiting}"
    assert admin.post(f"{run}/pause").status_code == admin.post(f"{run}/resume").status_code == 200
    bob = shared_site.client(somebody(name="bob"))
    for status in (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.SUCCEEDED):
        with shared_site.store.begin("acme") as tx:
            stands = tx.lock_run(there.waiting)
            if stands.status is not status:
                tx.save_run(stands, stands.move_to(status, shared_site.runtime.clock.now()))
        again = admin.post(f"{run}/resume")
        assert (again.status_code, again.json()["status"]) == (200, status)
    assert bob.post(f"{run}/resume").status_code == 409
    assert admin.post(f"{run}/pause").status_code == 409


def test_a_run_that_failed_again_goes_round_again(
    shared_site: ApiSite, admin: TestClient, there: LaidOut
):
    retry = f"{API}/runs/{there.failed}/retry"
    assert admin.post(retry).status_code == admin.post(retry).status_code == 200
    assert shared_site.stands("acme", there.failed).cycle == 1
    with shared_site.store.begin("acme") as tx:
        run, now = tx.lock_run(there.failed), shared_site.runtime.clock.now()
        for status in (RunStatus.RUNNING, RunStatus.FAILED):
            run, before = run.move_to(status, now), run
            tx.save_run(before, run)
        job = tx.get_job(there.failed, "make")
        for status in (JobStatus.RUNNING, JobStatus.FAILED):
            job, was = job.move_to(status, now), job
            tx.save_job(was, job)
    assert admin.post(retry).status_code == 200
    assert shared_site.stands("acme", there.failed).cycle == 2


@pytest.mark.parametrize("way", ["retry", "discard"])
def test_of_two_at_once_both_are_answered_and_one_is_done(site: ApiSite, way: str):
    there = lay_out(site, "shop")
    app = site.app()
    address = f"{API}/dead-letters/{there.letter.id}/{way}"
    clients = [site.client(somebody(), app) for _ in range(2)]
    body = REASON if way == "discard" else None
    with ThreadPoolExecutor(2) as pool:
        sent = [pool.submit(client.post, address, json=body) for client in clients]
    assert [one.result().status_code for one in sent] == [200, 200]
    with site.store.begin("acme", read_only=True) as tx:
        assert len(tx.list_audit(subject=there.letter.id)) == 1
