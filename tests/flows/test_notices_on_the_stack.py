"""A real executor tells people and Prefect of what it did, whatever one target does meanwhile."""

from __future__ import annotations

from collections.abc import Generator
from hashlib import sha256
from typing import Any

import pytest
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
    temporary_settings,
)

from deployments.stack import read_state
from factory_runtime.domain.notice import notice_to_payload
from factory_runtime.domain.policy import PolicyRecord
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.orchestration.events import PrefectEvents
from factory_runtime.services import topics
from tests.builders import a_message
from tests.factory import Factory, until
from tests.receivers import WebReceiver, a_notice, web_receiver
from tests.recipes import a_source, a_template

pytestmark = pytest.mark.slow

TENANT = "noticed"


@pytest.fixture(scope="module")
def web() -> Generator[WebReceiver]:
    with web_receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def run(factory: Factory, web: WebReceiver) -> Run:
    """A run of a tenant with a target that hangs and one that does not.

    The targets are applied when policies were read a moment before: another tenant's run began.
    """
    factory.template("noticed", a_template("noticed"), a_source())
    factory.complete("noticed", "notices", name="before")
    places = {"hanging": "/hang", "well": "/well"}
    rules = ", ".join(f"{{name: {n}, to: '{web.address(p)}'}}" for n, p in places.items())
    document = f"notify: [{rules}]\n"
    digest = sha256(document.encode()).hexdigest()
    now = factory.runtime.clock.now()
    with factory.runtime.store.begin(TENANT) as tx:
        tx.save_policy(PolicyRecord(TENANT, 1, document, digest, now, "ada"))
    return factory.complete("noticed", "notices", TENANT, name="noticed")


def open_topics(factory: Factory) -> set[str]:
    """Topics that the executor has still to do something of for this tenant."""
    far = factory.runtime.clock.now().replace(year=9999)
    messages = factory.runtime.store.due_messages(far, 10_000)
    of_tenant = {message.topic for message in messages if message.tenant_id == TENANT}
    return of_tenant - topics.BACKGROUND


def test_a_target_that_hangs_keeps_nobody_from_hearing_of_the_end(
    factory: Factory, run: Run, web: WebReceiver
):
    assert run.status is RunStatus.SUCCEEDED, run.error
    until(lambda: {r.path for r in web.requests} == {"/hang", "/well"}, "both were asked")
    (told,) = (request for request in web.requests if request.path == "/well")
    assert told.body["title"] == f"noticed {run.id} Succeeded"
    assert (told.body["type"], told.body["run"]) == ("success", run.id)
    # One never answers; the memory and Prefect are served all the same, and it is asked again.
    until(lambda: open_topics(factory) == {topics.SEND_NOTICE}, "all but the one target is done")


def test_prefect_has_the_event_with_the_run_its_tenant_and_its_flow_run(factory: Factory, run: Run):
    about = {"resource": {"id": [f"factory.run.{run.id}"]}}
    wanted = {"filter": {**about, "event": {"name": ["factory.run.succeeded"]}}, "limit": 10}

    def events() -> list[dict[str, Any]]:
        return factory.prefect("POST", "/events/filter", wanted)["events"]

    until(lambda: len(events()) == 1, "the event has arrived")
    (event,) = events()
    assert event["event"] == "factory.run.succeeded"
    assert event["payload"]["facts"] == {"status": "Succeeded", "cycle": 0}
    assert event["payload"]["severity"] == "success"
    roles = {r["prefect.resource.role"]: r["prefect.resource.id"] for r in event["related"]}
    assert roles["tenant"] == f"factory.tenant.{TENANT}"
    assert roles["flow-run"] == f"prefect.flow-run.{run.flow_run_id}"


def test_an_event_that_is_told_again_is_the_same_event(factory: Factory):
    state = read_state(factory.settings)
    assert state is not None
    wanted = {"filter": {"resource": {"id": [f"factory.tenant.{TENANT}"]}}, "limit": 10}
    events = PrefectEvents(factory.runtime.store)
    with temporary_settings(
        {PREFECT_API_URL: state.api_url, PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False}
    ):
        for key in ("told", "told", "last"):
            at = factory.runtime.clock.now()
            notice = a_notice(tenant_id=TENANT, key=key, at=at)
            events.tell_notice(a_message(tenant_id=TENANT, payload=notice_to_payload(notice)))

    def keys() -> list[str]:
        found = factory.prefect("POST", "/events/filter", wanted)["events"]
        return sorted(event["payload"]["key"] for event in found)

    until(lambda: "last" in keys(), "the last one has arrived")
    assert keys() == ["last", "told"]


def test_without_a_target_it_stands_in_the_log_of_the_stack(factory: Factory, run: Run):
    del run  # its template
    other = factory.complete("noticed", "notices", name="plain")
    log = factory.settings.stack_folder / "notices.log"
    wanted = f"success run-complete local: noticed {other.id} Succeeded"
    until(lambda: log.is_file() and wanted in log.read_text(), "it was written")
