"""http-request: one effect, whatever gets lost on the way; and credentials that stay with it."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.errors import HostBusyError, LeaseLostError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.hosts.in_memory import InMemoryGitHost
from factory_runtime.services.attempt import AnotherAttempt
from factory_runtime.services.run_attempt import publish_attempt
from factory_runtime.services.settle_effects import EffectSettler
from factory_runtime.services.topics import SETTLE_EFFECTS
from factory_runtime.telemetry import worker_name
from tests.data_server import DataServer, a_certificate, data_server
from tests.order_service import OrderService, say
from tests.requesting import CANARY, STEP, Book, begin, call, error, ledger, may_send_to, outputs
from tests.small_factory import SmallFactory
from tests.surfaces import forms_of, rows_of

ORDER: dict[str, Any] = {"method": "POST", "body": {"cake": "Sacher"}}
LENT: dict[str, Any] = {"credentials": "block:shop"}


def posts(service: OrderService) -> int:
    return [method for method, *_ in service.requests].count("POST")


# what gets lost


def test_a_request_whose_answer_is_lost_is_sent_again_and_is_one_order(
    factory: SmallFactory, service: OrderService
) -> None:
    service.loses_answers = 2
    run = call(factory, url=service.url, **ORDER)
    assert (posts(service), len(service.orders)) == (3, 1)
    assert len({headers["idempotency-key"] for _, headers, _ in service.requests}) == 1
    assert ledger(factory, run).status is EffectStatus.CONFIRMED
    assert outputs(factory, run)["json"] == {"number": 1}


def test_where_a_service_knows_no_keys_the_probe_finds_what_was_done(
    factory: SmallFactory, service: OrderService
) -> None:
    service.knows_keys, service.loses_answers = False, 1
    run = call(factory, url=service.url, probe=service.probe, **ORDER)
    assert (posts(service), len(service.orders)) == (1, 1)
    assert ledger(factory, run).status is EffectStatus.CONFIRMED
    said = outputs(factory, run)
    assert (said["found"], said["status"], said["json"]["number"]) == (True, 200, 1)
    # What stands before the first attempt is not done either.
    again = call(factory, url=service.url, probe=service.probe, **ORDER)
    assert outputs(factory, again)["found"]
    assert len(service.orders) == 1


def test_where_a_probe_finds_nothing_it_is_sent(
    factory: SmallFactory, service: OrderService
) -> None:
    run = call(factory, url=service.url, probe=service.probe, **ORDER)
    assert not outputs(factory, run)["found"]
    assert outputs(factory, run)["status"] == 201


@pytest.mark.parametrize(("status", "is_tried_again"), [(403, False), (401, False), (503, True)])
def test_a_probe_that_cannot_tell_is_no_answer_and_nothing_is_sent(
    factory: SmallFactory,
    server: DataServer,
    service: OrderService,
    status: int,
    is_tried_again: bool,
) -> None:
    server.serves("/probe", b"", status)
    walk = begin(factory, url=service.url, probe={"url": server.url("/probe")}, **ORDER)
    ended = factory.attempt(walk, STEP)
    assert isinstance(ended, AnotherAttempt) == is_tried_again
    assert f"answers {status}" in str(factory.jobs(walk.run)[STEP].error)
    assert service.requests == []


def test_a_worker_that_lost_its_lease_sends_nothing(
    factory: SmallFactory, service: OrderService
) -> None:
    walk = begin(factory, url=service.url, **ORDER)
    late = factory.begin(walk, STEP)
    taken = factory.take_over(walk, factory.engine_of(worker_name()))
    assert factory.drive(taken).status is RunStatus.SUCCEEDED
    with pytest.raises(LeaseLostError):
        publish_attempt(factory.engine, walk, late, None)
    assert len(service.requests) == 1


def test_a_lease_that_is_lost_while_the_probe_is_asked_is_lost(
    factory: SmallFactory, server: DataServer, service: OrderService
) -> None:
    probe = {"url": server.url("/probe")}
    walk = begin(factory, url=service.url, probe=probe, **ORDER)
    late = factory.begin(walk, STEP)

    def takes_over(request: BaseHTTPRequestHandler) -> None:
        server.does("/probe", lambda request: say(request, 404, {}))
        factory.begin(factory.take_over(walk, factory.engine_of(worker_name())), STEP)
        say(request, 404, {})

    server.does("/probe", takes_over)
    with pytest.raises(LeaseLostError):
        publish_attempt(factory.engine, walk, late, None)
    assert service.requests == []


def test_two_at_once_are_one_order_and_the_second_waits_for_the_first(
    factory: SmallFactory, service: OrderService
) -> None:
    """The first is slow, loses its lease meanwhile, and its order is taken after all."""
    arrived, goes_on = threading.Event(), threading.Event()

    def slow() -> None:
        arrived.set()
        goes_on.wait(30)

    service.before = slow
    walk = begin(factory, url=service.url, **ORDER)
    first = factory.begin(walk, STEP)
    lost: list[Exception] = []

    def works() -> None:
        try:
            publish_attempt(factory.engine, walk, first, None)
        except Exception as late:
            lost.append(late)

    thread = threading.Thread(target=works)
    thread.start()
    assert arrived.wait(30)
    taken = factory.take_over(walk, factory.engine_of(worker_name()))
    again = factory.attempt(taken, STEP)
    assert isinstance(again, AnotherAttempt), "409 is no refusal while the first is at work"
    goes_on.set()
    thread.join(30)
    assert lost, "it could not record what it did"
    factory.clock.at = again.not_before
    assert factory.drive(taken).status is RunStatus.SUCCEEDED
    assert (len(service.orders), posts(service)) == (1, 3)
    assert ledger(factory, walk.run).status is EffectStatus.CONFIRMED


# the ledger, after the end


def settled(factory: SmallFactory, run: Run) -> EffectStatus:
    """What the ledger says once somebody has looked for what was only intended."""
    settler = EffectSettler(factory.store, factory.host, factory.job_types, factory.clock)
    (message,) = (one for one in factory.messages(SETTLE_EFFECTS) if one.key.startswith(run.id))
    settler.settle(message)
    return ledger(factory, run).status


def test_the_ledger_learns_by_the_probe_what_a_failed_run_has_done(
    factory: SmallFactory, service: OrderService, server: DataServer
) -> None:
    service.loses_answers = 3
    server.serves("/probe", b"", 404)
    run = call(factory, url=service.url, probe={"url": server.url("/probe")}, **ORDER)
    assert factory.run(run).status is RunStatus.FAILED
    server.serves("/probe", b"", 503)
    with pytest.raises(HostBusyError):
        settled(factory, run)
    assert ledger(factory, run).status is EffectStatus.INTENDED
    server.serves("/probe", b"", 200)
    assert settled(factory, run) is EffectStatus.CONFIRMED


def test_where_only_the_job_is_let_in_nobody_else_asks(
    factory: SmallFactory, service: OrderService, server: DataServer
) -> None:
    service.loses_answers = 3
    server.serves("/probe", b"", 404)
    may_send_to(factory, server.host, book=Book(server.host))
    probe = {"url": server.url("/probe")}
    run = call(factory, url=service.url, probe=probe, **ORDER, **LENT)
    asked = len(server.asked)
    assert settled(factory, run) is EffectStatus.INTENDED
    assert len(server.asked) == asked


@pytest.mark.parametrize("kind", ["http-request", "commit"])
def test_an_effect_without_a_probe_is_not_found(
    factory: SmallFactory, service: OrderService, kind: str
) -> None:
    effect = ledger(factory, call(factory, url=service.url, **ORDER))
    job_type = factory.job_types["http-request"]
    assert "probe" not in effect.facts
    assert job_type.probe(InMemoryGitHost(), effect) is None


# credentials


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({}, "authorization", f"Bearer {CANARY}"),
        ({"header": "X-Api-Key"}, "x-api-key", CANARY),
        (
            {"user": "ada"},
            "authorization",
            "Basic YWRhOnMzY3IzdC9DYW4rYXJ5IDczOTEmeA==",
        ),
    ],
)
def test_credentials_go_as_their_block_says_and_to_the_probe_too(
    factory: SmallFactory,
    server: DataServer,
    service: OrderService,
    fields: dict[str, str],
    name: str,
    value: str,
) -> None:
    may_send_to(factory, server.host, book=Book(server.host, **fields))
    call(factory, url=service.url, probe=service.probe, **ORDER, **LENT)
    shown = [{key.lower(): said for key, said in headers.items()} for _, headers in server.asked]
    assert [headers[name] for headers in shown] == [value, value]


@pytest.mark.parametrize("hosts", [(), ("other.example.com",), ("127.0.0.1",), ("*.0.0.1",)])
def test_credentials_are_shown_to_nobody_whom_their_block_does_not_name(
    factory: SmallFactory, server: DataServer, service: OrderService, hosts: tuple[str, ...]
) -> None:
    may_send_to(factory, server.host, book=Book(*hosts))
    run = call(factory, url=service.url, **ORDER, **LENT)
    assert "may not be shown to" in error(factory, run)
    assert server.asked == []


def test_a_probe_elsewhere_is_shown_no_credentials(
    factory: SmallFactory, server: DataServer, service: OrderService
) -> None:
    with data_server() as other:
        may_send_to(factory, server.host, other.host, book=Book(server.host))
        run = call(factory, url=service.url, probe={"url": other.url("/x")}, **ORDER, **LENT)
        assert "may not be shown to" in error(factory, run)
        assert other.asked == []
    assert server.asked == []


def test_credentials_go_over_tls_but_on_this_machine(
    factory: SmallFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = a_certificate(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with data_server(certificate) as server:
        server.serves("/x", b"")
        host = server.host.replace("127.0.0.1", "localhost")
        may_send_to(factory, host, "api.example.com", book=Book(host, "api.example.com"))
        run = call(factory, url=f"https://{host}/x", **LENT)
        assert outputs(factory, run)["status"] == 200
        said = error(factory, call(factory, url="http://api.example.com/x", **LENT))
        assert "shop is shown over TLS alone" in said
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "with_", "ends"),
    [
        (200, {}, JobStatus.SUCCEEDED),
        (200, {"save": "echo"}, JobStatus.FAILED),
        (400, {}, JobStatus.FAILED),
        (503, {}, JobStatus.FAILED),
    ],
)
@pytest.mark.parametrize("before", [0, 16 * 1024 - 10])
def test_a_service_that_tells_a_secret_back_tells_nobody(
    factory: SmallFactory,
    server: DataServer,
    caplog: pytest.LogCaptureFixture,
    status: int,
    with_: dict[str, Any],
    ends: JobStatus,
    before: int,
) -> None:
    """Also where it is cut in two because no more is kept."""
    caplog.set_level("DEBUG")
    may_send_to(factory, server.host, book=Book(server.host))
    told = CANARY * 2 if before else f'{{"{CANARY}": "{CANARY}"}}'
    body = b"." * before + told.encode()
    location = f"/?{'.' * (1985 if before else 0)}{CANARY}"
    server.serves("/x", body, status, content_type="application/json", location=location)
    run = call(factory, url=server.url("/x"), **with_, **LENT)
    assert factory.jobs(run)[STEP].status is ends
    leaked = (CANARY[:9], *forms_of(CANARY))
    assert not [row for row in rows_of(factory.store) if any(form in row for form in leaked)]
    assert not any(form in caplog.text for form in leaked)
    if ends is JobStatus.SUCCEEDED:
        assert "(redacted)" in str(outputs(factory, run)["text" if before else "headers"])
        assert CANARY[:9] not in str(outputs(factory, run))


def test_a_secret_that_fits_no_header_is_not_sent(
    factory: SmallFactory, server: DataServer, service: OrderService
) -> None:
    may_send_to(factory, server.host, book=Book(server.host, secret=f"{CANARY}\r\nX-Admin: 1"))
    run = call(factory, url=service.url, **ORDER, **LENT)
    assert "no text that a header can hold" in error(factory, run)
    assert service.requests == []
