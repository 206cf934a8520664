"""Events for Prefect: ids and numbers of ours, and not a word that somebody else wrote."""

from __future__ import annotations

import json

from factory_runtime.orchestration.events import notice_event, signal_event
from factory_runtime.services.signals import Signal, Signals
from tests.builders import NOON, TENANT, a_run
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
    event = notice_event(a_notice(run_id=run.id, facts={"letters": 3, "step": "apply[order]"}), run)
    assert event["event"] == "factory.dead-letter.alerted"
    assert event["resource"]["prefect.resource.id"] == f"factory.run.{run.id}"
    assert [one["prefect.resource.id"] for one in event["related"]] == [
        f"factory.tenant.{TENANT}",
        f"prefect.flow-run.{run.flow_run_id}",
    ]
    assert event["payload"]["facts"]["letters"] == 3


def test_a_notice_about_no_run_is_about_its_tenant():
    event = notice_event(a_notice(), None)
    assert event["resource"] == {"prefect.resource.id": f"factory.tenant.{TENANT}"}


def test_nothing_that_a_tenant_wrote_is_in_an_event():
    notice = a_notice(title="own title", body="own body", facts={**HOSTILE, "job_type": "act"})
    event = notice_event(notice, None)
    assert event["payload"]["facts"] == {"job_type": "act"}
    text = json.dumps(event)
    assert "own title" not in text
    assert "own body" not in text


def test_the_same_notice_is_the_same_event_however_often_it_is_told():
    first, again = notice_event(a_notice(), None), notice_event(a_notice(), None)
    other = notice_event(a_notice(key="another"), None)
    assert first["id"] == again["id"] != other["id"]


def a_told(*signals: Signal) -> Signals:
    return Signals(TENANT, "run-1", "run-1:ship:4", NOON, signals)


def test_a_signal_is_about_the_letter_the_job_or_the_run_and_related_to_what_is_around():
    run = a_run(flow_run_id="3f0d7a52-0000-4000-8000-000000000000")
    letter = Signal("dead-letter.opened", "ship", "letter-1")
    for signal, resources in (
        (letter, ["dead-letter.letter-1", f"job.{run.id}:ship", f"run.{run.id}"]),
        (Signal("job.failed", "ship"), [f"job.{run.id}:ship", f"run.{run.id}"]),
        (Signal("run.paused"), [f"run.{run.id}"]),
    ):
        event = signal_event(a_told(signal), signal, run)
        about, *within = [f"factory.{one}" for one in resources]
        assert event["event"] == f"factory.{signal.name}"
        assert event["resource"]["prefect.resource.id"] == about
        related = {
            one["prefect.resource.role"]: one["prefect.resource.id"] for one in event["related"]
        }
        assert list(related.values()) == [
            *within,
            f"factory.tenant.{TENANT}",
            f"prefect.flow-run.{run.flow_run_id}",
        ]
        assert list(related)[-2:] == ["tenant", "flow-run"]


def test_signals_of_one_change_are_events_of_their_own_and_the_same_when_told_again():
    run, told = a_run(), a_told(Signal("job.failed", "ship"), Signal("dead-letter.opened", "ship"))
    ids = [signal_event(told, one, run)["id"] for one in told.signals * 2]
    assert ids[:2] == ids[2:]
    assert len(set(ids)) == 2


def test_facts_are_labels_too_for_automations_to_choose_by_and_none_is_a_tenants_own():
    signal = Signal("job.failed", "ship", facts={**HOSTILE, "error_code": "host-busy"})
    event = signal_event(a_told(signal), signal, a_run())
    assert event["resource"]["factory.error-code"] == "host-busy"
    assert event["payload"]["facts"] == {"error_code": "host-busy"}
    assert not any(str(value) in json.dumps(event) for value in HOSTILE.values())
