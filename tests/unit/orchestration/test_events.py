"""Events for Prefect: ids and numbers of ours, and not a word that somebody else wrote."""

from __future__ import annotations

import json

from factory_runtime.orchestration.events import event_of
from tests.builders import TENANT, a_run
from tests.receivers import a_notice

HOSTILE = {
    "message": "<img src=x onerror=alert(1)>",
    "markup": "[click](javascript:alert(1))",
    "sentence": "the tenant's own words",
    "long": "x" * 129,
    "nested": {"a": "b"},
    "lines": "a\nb",
}


def test_an_event_names_run_tenant_and_flow_run():
    run = a_run(flow_run_id="3f0d7a52-0000-4000-8000-000000000000")
    event = event_of(a_notice(run_id=run.id, facts={"letters": 3, "step": "apply[order]"}), run)
    assert event["event"] == "factory.dead-letter"
    assert event["resource"]["prefect.resource.id"] == f"factory.run.{run.id}"
    assert [one["prefect.resource.id"] for one in event["related"]] == [
        f"factory.tenant.{TENANT}",
        f"prefect.flow-run.{run.flow_run_id}",
    ]
    assert event["payload"]["facts"]["letters"] == 3


def test_a_notice_about_no_run_is_about_its_tenant():
    event = event_of(a_notice(), None)
    assert event["resource"] == {"prefect.resource.id": f"factory.tenant.{TENANT}"}


def test_nothing_that_a_tenant_wrote_is_in_an_event():
    notice = a_notice(title="own title", body="own body", facts={**HOSTILE, "job_type": "act"})
    event = event_of(notice, None)
    assert event["payload"]["facts"] == {"job_type": "act"}
    text = json.dumps(event)
    assert "own title" not in text
    assert "own body" not in text


def test_the_same_notice_is_the_same_event_however_often_it_is_told():
    first, again = event_of(a_notice(), None), event_of(a_notice(), None)
    other = event_of(a_notice(key="another"), None)
    assert first["id"] == again["id"] != other["id"]
