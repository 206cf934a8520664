"""http-request: what is sent, what is made of the answer, and what is never sent anywhere."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from factory_runtime.domain.errors import InvalidTemplateError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import RunStatus
from factory_runtime.jobs.http_answer import TEXT_LENGTH
from factory_runtime.services.attempt import AnotherAttempt
from factory_runtime.services.run_attempt import fail_attempt, publish_attempt
from tests.builders import NOON, TENANT
from tests.data_server import DataServer
from tests.order_service import OrderService
from tests.requesting import STEP, begin, call, error, ledger, may_send_to, outputs
from tests.small_factory import SmallFactory

ELSEWHERE = "http://169.254.169.254/latest/meta-data/"


# what is sent, and what comes of it


def test_a_get_is_no_effect_and_its_answer_is_for_later_steps(
    factory: SmallFactory, server: DataServer
) -> None:
    server.serves("/x", b'{"id": 7}', content_type="application/vnd.api+json", etag='"a"')
    run = call(factory, url=server.url("/x?token=hidden"), headers={"X-Api-Version": "2"})
    assert outputs(factory, run) == {
        "status": 200,
        "found": False,
        "headers": {"content-type": "application/vnd.api+json", "etag": '"a"'},
        "text": '{"id": 7}',
        "json": {"id": 7},
        "truncated": False,
        "digest": None,
    }
    assert not factory.effects(run)
    ((path, headers),) = server.asked
    assert path == "/x?token=hidden"
    assert headers["Accept-Encoding"] == "identity"
    assert headers["x-api-version"] == "2"
    assert "idempotency-key" not in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_anything_else_stands_in_the_ledger_and_carries_its_key(
    factory: SmallFactory, service: OrderService, method: str
) -> None:
    run = call(factory, url=service.url, method=method, body={"cake": "Sacher"})
    ((sent, headers, body),) = service.requests
    assert (sent, json.loads(body)) == (method, {"cake": "Sacher"})
    assert headers["content-type"] == "application/json"
    effect = ledger(factory, run)
    assert headers["idempotency-key"] == effect.effect_key == f"{run.id}:{STEP}"
    assert (effect.status, effect.reference) == (EffectStatus.CONFIRMED, "answered 201")
    assert effect.target == f"{method} {service.url}"
    assert outputs(factory, run)["json"] == {"number": 1}
    assert outputs(factory, run)["headers"]["location"] == "/orders/1"


def test_text_goes_as_it_is_and_the_template_says_what_it_is_called(
    factory: SmallFactory, service: OrderService
) -> None:
    named = {"Content-Type": "application/xml", "idempotency-key": "mine"}
    call(factory, url=service.url, method="POST", body="<cake/>", headers=named)
    call(
        factory, url=service.url, method="POST", body="Torte ä", idempotency_header="X-Request-Key"
    )
    (_, first, body), (_, second, text) = service.requests
    assert (first["content-type"], body, text) == ("application/xml", "<cake/>", "Torte ä")
    assert first["idempotency-key"].endswith(f":{STEP}")
    assert second["x-request-key"].endswith(f":{STEP}")
    assert "idempotency-key" not in second


def test_a_body_that_is_saved_is_an_artifact_and_whole(
    factory: SmallFactory, server: DataServer
) -> None:
    body = b"a" * 200_000
    server.serves("/x", body, content_type='text/html; charset="x"')
    run = call(factory, url=server.url("/x"), save="page.html", classification="confidential")
    with factory.store.begin(TENANT, read_only=True) as tx:
        (artifact,) = tx.list_artifacts(run_id=run.id)
    said = outputs(factory, run)
    assert factory.storage.read(TENANT, said["digest"]) == body
    assert (artifact.name, artifact.media_type) == ("page.html", "text/html")
    assert (artifact.sha256, artifact.size) == (said["digest"], len(body))
    assert artifact.classification == "confidential"
    assert said["text"] == "a" * TEXT_LENGTH
    assert said["truncated"]


# statuses


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_be_taken_later_is_tried_again(
    factory: SmallFactory, server: DataServer, status: int
) -> None:
    server.serves("/x", b"busy", status, retry_after="90")
    walk = begin(factory, url=server.url("/x"), method="POST")
    again = factory.attempt(walk, STEP)
    assert isinstance(again, AnotherAttempt)
    assert (again.not_before - NOON).total_seconds() == 90
    server.serves("/x", b"", status, retry_after="Sat, 21 Nov 2026 12:03:00 GMT")
    later = factory.attempt(walk, STEP)
    assert isinstance(later, AnotherAttempt)
    assert (later.not_before - NOON).total_seconds() == 180


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 409, 422])
def test_what_is_refused_is_not_asked_for_again_and_tells_why(
    factory: SmallFactory, server: DataServer, status: int
) -> None:
    told = b"\r\n password=hunter2hunter2 \x1b[2Jis wrong\nsecond line"
    server.serves("/x", told, status)
    run = call(factory, url=server.url("/x?q=private"), method="POST")
    said = error(factory, run)
    assert f"POST {server.url('/x')} answers {status}: password=(redacted)" in said
    assert not any(word in said for word in ("hunter2", "second line", "private", "\x1b"))
    assert ledger(factory, run).status is EffectStatus.INTENDED


@pytest.mark.parametrize("status", [302, 404, 503])
def test_what_is_expected_is_right_whatever_it_is(
    factory: SmallFactory, server: DataServer, status: int
) -> None:
    server.serves("/x", b"", status, location=ELSEWHERE)
    run = call(factory, url=server.url("/x"), expect=[302, 404, 503])
    assert outputs(factory, run)["status"] == status
    assert outputs(factory, run)["headers"]["location"] == ELSEWHERE
    server.serves("/x", b"")
    assert "answers 200" in error(factory, call(factory, url=server.url("/x"), expect=[204]))


def test_no_redirect_is_followed_inside(factory: SmallFactory, server: DataServer) -> None:
    server.serves("/x", b"", 302, location=f"{ELSEWHERE}?token=hidden")
    said = error(factory, call(factory, url=server.url("/x")))
    assert f"redirects are not followed: it leads to {ELSEWHERE}" in said
    assert "hidden" not in said
    assert server.paths() == ["/x"]


# what is refused before anything is sent


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:1/x", "is no host that requests may be sent to"),
        ("https://example.org/", "is no host that requests may be sent to"),
        (ELSEWHERE, "is no host that requests may be sent to"),
        ("http://ada:hunter2@HOST/x", "holds a name or a password"),
        ("http://HOST/x\r\nX-Admin: 1", "characters that an address has not"),
        ("http://HOST/a b", "characters that an address has not"),
    ],
)
def test_only_hosts_that_an_operator_has_listed_are_asked(
    factory: SmallFactory, server: DataServer, url: str, why: str
) -> None:
    run = call(factory, url=url.replace("HOST", server.host), method="POST")
    assert why in error(factory, run)
    assert "hunter2" not in error(factory, run)
    assert server.asked == []


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1"])
def test_a_name_that_leads_inside_is_asked_only_where_it_is_listed_itself(
    factory: SmallFactory, server: DataServer, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(server.host.partition(":")[2])

    def look_up(*_: Any, **__: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    server.serves("/x", b"")
    may_send_to(factory, f"*.example.com:{port}")
    url = f"http://inside.example.com:{port}/x"
    assert "is in a private network" in error(factory, call(factory, url=url, method="PUT"))
    assert server.asked == []
    if address == "127.0.0.1":
        may_send_to(factory, f"inside.example.com:{port}")
        assert outputs(factory, call(factory, url=url, method="PUT"))["status"] == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "file:///etc/passwd"},
        {"url": "gopher://127.0.0.1/"},
        {"method": "TRACE"},
        {"method": "post"},
        {"headers": {"X-A\r\nX-B": "1"}},
        {"headers": {"X-A": "1\r\nX-B: 2"}},
        {"headers": {"X-A": "ä"}},
        {"headers": {"": "1"}},
        {"headers": {"X A": "1"}},
        {"idempotency_header": "Key:"},
        {"idempotency_header": "Key\n"},
        {"expect": []},
        {"expect": [100]},
        {"save": "../x"},
        {"save": ".hidden"},
        {"seconds": 0},
        {"seconds": 3600},
        {"max_mib": 1000},
        {"probe": {}},
        {"probe": {"url": "file:///etc/passwd"}},
        {"retries": 3},
    ],
    ids=str,
)
def test_what_is_no_request_is_found_when_the_template_is_checked(
    factory: SmallFactory, server: DataServer, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidTemplateError) as refused:
        begin(factory, **{"url": server.url("/x"), **wrong})
    assert len(refused.value.problems) == 1


@pytest.mark.parametrize(
    "name",
    ["Authorization", "cookie", "Proxy-Authorization", "HOST", "Content-Length", "Upgrade"],
)
def test_headers_of_the_connection_and_secrets_are_not_the_template_s_to_say(
    factory: SmallFactory, server: DataServer, name: str
) -> None:
    run = call(factory, url=server.url("/x"), headers={name: "some text"})
    assert "is no header for" in error(factory, run) or "and ours" in error(factory, run)
    run = call(factory, url=server.url("/x"), idempotency_header=name)
    assert factory.run(run).status is RunStatus.FAILED
    assert server.asked == []


# answers that do harm


@pytest.mark.parametrize("how", ["hangs", "drips", "drips a header", "breaks off", "says nothing"])
def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_the_step_says(
    factory: SmallFactory, server: DataServer, how: str
) -> None:
    match how:
        case "hangs":
            server.hangs("/x")
        case "drips":
            server.trickles("/x")
        case "drips a header":
            server.trickles("/x", b"HTTP/1.1 200 OK\r\nX-Slow: ")
        case "breaks off":
            server.breaks_off("/x")
        case _:
            server.does("/x", lambda _request: None)
    walk = begin(factory, url=server.url("/x"), seconds=0.3)
    again = factory.attempt(walk, STEP)
    assert isinstance(again, AnotherAttempt)
    assert "longer than 0.3 s" in again.reason or "does not answer" in again.reason


def test_what_is_packed_is_not_unpacked(factory: SmallFactory, server: DataServer) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    server.serves("/x", bomb, content_type="application/json", content_encoding="gzip")
    run = call(factory, url=server.url("/x"), method="POST", save="x.gz")
    said = outputs(factory, run)
    assert (said["text"], said["json"]) == (None, None)
    assert factory.storage.read(TENANT, said["digest"]) == bomb
    assert "was not unpacked" in str(factory.jobs(run)[STEP].degraded)


def test_an_answer_without_end_is_read_to_its_bound(
    factory: SmallFactory, server: DataServer
) -> None:
    def pours(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while not server.ending.is_set():
            request.wfile.write(b"1" * 65_536)

    server.does("/x", pours)
    run = call(factory, url=server.url("/x"), method="POST", save="x", max_mib=1)
    said, job = outputs(factory, run), factory.jobs(run)[STEP]
    assert (said["digest"], said["json"], said["truncated"]) == (None, None, True)
    assert "more than 1048576 bytes, and was not saved" in str(job.degraded)
    assert ledger(factory, run).status is EffectStatus.CONFIRMED
    assert outputs(factory, call(factory, url=server.url("/x")))["truncated"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"a": "\\u0000"}', "cannot be stored"),
        (b'{"a": "\\ud800"}', "cannot be stored"),
        (b'{"a": 123456789012345678901234567890}', "too large"),
        (b'{"a": NaN}', "not finite"),
        (b"[" * 100 + b"]" * 100, "deeper"),
        (b"[" * 8_000, "and is none"),
        (b"<html>", "and is none"),
        (b"\xff\x00", "and is none"),
        (b"", "and is none"),
    ],
)
def test_json_that_nobody_can_keep_is_left_out_and_the_job_has_done_its_work(
    factory: SmallFactory, server: DataServer, body: bytes, why: str
) -> None:
    server.serves("/x", body, content_type="application/json")
    run = call(factory, url=server.url("/x"), method="POST")
    job = factory.jobs(run)[STEP]
    assert job.status is JobStatus.SUCCEEDED
    assert outputs(factory, run)["json"] is None
    assert why in str(job.degraded)
    assert "\0" not in outputs(factory, run)["text"]


def test_a_run_that_is_cancelled_waits_for_no_answer(
    factory: SmallFactory, server: DataServer
) -> None:
    walk = begin(factory, url=server.url("/x"), seconds=200)
    begun = factory.begin(walk, STEP)

    def stops(_request: BaseHTTPRequestHandler) -> None:
        begun.stop()
        server.ending.wait(60)

    server.does("/x", stops)
    ended: list[object] = []

    def works() -> None:
        try:
            publish_attempt(factory.engine, walk, begun, None)
        except Exception as stopped:
            ended.append(fail_attempt(factory.engine, walk, begun, stopped))

    thread = threading.Thread(target=works)
    thread.start()
    thread.join(timeout=30)
    assert ended
    assert not server.ending.is_set()
    assert factory.jobs(walk.run)[STEP].status is JobStatus.CANCELLED
