"""Callbacks: an end is told, signed, until it is taken; and nothing inside can be reached by one."""

from __future__ import annotations

import json
import socket
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from factory_runtime.domain.access import Role
from factory_runtime.domain.errors import DataRefusedError, HostBusyError
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.jobs.outside_http import ask
from factory_runtime.ports import RunStore
from factory_runtime.services import callbacks
from factory_runtime.services.topics import CALLBACK
from tests.api.site import ApiSite, somebody
from tests.receivers import Request, WebReceiver, web_receiver
from tests.small_factory import SettableClock

CALLBACKS = "/api/v1/callbacks"
RUNS = "/api/v1/runs"
SOON = timedelta(seconds=20)


@pytest.fixture(scope="module")
def shared_receiver() -> Generator[WebReceiver]:
    with web_receiver() as server:
        yield server


@pytest.fixture
def receiver(shared_receiver: WebReceiver) -> WebReceiver:
    shared_receiver.requests.clear()
    shared_receiver.answers.clear()
    return shared_receiver


@pytest.fixture
def site(tmp_path: Path, sqlite_url: str, sqlite_store: RunStore, receiver: WebReceiver) -> ApiSite:
    listed = (f"127.0.0.1:{receiver.port}", f"hooks.internal:{receiver.port}")
    return ApiSite(tmp_path, sqlite_url, sqlite_store, callback_hosts=listed)


def url_of(receiver: WebReceiver, path: str = "/", host: str = "127.0.0.1") -> str:
    return f"http://{host}:{receiver.port}{path}"


def a_callback(site: ApiSite, url: str, **asked: Any) -> dict[str, Any]:
    answer = site.client(somebody()).post(CALLBACKS, json={"url": url, **asked})
    assert answer.status_code == 201, answer.text
    return answer.json()


def an_end(site: ApiSite, **asked: Any) -> str:
    client = site.client(somebody())
    run = site.run(client, **asked)
    client.post(f"{RUNS}/{run}/cancel")
    return run


def left(site: ApiSite, later: timedelta = timedelta(days=30)) -> tuple[OutboxMessage, ...]:
    return site.store.due_messages(datetime.now(UTC) + later, topics=[CALLBACK])


def at(site: ApiSite, moment: datetime) -> None:
    """Have callbacks told at this time."""
    clock = SettableClock()
    clock.at = moment
    site.runtime.told_callbacks._clock = clock  # pyright: ignore[reportPrivateUsage]
    site.runtime.__dict__["callbacks"].__dict__["clock"] = clock


def is_signed(request: Request, secret: str) -> bool:
    body = json.dumps(request.body, separators=(",", ":"))
    Webhook(secret).verify(body, dict(request.headers.items()))
    return True


def test_an_end_is_told_by_a_signed_message(site: ApiSite, receiver: WebReceiver):
    callback = a_callback(site, url_of(receiver), projectId="shop", statuses=["Cancelled"])
    a_callback(site, url_of(receiver, "/other"), projectId="mill")
    a_callback(site, url_of(receiver, "/good"), statuses=["Succeeded"])
    run = an_end(site, projectId="shop")
    assert site.runtime.told_callbacks.send_due(SOON).done == 1
    (request,) = receiver.requests
    assert is_signed(request, callback["secret"])
    told = request.body
    assert (told["type"], told["data"]["runId"]) == ("run.cancelled", run)
    assert told["data"]["status"] == "Cancelled"
    trace = site.stands("acme", run).trace_id
    assert request.headers["traceparent"].split("-")[1] == trace
    assert site.runtime.told_callbacks.send_due(SOON).done == 0


def test_the_same_message_is_sent_until_it_is_taken(site: ApiSite, receiver: WebReceiver):
    callback = a_callback(site, url_of(receiver))
    an_end(site)
    receiver.answers += [500, 302]
    pauses: list[timedelta] = []
    for _ in range(3):
        (message,) = left(site)
        at(site, message.not_before)
        site.runtime.told_callbacks.send_due(SOON)
        pauses += [one.not_before - message.not_before for one in left(site)]
    assert left(site) == ()
    assert [is_signed(one, callback["secret"]) for one in receiver.requests] == [True] * 3
    assert len({one.headers["webhook-id"] for one in receiver.requests}) == 1
    assert pauses == sorted(set(pauses))
    assert {one.path for one in receiver.requests} == {"/"}  # it did not go where 302 led


def test_after_three_days_nobody_is_asked_any_more(site: ApiSite, receiver: WebReceiver):
    a_callback(site, url_of(receiver))
    run = an_end(site)
    receiver.answers += [503] * 5
    (first,) = left(site)
    for days in (0, 1, 2, 2.9, 3.1):
        at(site, first.created_at + timedelta(days=days))
        site.runtime.told_callbacks.send_due(SOON)
    assert left(site) == ()
    assert len(receiver.requests) == 5
    events = site.client(somebody()).get(f"{RUNS}/{run}/events").json()["items"]
    assert "answers 503" in events[-1]["detail"]["error"]
    assert events[-1]["kind"] == "callback-given-up"


def test_an_address_that_is_gone_is_told_no_more(site: ApiSite, receiver: WebReceiver):
    a_callback(site, url_of(receiver))
    an_end(site)
    receiver.answers.append(410)
    site.runtime.told_callbacks.send_due(SOON)
    assert left(site) == ()
    (shown,) = site.client(somebody()).get(CALLBACKS).json()["items"]
    assert "410" in shown["reason"]
    an_end(site)
    assert left(site) == ()


def test_one_run_is_told_to_the_address_that_came_with_it(site: ApiSite, receiver: WebReceiver):
    client = site.client(somebody(role=Role.REQUESTER))
    asked = {
        "templateRecipeId": "service",
        "inputs": {"service_name": "orders"},
        "callbackUrl": url_of(receiver),
    }
    first, second = (
        client.post(RUNS, json=asked, headers={"Idempotency-Key": "k"}) for _ in range(2)
    )
    secret = first.headers["factory-callback-secret"]
    assert second.headers["factory-callback-secret"] == secret
    run = first.json()["runId"]
    client.post(f"{RUNS}/{run}/cancel")
    an_end(site)
    site.runtime.told_callbacks.send_due(SOON)
    (request,) = receiver.requests
    assert is_signed(request, secret)
    assert request.body["data"]["runId"] == run
    late = site.runtime.callbacks.add_of_run(
        site.stands("acme", run), "ada", url_of(receiver, "/2")
    )
    site.runtime.told_callbacks.send_due(SOON)
    assert is_signed(receiver.requests[-1], late)  # it had ended before
    refused = client.post(RUNS, json=asked | {"callbackUrl": "http://127.0.0.1:1/"})
    assert refused.status_code == 202  # whether it may be asked is seen when it is told
    for url in ("file:///etc/passwd", "https://ada:secret@example.com/", "gopher://x", "https://"):
        assert client.post(RUNS, json=asked | {"callbackUrl": url}).status_code == 422


def test_callbacks_are_for_admins_and_within_what_they_administer(
    site: ApiSite, receiver: WebReceiver
):
    whole, shop = (
        a_callback(site, url_of(receiver)),
        a_callback(site, url_of(receiver), projectId="shop"),
    )
    mine = site.client(somebody(project_id="shop"))
    assert [one["callbackId"] for one in mine.get(CALLBACKS).json()["items"]] == [
        shop["callbackId"]
    ]
    assert mine.delete(f"{CALLBACKS}/{whole['callbackId']}").status_code == 404
    assert mine.post(CALLBACKS, json={"url": url_of(receiver)}).status_code == 403
    assert site.client(somebody("other")).get(CALLBACKS).json()["items"] == []
    assert site.client(somebody(role=Role.OPERATOR)).get(CALLBACKS).status_code == 403
    an_end(site, projectId="shop")
    assert mine.delete(f"{CALLBACKS}/{shop['callbackId']}").json()["disabledAt"] is not None
    site.runtime.told_callbacks.send_due(SOON)
    assert len(receiver.requests) == 1  # what waited for the removed one is not told
    assert shop["secret"] not in site.client(somebody()).get(CALLBACKS).text


def test_a_receiver_that_hangs_or_drips_holds_up_nobody(
    site: ApiSite, receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(callbacks, "_TIME", timedelta(seconds=1))
    for path in ("/hang", "/trickle"):
        a_callback(site, url_of(receiver, path, "hooks.internal"))
    a_callback(site, url_of(receiver, "/quick"))
    monkeypatch.setattr(socket, "getaddrinfo", only(receiver.port, "127.0.0.1"))
    an_end(site)
    sending = site.runtime.told_callbacks
    for _ in range(2):  # the second of a host waits for the first, and rests when that fails
        at(site, datetime.now(UTC) + timedelta(minutes=20 * _))
        sending.send_due(SOON)
    assert [one.path for one in receiver.requests].count("/quick") == 1
    assert len(left(site)) == 2
    assert all("longer than" in str(one.error) for one in left(site) if one.error)
    assert any(one.error for one in left(site))


def only(port: int, *addresses: str) -> Any:
    """Every name is at the first of these, and from the second look-up on at the next."""
    looked: list[str] = []

    def look_up(host: str, *_: Any, **__: Any) -> Any:
        looked.append(host)
        address = addresses[min(len(looked), len(addresses)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))]

    return look_up


def test_the_address_that_was_checked_is_the_one_that_is_asked(
    site: ApiSite, receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
):
    a_callback(site, url_of(receiver, "/name", "hooks.internal"))
    an_end(site)
    # Looked up again, the name would lead to an address where nobody listens.
    monkeypatch.setattr(socket, "getaddrinfo", only(receiver.port, "127.0.0.1", "127.0.0.2"))
    assert site.runtime.told_callbacks.send_due(SOON).done == 1
    assert receiver.requests[0].headers["Host"] == f"hooks.internal:{receiver.port}"


INSIDE = (
    "127.0.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "127.1",
    "0.0.0.0",  # noqa: S104 - nobody binds it
    "0",
    "10.1.2.3",
    "100.64.1.1",
    "169.254.169.254",
    "168.63.129.16",
    "192.168.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "localhost",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a00:1]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:7f00:1::]",
    "[2001:0:a00:1::1]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[ff02::1]",
)


def test_nothing_inside_is_asked_however_its_address_is_written():
    public_only = callbacks.outside_of(())
    for host in INSIDE:
        with pytest.raises((DataRefusedError, HostBusyError)) as caught:
            ask(public_only, f"https://{host}/", headers={})
        refused = isinstance(caught.value, DataRefusedError)
        # What this machine's resolver cannot read is asked nowhere either.
        assert refused or "cannot be looked up" in str(caught.value), host
    for url in ("http://93.184.216.34/", "https://93.184.216.34:8443/", "ftp://93.184.216.34/"):
        with pytest.raises(DataRefusedError):
            ask(public_only, url, headers={})
