"""Automations on a real server: made once, repaired, left switched off, and really fired."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock

from cli.main import main
from deployments import our_automations as ours
from deployments.automations import deploy
from factory_runtime.domain.errors import FactoryError
from factory_runtime.domain.notice import NoticeKind, notice_to_payload
from factory_runtime.orchestration.events import PrefectEvents
from tests.builders import a_message
from tests.factory import Factory, until
from tests.prefect_server import Prefect
from tests.receivers import a_notice, web_receiver
from tests.work_types import a_work_template

pytestmark = pytest.mark.slow

ZOMBIES, LETTERS, SWEEP = (
    "Factory: zombies",
    "Factory: dead letters",
    "Factory: sweep after crashes",
)


@pytest.fixture(autouse=True)
def clean(prefect: Prefect) -> Iterator[None]:
    """Every test begins and ends without automations."""
    remove_all(prefect)
    yield
    remove_all(prefect)


class Typed:
    """Types `factory deploy automations` in this process: a new one would import Prefect anew."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def refused(self, *options: str) -> tuple[int, str]:
        """Exit code and what it says of a mistake."""
        code, _, mistake = self._type(*options)
        return code, mistake

    def told(self, *options: str) -> str:
        """What it says to people."""
        code, said, mistake = self._type(*options)
        assert code == 0, mistake
        return said

    def __call__(self, *options: str) -> dict[str, dict[str, Any]]:
        """What it says of each automation, by name."""
        return {
            one["name"]: one for one in json.loads(self.told("--json", *options))["automations"]
        }

    def _type(self, *options: str) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code = main(["deploy", "automations", *options])
        said = self._capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def deployed(
    factory: Factory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Typed:
    for name, value in factory.environment().items():
        if name.startswith("FACTORY_"):
            monkeypatch.setenv(name, value)
    return Typed(capsys)


def standing(prefect: Prefect) -> dict[str, dict[str, Any]]:
    """The automations on the server, by name; no two may have the same."""
    found = prefect.ask("POST", "/automations/filter", {"limit": 200})
    by_name = {one["name"]: one for one in found}
    assert len(by_name) == len(found)
    return by_name


def remove_all(prefect: Prefect) -> None:
    for one in prefect.ask("POST", "/automations/filter", {"limit": 200}):
        prefect.ask("DELETE", f"/automations/{one['id']}")


def edit(prefect: Prefect, automation: dict[str, Any], **changes: Any) -> None:
    """Save it as the UI does."""
    kept = ("name", "description", "enabled", "tags", "trigger", "actions")
    body = {key: automation[key] for key in kept} | changes
    prefect.ask("PUT", f"/automations/{automation['id']}", body)


def a_deployment(prefect: Prefect, flow: str, name: str) -> str:
    """A deployment whose flow runs nobody executes."""
    flow_id = prefect.ask("POST", "/flows/", {"name": flow})["id"]
    schema = {
        "type": "object",
        "properties": {"tenant": {"type": "string"}, "n": {"type": "integer"}},
    }
    body = {"flow_id": flow_id, "name": name, "parameter_openapi_schema": schema}
    return prefect.ask("POST", "/deployments/", body | {"entrypoint": f"flows.{flow}.{flow}"})["id"]


def flow_runs_of(prefect: Prefect, deployment_id: str) -> list[dict[str, Any]]:
    wanted = {"deployments": {"id": {"any_": [deployment_id]}}, "sort": "ID_DESC", "limit": 50}
    return prefect.ask("POST", "/flow_runs/filter", wanted)


def fired_by(prefect: Prefect, automation: dict[str, Any]) -> list[str]:
    """The keys of the events that it fired for."""
    resource = {"id": [f"prefect.automation.{automation['id']}"]}
    wanted = {"filter": {"resource": resource}, "limit": 50}
    events = prefect.ask("POST", "/events/filter", wanted)["events"]
    return [
        event["payload"]["triggering_event"]["payload"]["key"]
        for event in events
        if event["event"] == "prefect.automation.triggered"
    ]


def tell_dead_letter(factory: Factory, key: str) -> None:
    facts = {"letters": 3, "job_type": "act", "error_code": "host-busy", "fingerprint": "abc"}
    notice = a_notice(key=key, kind=NoticeKind.DEAD_LETTER, at=datetime.now(UTC), facts=facts)
    events = PrefectEvents(factory.runtime.store)
    events.tell_notice(a_message(payload=notice_to_payload(notice)))


def again_until(act: Callable[[], object], heard: Callable[[], object], what: str) -> None:
    """Act now and then until somebody hears: the server takes an automation up in its own time."""
    polls = count()

    def told() -> object:
        if next(polls) % 10 == 0:
            act()
        return heard()

    until(told, what, every=0.2)


def alert_until(factory: Factory, heard: Callable[[], object], what: str) -> None:
    again_until(lambda: tell_dead_letter(factory, f"alert-{uuid4()}"), heard, what)


def test_they_are_made_once_and_nothing_is_done_the_second_time(deployed: Typed, prefect: Prefect):
    first = deployed()
    assert (first[ZOMBIES]["did"], first[LETTERS]["did"]) == ("created", "created")
    assert first[SWEEP]["did"] == "skipped"
    before = standing(prefect)
    assert set(before) == {ZOMBIES, LETTERS}
    again = deployed()
    assert {again[ZOMBIES]["did"], again[LETTERS]["did"]} == {"unchanged"}
    assert standing(prefect) == before


def test_people_are_told_what_became_of_each(deployed: Typed, prefect: Prefect):
    said = deployed.told()
    assert [line.split("  ")[0] for line in said.splitlines()[1:]] == [ZOMBIES, LETTERS, SWEEP]
    assert "prefect deploy --all" in said
    assert set(standing(prefect)) == {ZOMBIES, LETTERS}


def test_one_that_was_edited_is_repaired_and_says_what_differed(deployed: Typed, prefect: Prefect):
    deployed()
    zombies = standing(prefect)[ZOMBIES]
    edit(
        prefect,
        zombies,
        name="my own",
        trigger=zombies["trigger"] | {"within": 20.0},
        actions=[{"type": "cancel-flow-run"}],
        tags=["mine", "factory:zombies"],
    )
    said = deployed()[ZOMBIES]
    assert (said["did"], set(said["detail"])) == (
        "repaired",
        {"name", "trigger", "actions", "tags"},
    )
    mended = standing(prefect)[ZOMBIES]
    assert mended["id"] == zombies["id"]
    assert mended["trigger"]["within"] == zombies["trigger"]["within"]
    assert mended["actions"] == zombies["actions"]
    assert set(mended["tags"]) == {"mine", "factory", "factory:zombies"}


def test_one_that_was_switched_off_stays_off(deployed: Typed, prefect: Prefect):
    deployed()
    prefect.ask("PATCH", f"/automations/{standing(prefect)[ZOMBIES]['id']}", {"enabled": False})
    edit(prefect, standing(prefect)[ZOMBIES], description="changed")
    said = deployed()[ZOMBIES]
    assert (said["did"], said["detail"], said["enabled"]) == ("repaired", ["description"], False)
    assert not standing(prefect)[ZOMBIES]["enabled"]


def test_what_people_chose_for_dead_letters_is_kept(deployed: Typed, prefect: Prefect):
    deployed()
    chosen = [{"type": "cancel-flow-run"}]
    edit(prefect, standing(prefect)[LETTERS], actions=chosen)
    assert deployed()[LETTERS]["did"] == "unchanged"
    assert standing(prefect)[LETTERS]["actions"] == chosen


def test_one_without_its_tag_is_known_by_its_name(deployed: Typed, prefect: Prefect):
    deployed()
    letters = standing(prefect)[LETTERS]
    edit(prefect, letters, tags=[])
    assert deployed()[LETTERS]["did"] == "repaired"
    assert standing(prefect)[LETTERS]["id"] == letters["id"]


def test_two_at_once_leave_one_of_each(deployed: Typed, prefect: Prefect):
    wanted = [ours.zombies(), ours.dead_letters()]
    with ThreadPoolExecutor(4) as people:
        # Which server it is stands in the context of a thread.
        calls = [people.submit(copy_context().run, deploy, wanted) for _ in range(4)]
        did = [one.did for call in calls for one in call.result()]
    assert did.count("created") >= 2
    assert set(did) <= {"created", "unchanged"}
    assert set(standing(prefect)) == {ZOMBIES, LETTERS}


def test_a_double_left_by_a_kill_is_removed(deployed: Typed, prefect: Prefect):
    deployed()
    before = standing(prefect)
    kept = before[LETTERS]
    double = {key: kept[key] for key in ("name", "tags", "trigger", "actions")}
    prefect.ask("POST", "/automations/", double)
    foreign = prefect.ask("POST", "/automations/", double | {"name": "theirs", "tags": ["factory"]})
    deployed()
    assert standing(prefect) == before | {"theirs": foreign}


def test_an_alert_of_dead_letters_fires_it_once_however_often_it_is_told(
    factory: Factory, deployed: Typed, prefect: Prefect
):
    deployed()
    letters = standing(prefect)[LETTERS]

    alert_until(factory, lambda: fired_by(prefect, letters), "it fired")
    for key in ("twice", "twice", "last"):
        tell_dead_letter(factory, key)
    until(lambda: "last" in fired_by(prefect, letters), "it fired for the last", every=0.2)
    assert fired_by(prefect, letters).count("twice") == 1


def test_an_alert_of_dead_letters_reaches_the_block_that_was_named(
    factory: Factory, deployed: Typed, prefect: Prefect
):
    with web_receiver() as web:
        json_data = {"said": "{{subject}}: {{body}}"}
        url = f"http://127.0.0.1:{web.port}/alert"
        block = CustomWebhookNotificationBlock(
            name="alert", url=url, json_data=json_data, headers=None, cookies=None
        )
        block.save("on-call", overwrite=True)
        named = ("--alert", "custom-webhook/on-call")
        assert deployed()[LETTERS]["did"] == "created"
        assert deployed(*named)[LETTERS]["detail"] == ["actions"]
        assert deployed(*named)[LETTERS]["did"] == "unchanged"
        alert_until(factory, lambda: web.requests, "it was sent")
        said = web.requests[0].body["said"]
    assert said.startswith("Dead letters of acme: act: host-busy, 3 waiting")
    assert "factory dead-letters list --tenant acme --fingerprint abc" in said


def test_an_event_runs_a_deployment_with_what_the_event_says(
    factory: Factory, deployed: Typed, prefect: Prefect
):
    deployment = a_deployment(prefect, "on-event", "theirs")
    options = ("--on", "factory.run.refused", "--run", "on-event/theirs")
    values = ("--set", "tenant={{ event.payload.tenant }}", "--set", "n=3")
    name = "Factory: factory.run.refused runs on-event/theirs"
    assert deployed(*options, *values)[name]["did"] == "created"
    assert deployed(*options, *values)[name]["did"] == "unchanged"
    assert deployed(*options, "--set", "n=4")[name]["detail"] == ["actions"]
    deployed(*options, *values)
    factory.template("refusing", a_work_template("refusing", "name: one, type: touch"))

    def refuse() -> None:
        with pytest.raises(FactoryError):
            factory.request("refusing", "events", "automated", nothing="of this name")

    again_until(refuse, lambda: flow_runs_of(prefect, deployment), "the deployment was run")
    assert flow_runs_of(prefect, deployment)[0]["parameters"] == {"tenant": "automated", "n": 3}


def test_a_crash_runs_the_sweep_where_it_has_a_deployment(deployed: Typed, prefect: Prefect):
    deployment = a_deployment(prefect, "sweep", "sweep")
    try:
        assert deployed()[SWEEP]["did"] == "created"

        def crash() -> None:
            prefect.force(a_flow_run(prefect, "tenant:automated"), "CRASHED")

        again_until(crash, lambda: flow_runs_of(prefect, deployment), "the sweep was run")
    finally:
        prefect.ask("DELETE", f"/deployments/{deployment}")


def a_flow_run(prefect: Prefect, *tags: str) -> str:
    """One that is Running, and that nobody executes."""
    flow_id = prefect.ask("POST", "/flows/", {"name": "silent"})["id"]
    body = {"flow_id": flow_id, "tags": list(tags), "state": {"type": "RUNNING"}}
    return prefect.ask("POST", "/flow_runs/", body)["id"]


def beat(prefect: Prefect, flow_run_id: str, *tags: str, event: str = "heartbeat") -> None:
    """A sign of life, as Prefect's engine gives it."""
    role = "prefect.resource.role"
    body = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": f"prefect.flow-run.{event}",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{flow_run_id}"},
        "related": [{"prefect.resource.id": f"prefect.tag.{tag}", role: "tag"} for tag in tags],
        "payload": {},
    }
    prefect.ask("POST", "/events", [body])


def test_who_gives_no_sign_of_life_is_crashed_and_neither_who_rests_nor_who_is_not_ours(
    prefect: Prefect,
):
    deploy([ours.zombies(silence=timedelta(seconds=10))])
    tags = ("tenant:automated",)
    silent, resting = a_flow_run(prefect, *tags), a_flow_run(prefect, *tags)
    foreign = a_flow_run(prefect, "their-own")
    tags_of = {silent: tags, resting: tags, foreign: ("their-own",)}
    polls = count()

    def crashed() -> bool:
        match next(polls) % 60:
            case 0:  # the first ones may come before the automation is taken up
                for one, its in tags_of.items():
                    beat(prefect, one, *its)
            case 4:  # later: the server takes events of one moment up in any order
                beat(prefect, resting, *tags, event="Paused")
            case _:
                pass
        return prefect.state(silent)[0] == "CRASHED"

    until(crashed, "the silent one was found", every=0.25)
    assert prefect.state(resting)[0] == prefect.state(foreign)[0] == "RUNNING"


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--on", "factory.run.failed"), 2, "belong together"),
        (("--set", "a=1"), 2, "belong together"),
        (("--on", "x", "--run", "nope"), 2, "FLOW/DEPLOYMENT"),
        (("--on", "x", "--run", "no/such"), 2, "no deployment no/such"),
        (("--alert", "secret/none"), 2, "no block secret/none"),
        (("--alert", "slack-webhook/none"), 2, "no block slack-webhook/none"),
        (("--on", "x", "--run", "a/b", "--set", "=1"), 2, "NAME=VALUE"),
        (("--on", "x", "--run", "a/b", "--set", "n=1", "--set", "n=2"), 2, "twice"),
    ],
)
def test_what_is_not_there_is_refused_and_nothing_is_made(
    deployed: Typed, prefect: Prefect, options: tuple[str, ...], code: int, says: str
):
    said, error = deployed.refused(*options)
    assert (said, says in error) == (code, True), error
    assert standing(prefect) == {}
