"""The client: it asks for what there is, and refuses as the services themselves do."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from factory_runtime.client import (
    ApiUnavailableError,
    AsyncFactoryClient,
    FactoryClient,
    KeyInClearError,
    Target,
    UnreadableAnswerError,
    calls,
)
from factory_runtime.client.call import Call
from factory_runtime.domain.access import Principal, Role
from factory_runtime.domain.errors import (
    CorruptArtifactError,
    InputError,
    InvalidInputsError,
    LimitReachedError,
    NotFoundError,
    RequestConflictError,
    RunNotFoundError,
    TransientError,
    UnauthenticatedError,
)
from factory_runtime.domain.hold import HoldScope
from factory_runtime.domain.run import RunStatus
from factory_runtime.domain.webhook import SourceKind
from factory_runtime.wire.bulk import BulkCancel, BulkRetry, Change
from factory_runtime.wire.callback import NewCallback
from factory_runtime.wire.keeping import NewExpiry, NewHold
from factory_runtime.wire.key import NewKey, Rotate, WantedGrant
from factory_runtime.wire.letter import BulkDiscard, BulkRedrive, Discard, Redrive
from factory_runtime.wire.memory import MemoryQuestion
from factory_runtime.wire.run import NewRun
from factory_runtime.wire.webhook import NewSource, NewSubscription, Rotation
from tests.api.laid_out import TEXT, lay_out
from tests.api.served import Served
from tests.api.site import ApiSite, somebody

ORDERS = NewRun(template_recipe_id="service", inputs={"service_name": "orders"})
AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
HURRIED = timedelta(seconds=1.5)

GIVEN: dict[str, Any] = {
    "asked": ORDERS,
    "change": Change(timeout_seconds=60),
    "limit": 7,
    "after": 3,
    "since": AT,
    "comment": "why not",
    "undo": True,
    "status": None,
    "wanted": NewExpiry(once_downloaded=True),
    "released": True,
}
BODIES: dict[str, Any] = {
    "add_hold": NewHold(scope=HoldScope.RUN, subject_id="run-1", reason="asked for"),
    "cancel_runs": BulkCancel(expected_count=1),
    "retry_runs": BulkRetry(expected_count=1),
    "redrive_letters": BulkRedrive(canary=True),
    "discard_letters": BulkDiscard(reason="tried"),
    "discard_letter": Discard(reason="tried"),
    "add_key": NewKey(name="ada", grants=[WantedGrant(role=Role.VIEWER)]),
    "rotate_key": Rotate(),
    "add_source": NewSource(name="hooks", kind=SourceKind.GITHUB),
    "rotate_source": Rotation(),
    "subscribe_source": NewSubscription(event="git.push", url="https://factory.example.com"),
    "add_callback": NewCallback(url="https://hooks.example.com"),
    "search_memory": MemoryQuestion(query="orders"),
}
RUN_CHOICE = {name: "word" for name in calls.RunChoice.__annotations__} | {
    "status": [RunStatus.FAILED],
    "not_since_succeeded": True,
    **{name: AT for name in ("since", "until", "ended_since", "ended_until")},
}
LETTER_CHOICE = {name: "word" for name in calls.LetterChoice.__annotations__} | {
    **{name: AT for name in ("since", "until")},
}


def every_call() -> Iterator[tuple[str, Call[Any]]]:
    for name, make in inspect.getmembers(calls, inspect.isfunction):
        if make.__module__.startswith(calls.__name__):
            yield name, made(name, make)


def made(name: str, make: Callable[..., Call[Any]]) -> Call[Any]:
    """The call with all that it takes."""
    given: dict[str, Any] = {}
    for parameter in inspect.signature(make).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            given |= LETTER_CHOICE if "Letter" in str(parameter.annotation) else RUN_CHOICE
        elif name == "redrive_letter" and parameter.name == "change":
            given["change"] = Redrive(beside=("deploy",))
        elif parameter.name == "asked" and name in BODIES:
            given["asked"] = BODIES[name]
        else:
            given[parameter.name] = GIVEN.get(parameter.name, "word")
    return make(**given)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    from factory_runtime.bootstrap import open_runtime
    from factory_runtime.settings import Settings

    return create_app(open_runtime(Settings(home=tmp_path_factory.mktemp("home"))), ())


def test_each_call_is_one_of_the_api_s_with_all_that_it_says(app: FastAPI):
    paths = app.openapi()["paths"]
    for name, call in every_call():
        method = call.method.lower()
        found = [path for path in paths if fits(path, call.url) and method in paths[path]]
        assert found, f"{name}: there is no {call.method} {call.url}"
        operation = paths[min(found, key=lambda path: path.count("{"))][method]
        known = {one["name"] for one in operation.get("parameters", []) if one["in"] == "query"}
        assert set(call.query) <= known, f"{name}: {set(call.query) - known}"
        assert (call.body is not None) <= ("requestBody" in operation), name


def fits(template: str, url: str) -> bool:
    pattern = re.sub(r"\\{\w+\\}", "word", re.escape(template))
    return re.fullmatch(pattern, url) is not None


# --- over a real socket


@pytest.fixture
def served(small_site: ApiSite) -> Iterator[Served]:
    with Served(small_site.app()) as served:
        yield served


def target(served: Served, site: ApiSite, who: Principal | None = None) -> Target:
    """Who comes with a token that the site believes."""
    key = site.token(who or somebody())
    return Target(served.url, key, patience=HURRIED)


def test_a_run_is_asked_for_found_and_cancelled(served: Served, small_site: ApiSite):
    with FactoryClient(target(served, small_site)) as client:
        run = client.send(calls.request_run(ORDERS))
        assert client.send(calls.get_run(run.run_id)).inputs == {"service_name": "orders"}
        assert [job.step for job in client.send(calls.list_jobs(run.run_id)).items] == [
            "make",
            "check",
        ]
        assert client.send(calls.cancel_run(run.run_id)).status is RunStatus.CANCELLED
        kinds = [event.kind for event in client.stream(calls.follow_run(run.run_id))]
        assert kinds[-1] == "end"
        assert "run" in kinds


def test_an_event_loop_does_likewise(served: Served, small_site: ApiSite):
    async def ask() -> None:
        async with AsyncFactoryClient(target(served, small_site)) as client:
            asked = [await client.send(calls.request_run(ORDERS)) for _ in range(3)]
            found = [run.run_id async for run in client.pages(calls.list_runs(limit=2))]
            assert sorted(found) == sorted(run.run_id for run in asked)
            await client.send(calls.cancel_run(found[0]))
            events = [event async for event in client.stream(calls.follow_run(found[0]))]
            assert events[-1].data == {"status": "Cancelled"}

    asyncio.run(ask())


def test_a_body_is_what_was_made_or_is_refused(served: Served, small_site: ApiSite):
    made = lay_out(small_site, "shop").artifact
    call, digest = calls.get_artifact_body(made.id), made.sha256
    none = calls.get_artifact_body("art-of-nobody")
    place, another = target(served, small_site), "0" * 64

    async def ask() -> None:
        async with AsyncFactoryClient(place) as client:
            assert b"".join([part async for part in client.download(call, sha256=digest)]) == TEXT
            assert b"".join([part async for part in client.download(call)]) == TEXT
            with pytest.raises(CorruptArtifactError, match=made.id):
                [part async for part in client.download(call, sha256=another)]
            with pytest.raises(NotFoundError):
                [part async for part in client.download(none)]

    asyncio.run(ask())
    with FactoryClient(place) as client:
        assert b"".join(client.download(call, sha256=digest)) == TEXT
        with pytest.raises(CorruptArtifactError, match=made.id):
            list(client.download(call, sha256=another))
        with pytest.raises(NotFoundError):
            list(client.download(none))


def test_a_body_that_breaks_off_is_told_of():
    async def broken() -> AsyncIterator[bytes]:
        yield b"half of"
        raise httpx.ReadError("gone")

    async def ask() -> list[bytes]:
        there = httpx.MockTransport(lambda _: httpx.Response(200, content=broken()))
        async with AsyncFactoryClient(Target("http://factory"), there) as client:
            return [part async for part in client.download(calls.get_artifact_body("art-1"))]

    with pytest.raises(ApiUnavailableError):
        asyncio.run(ask())


def test_refusals_are_the_errors_of_the_services(served: Served, small_site: ApiSite):
    with FactoryClient(target(served, small_site)) as client:
        with pytest.raises(RunNotFoundError):
            client.send(calls.get_run("run-of-nobody"))
        with pytest.raises(NotFoundError):
            client.send(calls.get_run("../../health"))
        bad = ORDERS.model_copy(update={"inputs": {"service_name": "X", "size": 0}})
        with pytest.raises(InvalidInputsError) as refused:
            client.send(calls.request_run(bad))
        assert len(refused.value.problems) == 2
        assert refused.value.run_id is not None
        client.send(calls.request_run(ORDERS, idempotency_key="one"))
        other = ORDERS.model_copy(update={"inputs": {"service_name": "other"}})
        with pytest.raises(RequestConflictError):
            client.send(calls.request_run(other, idempotency_key="one"))
    nobody = Target(served.url, "nobody's", patience=HURRIED)
    with FactoryClient(nobody) as client, pytest.raises(UnauthenticatedError):
        client.send(calls.who_am_i())


def test_what_is_away_is_told_and_what_is_no_factory_too(served: Served, small_site: ApiSite):
    gone = Target("http://127.0.0.1:1", patience=timedelta(0))
    with FactoryClient(gone) as client, pytest.raises(ApiUnavailableError):
        client.send(calls.list_runs())
    page = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>"))
    with FactoryClient(gone, page) as client, pytest.raises(UnreadableAnswerError):
        client.send(calls.list_runs())


def test_what_may_take_long_is_waited_for_and_a_server_that_is_away_is_not():
    waits: list[dict[str, float]] = []

    def erase(request: httpx.Request) -> httpx.Response:
        waits.append(request.extensions["timeout"])
        return httpx.Response(200, json={"scope": "run", "key": "", "memories": 0, "changed": 0})

    async def ask(call: Call[Any]) -> None:
        async with AsyncFactoryClient(place, httpx.MockTransport(erase)) as client:
            await client.send(call)

    place = Target("http://factory", timeout=timedelta(seconds=7))
    forgetting = (
        calls.forget_run("run"),
        calls.forget_project("shop"),
        calls.forget_everything("t"),
    )
    for call in forgetting:
        with FactoryClient(place, httpx.MockTransport(erase)) as client:
            client.send(call)
        asyncio.run(ask(call))
    assert {(wait["connect"], wait["read"] >= 600) for wait in waits} == {(7, True)}
    patient = Target("http://factory", timeout=timedelta(hours=1))
    with FactoryClient(patient, httpx.MockTransport(erase)) as client:
        client.send(calls.forget_run("run"))
    assert waits[-1]["read"] == 3600


HERE = ("http://localhost:4280", "http://127.0.0.1", "http://127.8.8.8/", "http://[::1]:4280")


@pytest.mark.parametrize("url", [*HERE, "https://factory.example.com", "HTTPS://factory"])
def test_a_key_goes_encrypted_or_not_beyond_this_machine(url: str):
    assert Target(url, "secret").headers == {"Authorization": "Bearer secret"}


@pytest.mark.parametrize(
    "host",
    ["factory.example.com", "10.0.0.7:4280", "127.0.0.1.example.com", "127.0.0.1@example.com"],
)
def test_a_key_goes_nowhere_in_clear_unless_that_is_said(host: str):
    with pytest.raises(KeyInClearError) as refused:
        Target(f"http://{host}", "secret")
    assert "secret" not in refused.value.explain()
    assert "FACTORY_API_PLAIN_HTTP" in refused.value.explain()
    assert Target(f"HTTP://{host}", plain_http=True, key="secret").headers
    assert Target(f"http://{host}").headers == {}


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str | None]]:
    """A proxy that the environment names: the credentials that it was shown."""
    shown: list[str | None] = []

    class Recorder(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.append(self.headers["Authorization"])
            self.send_error(502)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Recorder) as server:
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield shown
        server.shutdown()
        thread.join()


async def ask_in_a_loop(place: Target) -> None:
    async with AsyncFactoryClient(place) as client:
        await client.send(calls.who_am_i())


def test_a_key_in_clear_goes_through_no_proxy(proxy: list[str | None]):
    def ask(key: str | None) -> None:
        place = Target("http://127.0.0.1:1", key, patience=timedelta(0))
        with FactoryClient(place) as client, pytest.raises(TransientError):
            client.send(calls.who_am_i())
        with pytest.raises(TransientError):
            asyncio.run(ask_in_a_loop(place))

    ask("secret")
    assert proxy == []
    ask(None)
    assert proxy == [None, None]


@pytest.mark.parametrize(
    "url", ["factory.example.com", "ftp://factory", "http://", "http://factory:port"]
)
def test_what_is_no_address_of_an_api_is_refused(url: str):
    with pytest.raises(InputError, match="is no address of a Factory API"):
        Target(url, "secret", plain_http=True)


def test_only_what_does_no_more_than_once_is_sent_again():
    asked: list[str] = []
    problem = {"type": "urn:factory-runtime:problem:limit-reached", "title": "", "status": 429}
    body = json.dumps({**problem, "detail": "later"}).encode()

    def refuse_twice(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("idempotency-key", ""))
        if len(asked) % 3:
            return httpx.Response(429, content=body)
        answer = {"runId": "run-1", "jobId": "job"}
        return httpx.Response(200, content=json.dumps({"items": [], **answer}).encode())

    transport = httpx.MockTransport(refuse_twice)
    with FactoryClient(
        Target("http://factory", patience=timedelta(seconds=5)), transport
    ) as client:
        client.send(calls.list_runs())
        assert len(asked) == 3
        with pytest.raises(LimitReachedError):
            client.send(calls.retry_run("run-1"))
        assert len(asked) == 4
    assert calls.request_run(ORDERS).headers["Idempotency-Key"] != ""


# --- streams that break


class Streams:
    """A transport whose streams say these, one after the other, and break or end then."""

    def __init__(self, *said: str | Exception) -> None:
        self._said = list(said)
        self.asked: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.headers.get("last-event-id"))
        said = self._said.pop(0) if self._said else ""
        if isinstance(said, Exception):
            raise said
        kind = {"Content-Type": "text/event-stream; charset=utf-8"}
        body = _Broken(said) if said.endswith("!") else _Whole(said)
        return httpx.Response(200, headers=kind, stream=body)


class _Whole(httpx.SyncByteStream):
    def __init__(self, said: str) -> None:
        self._said = said

    def __iter__(self) -> Iterator[bytes]:
        yield self._said.encode()


class _Broken(_Whole):
    def __iter__(self) -> Iterator[bytes]:
        yield self._said.removesuffix("!").encode()
        raise httpx.ReadError("gone")


END = 'event: end\ndata: {"status":"Succeeded"}\n\n'


def followed(streams: Streams, patience: timedelta) -> list[str]:
    place = Target("http://factory", patience=patience)
    with FactoryClient(place, httpx.MockTransport(streams)) as client:
        return [event.kind for event in client.stream(calls.follow_run("run-1"))]


def test_a_stream_that_was_silent_for_longer_than_the_patience_is_taken_up_again(
    monkeypatch: pytest.MonkeyPatch,
):
    at = iter(range(0, 10_000, 60))  # a minute goes by between any two looks at the clock
    monkeypatch.setattr("factory_runtime.client.tries.time.monotonic", lambda: float(next(at)))
    monkeypatch.setattr("factory_runtime.client.client.time.sleep", list[float]().append)
    streams = Streams(": still here\n\n: still here\n\n!", END)
    assert followed(streams, timedelta(seconds=90)) == ["end"]
    assert len(streams.asked) == 2


def test_a_stream_that_ends_before_its_run_is_asked_for_behind_what_was_seen():
    first = 'id: 7\nevent: run\ndata: {"sequence":7}\n\n'
    streams = Streams(first, "retry: 1000\n\n", END)
    assert followed(streams, timedelta(seconds=5)) == ["run", "end"]
    assert streams.asked == [None, "7", "7"]


def test_streams_that_say_nothing_are_not_asked_for_without_end():
    streams = Streams(*["retry: 1000\n\n"] * 9)
    with pytest.raises(ApiUnavailableError):
        followed(streams, timedelta(seconds=1))
    assert 2 <= len(streams.asked) <= 4
    page = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>\n<p>\n"))
    client = FactoryClient(Target("http://factory"), page)
    with client, pytest.raises(UnreadableAnswerError):
        next(client.stream(calls.follow_run("run-1")))


def test_no_part_of_a_path_leads_to_another():
    for part in ("", ".", ".."):
        with pytest.raises(InputError):
            calls.list_run_artifacts(part)
    assert calls.get_run("../a?b").url.endswith("/runs/..%2Fa%3Fb")
