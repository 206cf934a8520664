"""Webhooks: what is signed begins runs, each once; what is not leaves nothing."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from factory_runtime.domain.access import Role
from factory_runtime.domain.errors import StoreUnavailableError
from factory_runtime.domain.run import RunStatus
from factory_runtime.domain.webhook import KEPT_FOR, DeliveryFilter
from factory_runtime.services.old_deliveries import drop_old_deliveries
from tests.api.hooks import (
    HOOKS,
    Sender,
    a_sender,
    answering,
    changed,
    payload,
    runs_of,
)
from tests.api.site import ApiSite, somebody
from tests.small_factory import SettableClock

CREATED = payload("github-repository-created")


def deliveries(site: ApiSite, tenant: str = "acme") -> Any:
    with site.store.begin(tenant, read_only=True) as tx:
        return tx.list_deliveries(DeliveryFilter())


def test_a_signed_event_begins_the_runs_of_the_templates_that_it_matches(site: ApiSite):
    sender = a_sender(site, "github")
    name = "${{ event.repository.name }}"
    answering(site, "created", "github", "${{ event.action == 'created' }}", name)
    answering(site, "typed", "our-github", "${{ event.type == 'repository.created' }}", name)
    answering(site, "pushed", "github", "${{ event.type == 'push' }}", name)
    answering(site, "other", "standard")
    told = sender.send(CREATED)
    assert told.status_code == 202, told.text
    answer = told.json()
    assert [one["templateRecipeId"] for one in answer["matched"]] == ["created", "typed"]
    first, second = (one["runId"] for one in answer["matched"])
    assert told.headers["location"] == f"/api/v1/runs/{first}"
    assert (answer["runId"], answer["status"]) == (first, "matched")
    run = site.stands("acme", second)
    assert (run.requested_by, run.project_id) == ("webhook:our-github", "shop")
    assert run.delivery_id == "72d3162e-cc78-11e3-81ab-4c9367dc0958"
    assert run.inputs.inline == {"service_name": "hello-world"}


def test_an_event_that_matches_nothing_is_kept_and_shown_for_a_week(site: ApiSite):
    sender = a_sender(site, "github")
    answer = sender.send(payload("github-push"))
    assert (answer.status_code, answer.json()["matched"]) == (202, [])
    assert "location" not in answer.headers
    operator = site.client(somebody(role=Role.OPERATOR))
    (shown,) = operator.get(f"{HOOKS}/deliveries", params={"type": "push"}).json()["items"]
    assert (shown["status"], shown["sourceId"]) == ("unmatched", sender.source_id)
    assert operator.get(f"{HOOKS}/deliveries", params={"status": "matched"}).json()["items"] == []
    clock = SettableClock()
    clock.at = deliveries(site)[0].received_at + KEPT_FOR
    assert drop_old_deliveries(site.store, clock) == 0
    clock.pass_time(timedelta(seconds=1))
    assert drop_old_deliveries(site.store, clock) == 1
    assert deliveries(site) == ()


@pytest.mark.parametrize("kind", ["github", "standard", "hmac"])
def test_what_is_not_signed_as_it_came_leaves_nothing(small_site: ApiSite, kind: str):
    sender, stranger = a_sender(small_site, kind), a_sender(small_site, kind, tenant="other")
    body = payload("standard")
    good = sender.headers(body)
    (signature,) = [key for key in good if "sign" in key.lower()]
    unsigned = {key: value for key, value in good.items() if key != signature}
    twice = [*good.items(), (signature, stranger.headers(body)[signature])]
    refused = [
        sender.send(body.replace(b"John", b"Joan"), good),
        sender.send(body, stranger.headers(body)),
        sender.send(body, unsigned),
        sender.send(body, {**unsigned, signature: ""}),
        sender.send(body, {**unsigned, signature: "nonsense"}),
        sender.client.post(sender.path, content=body, headers=twice),
        sender.client.post(f"{HOOKS}/hook-unknown", content=body, headers=good),
    ]
    small_site.client(somebody()).post(f"{sender.path}/disable")
    refused.append(sender.send(body))
    assert [answer.status_code for answer in refused] == [401] * len(refused)
    problems = [answer.json() | {"traceId": None} for answer in refused]
    assert all(problem == problems[0] for problem in problems)
    assert deliveries(small_site) == deliveries(small_site, "other") == ()


@pytest.mark.parametrize("kind", ["standard", "hmac"])
def test_a_timestamp_counts_for_five_minutes(small_site: ApiSite, kind: str):
    sender = a_sender(small_site, kind)
    for late, status in ((310, 401), (-310, 401), (290, 202), (-290, 202)):
        sender.late = late
        assert sender.send(payload("standard")).status_code == status, late


def test_who_guesses_is_put_off_and_who_signs_is_not(small_site: ApiSite):
    sender, app = a_sender(small_site, "github"), small_site.app()
    sender.client = small_site.client(app=app)
    forged = sender.headers(CREATED) | {"X-Hub-Signature-256": "sha256=00"}
    statuses = [sender.send(CREATED, forged).status_code for _ in range(40)]
    assert set(statuses) == {401, 429}
    assert sender.send(CREATED).status_code == 202


def test_of_two_signatures_in_one_header_a_good_one_counts(small_site: ApiSite):
    sender, body = a_sender(small_site, "standard"), payload("standard")
    good = sender.headers(body)
    both = f"v1,bm90aGluZw== {good['webhook-signature']}"
    assert sender.send(body, good | {"webhook-signature": both}).status_code == 202


def test_a_delivery_begins_its_run_once_however_often_it_comes(site: ApiSite):
    sender = a_sender(site, "standard")
    answering(site, "greet", "standard")
    body = payload("standard")
    first = sender.send(body).json()
    sender.late = 60  # the sender's next try has a time of its own
    assert sender.send(body).json() == first
    assert len(runs_of(site)) == len(deliveries(site)) == 1


def test_a_delivery_caught_and_sent_under_another_id_is_the_same(small_site: ApiSite):
    sender = a_sender(small_site, "github")
    answering(small_site, "greet", "github")
    first = sender.send(CREATED).json()
    again = sender.send(CREATED, sender.headers(CREATED, "another")).json()
    assert again == first
    assert len(runs_of(small_site)) == 1


def test_an_id_that_comes_with_another_body_is_refused(small_site: ApiSite):
    sender = a_sender(small_site, "github")
    sender.send(CREATED)
    other = sender.send(changed(CREATED, action="deleted"))
    assert (other.status_code, other.json()["type"].rpartition(":")[2]) == (
        409,
        "replayed-delivery",
    )


def test_the_same_delivery_twice_at_once_is_one_run_and_both_are_told(site: ApiSite):
    sender = a_sender(site, "github")
    answering(site, "greet", "github")
    answering(site, "refused", "github", text="NO")
    senders = 4
    barrier = threading.Barrier(senders)

    def send(_: int) -> Any:
        barrier.wait()
        return sender.send(CREATED)

    with ThreadPoolExecutor(senders) as pool:
        answers = list(pool.map(send, range(senders)))
    assert [answer.status_code for answer in answers] == [202] * senders
    assert len({json.dumps(answer.json(), sort_keys=True) for answer in answers}) == 1
    assert len(runs_of(site)) == 2  # one of each template


def test_inputs_that_do_not_fit_are_recorded_and_no_failure_of_the_delivery(small_site: ApiSite):
    sender = a_sender(small_site, "github")
    answering(small_site, "refused", "github", text="NO")
    answering(small_site, "unmapped", "github", text="${{ event.nothing.there }}")
    answer = sender.send(CREATED)
    refused, unmapped = answer.json()["matched"]
    assert answer.status_code == 202
    assert small_site.stands("acme", refused["runId"]).status is RunStatus.FAILED
    assert "service_name" in refused["error"]
    assert unmapped["runId"] is None
    assert "undefined" in unmapped["error"]


def ended_worker() -> str:
    """The name of a worker whose process has ended."""
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    return f"{socket.gethostname()}:{process.pid}"


@pytest.mark.parametrize("lost", ["before", "after", "killed"])
def test_what_was_killed_at_a_delivery_is_finished_once(
    site: ApiSite, monkeypatch: pytest.MonkeyPatch, lost: str
):
    sender = a_sender(site, "github")
    answering(site, "greet", "github")
    answering(site, "refused", "github", text="NO")
    desk = site.runtime.webhook_desk
    if lost == "killed":
        desk = replace(desk, holder=ended_worker())
        site.runtime.__dict__["webhook_desk"] = desk

    def die(*_: Any, **__: Any) -> None:
        raise StoreUnavailableError("killed here")

    def stay(*_: Any) -> None:
        """Nobody is left who could give the lock back."""

    with monkeypatch.context() as patch:
        if lost == "before":
            patch.setattr(type(desk.beginner), "begin", die)
        else:
            patch.setattr(type(desk), "_save", die)
        if lost == "killed":
            patch.setattr(type(desk), "_unlock", stay)
        answer = sender.send(CREATED).json()
    assert (answer["status"], answer["matched"]) == ("received", [])
    if lost == "before":
        clock = SettableClock()
        clock.at = deliveries(site)[0].received_at + timedelta(seconds=31)
        site.runtime.deliveries._clock = clock  # pyright: ignore[reportPrivateUsage]
        assert site.runtime.deliveries.send_due(timedelta(seconds=20)).done == 1
    told = sender.send(CREATED).json()  # the sender tries again
    assert told["status"] == "matched"
    assert {one["runId"] for one in told["matched"]} == {run.id for run in runs_of(site)}
    assert len(runs_of(site)) == 2


def test_an_operator_has_a_delivery_decided_again(small_site: ApiSite):
    sender = a_sender(small_site, "github")
    answering(small_site, "late", "github", text="NO")
    answering(small_site, "greet", "github")
    before = sender.send(CREATED).json()
    answering(small_site, "late", "github", text="better")
    operator = small_site.client(somebody(role=Role.OPERATOR))
    after = operator.post(f"{HOOKS}/deliveries/{before['id']}/again").json()
    greet, late = after["matched"]
    assert greet == before["matched"][0]
    assert late["runId"] != before["matched"][1]["runId"]
    assert small_site.stands("acme", late["runId"]).status is RunStatus.VALIDATED
    of_shop = small_site.client(somebody(role=Role.OPERATOR, project_id="shop"))
    assert of_shop.post(f"{HOOKS}/deliveries/{before['id']}/again").status_code == 403
    foreign = small_site.client(somebody("other", role=Role.OPERATOR))
    assert foreign.post(f"{HOOKS}/deliveries/{before['id']}/again").status_code == 404


NO_EVENTS = (
    (b"{}", "text/plain", 415),
    (b"{}", "application/x-www-form-urlencoded", 415),
    (b"{}", "application/json; charset=utf-16", 415),
    (b"{}", "", 415),
    (b"{", "application/json", 422),
    (b'{"a": NaN}', "application/json", 422),
    (b'{"a": "\xff"}', "application/json", 422),
    (b'{"a": "\\u0000"}', "application/json", 422),
    (b"[" * 100_000 + b"]" * 100_000, "application/json", 422),
    (b"[" * 40 + b"]" * 40, "application/json", 422),
    (b'{"a": ' + b"9" * 5000 + b"}", "application/json", 422),
    (b" " * (1 << 20) + b"{}", "application/json", 413),
)


def test_a_body_that_is_no_event_is_refused_and_not_kept(small_site: ApiSite):
    sender = a_sender(small_site, "github")
    for body, content_type, status in NO_EVENTS:
        answer = sender.send(body, sender.headers(body) | {"Content-Type": content_type})
        assert answer.status_code == status, (body[:20], content_type, answer.text)
    assert deliveries(small_site) == ()
    listed = b"[1, 2]"
    utf_8 = {"Content-Type": "application/json; charset=UTF-8"}
    assert sender.send(listed, sender.headers(listed) | utf_8).status_code == 202


def test_a_secret_is_rotated_with_an_overlap(small_site: ApiSite):
    admin, clock = small_site.client(somebody()), SettableClock()
    sender = a_sender(small_site, "github")
    old = sender.secret
    rotated = admin.post(f"{sender.path}/rotate", json={"overlapSeconds": 3600}).json()
    for number, secret in enumerate((old, rotated["secret"])):
        sender.secret, body = secret, changed(CREATED, number=number)
        assert sender.send(body, sender.headers(body, f"d{number}")).status_code == 202
    with small_site.store.begin("acme", read_only=True) as tx:
        source = tx.get_webhook_source(sender.source_id)
    clock.at = source.created_at + timedelta(hours=2)
    assert len(source.living_secrets(source.created_at)) == 2
    assert len(source.living_secrets(clock.at)) == 1
    listed = admin.get(HOOKS).text
    for secret in (old, rotated["secret"], *(one.sealed for one in source.secrets)):
        assert secret not in listed


def test_sources_are_for_admins_and_within_their_tenant(small_site: ApiSite):
    sender = a_sender(small_site, "github")
    foreign = small_site.client(somebody("other"))
    assert foreign.get(HOOKS).json()["items"] == []
    assert foreign.post(f"{sender.path}/rotate").status_code == 404
    assert foreign.post(f"{sender.path}/disable").status_code == 404
    operator = small_site.client(somebody(role=Role.OPERATOR))
    assert operator.get(HOOKS).status_code == 403
    other = small_site.client(somebody(project_id="mill"))
    assert other.get(HOOKS).json()["items"] == []
    assert other.post(f"{sender.path}/disable").status_code == 404
    same = {"name": "our-github", "kind": "github"}
    assert small_site.client(somebody()).post(HOOKS, json=same).status_code == 409
    with small_site.store.begin("acme", read_only=True) as tx:
        assert [one.action for one in tx.list_audit()] == ["webhook.add"]


UNSAFE: tuple[dict[str, Any], ...] = (
    {"kind": "github", "options": {"header": "X-Sign"}},
    {"kind": "azure-devops"},
    {"kind": "azure-devops", "options": {"baseUrl": "file:///etc"}},
    {"kind": "hmac", "options": {"timestampHeader": "X-Time"}},
    {"kind": "hmac", "options": {"signed": "{timestamp}.{body}"}},
    {"kind": "hmac", "options": {"signed": "v1"}},
    {"kind": "hmac", "options": {"header": "X Sign"}},
    {"kind": "hmac", "secret": "short"},
    {"kind": "standard", "secret": "no-whsec-but-long-enough"},
)


def test_a_source_that_could_not_be_verified_is_refused(small_site: ApiSite):
    admin = small_site.client(somebody())
    for asked in UNSAFE:
        answer = admin.post(HOOKS, json={"name": "mine", **asked})
        assert answer.status_code == 422, (asked, answer.text)


def test_cloudevents_come_structured_and_binary(small_site: ApiSite):
    sender = a_sender(small_site, "cloudevents")
    when = "${{ event.type == 'com.example.someevent' and event.data.appinfoA == 'abc' }}"
    answering(small_site, "greet", "cloudevents", when)
    body = payload("cloudevent")
    structured = sender.send(body).json()
    event = json.loads(body)
    data = json.dumps(event.pop("data")).encode()
    binary = {f"ce-{key}": str(value) for key, value in event.items() if value is not None}
    bearer = {"Authorization": f"Bearer {sender.secret}", "Content-Type": "application/json"}
    again = sender.send(data, {**bearer, **binary})
    assert again.status_code == 409  # the same id: the bytes are others
    told = sender.send(data, {**bearer, **binary, "ce-id": "other%20one"}).json()
    assert structured["deliveryId"] == "/mycontext C234-1234-1234"
    assert told["deliveryId"] == "/mycontext other one"
    assert len(structured["matched"]) == len(told["matched"]) == 1
    assert sender.send(data, {**bearer, **binary, "ce-specversion": "0.3"}).status_code == 422
    assert sender.send(data, {**bearer, **binary, "Authorization": "Bearer x"}).status_code == 401
    batch = {**bearer, "Content-Type": "application/cloudevents-batch+json"}
    assert sender.send(b"[]", batch).status_code == 415


def test_a_sender_of_cloudevents_is_let_in(small_site: ApiSite):
    sender = a_sender(small_site, "cloudevents")
    hello = {"WebHook-Request-Origin": "eventemitter.example.com"}
    answer = sender.client.options(sender.path, headers=hello)
    assert answer.status_code == 200
    assert answer.headers["webhook-allowed-origin"] == "eventemitter.example.com"
    assert answer.headers["webhook-allowed-rate"] == "1200"


def test_a_signed_cloudevent_needs_its_signature(small_site: ApiSite):
    sender, body = (
        a_sender(small_site, "cloudevents", auth="hmac", header="X-Sign"),
        payload("cloudevent"),
    )
    headers = {"Content-Type": "application/cloudevents+json"}
    signed = headers | {"X-Sign": f"sha256={sender.mac(body)}"}
    assert sender.send(body, signed).status_code == 202
    assert sender.send(body, headers).status_code == 401


def test_a_published_or_edited_template_counts_at_once(small_site: ApiSite):
    sender = a_sender(small_site, "github")
    answering(small_site, "greet", "github", "${{ event.type == 'push' }}")
    assert sender.send(CREATED).json()["matched"] == []
    answering(small_site, "greet", "github", "${{ event.type == 'repository.created' }}")
    body = changed(CREATED, number=1)
    assert len(sender.send(body, sender.headers(body, "next")).json()["matched"]) == 1


def test_a_delivery_that_cannot_be_recorded_is_not_taken(
    small_site: ApiSite, monkeypatch: pytest.MonkeyPatch
):
    sender: Sender = a_sender(small_site, "github")

    def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailableError("the store is away")

    monkeypatch.setattr(type(small_site.runtime.webhook_desk), "_record", away)
    assert sender.send(CREATED).status_code == 503
    assert deliveries(small_site) == ()
