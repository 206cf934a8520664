"""What is offered: templates, what policies say to them, and what a run would do."""

from __future__ import annotations

from factory_runtime.domain.access import Role
from factory_runtime.jobs.approval import ApprovalGate
from factory_runtime.ports import RunFilter
from tests.api.laid_out import lay_out
from tests.api.site import ApiSite, somebody
from tests.builders import a_policy_record

API = "/api/v1"
ASKED = {"templateRecipeId": "service", "inputs": {"service_name": "orders"}}
POLICY = """
templates: {service: {versions: ">=1"}}
inputs: {service: {properties: {size: {maximum: 5}}}}
approval: [{name: costs, message: "may it cost that?", by: [grace]}]
max_deadline: 30m
memory: {shared: [templates, domain]}
"""


def test_templates_are_listed_with_what_is_wrong_with_them(small_site: ApiSite):
    small_site.template("broken", "id: {name}\n")
    client = small_site.client(somebody(role=Role.VIEWER))
    told = {one["templateId"]: one for one in client.get(f"{API}/templates").json()["items"]}
    assert (told["service"]["version"], told["service"]["allowed"]) == ("1.0.0", True)
    assert (told["broken"]["version"], told["broken"]["allowed"]) == (None, False)
    assert "problems" in told["broken"]["problem"]
    assert str(small_site.templates) not in told["broken"]["problem"], "that is nobody's business"


def test_a_template_says_what_it_wants_to_be_told(small_site: ApiSite):
    client = small_site.client(somebody(role=Role.VIEWER))
    for path in ("service", "service/versions/1.0.0"):
        told = client.get(f"{API}/templates/{path}").json()
        assert "service_name" in told["inputsSchema"]["properties"]
        assert [step["name"] for step in told["steps"]] == ["make", "check"]
    for path in ("nothing", "service/versions/9.9.9", "nothing/versions/1.0.0"):
        assert client.get(f"{API}/templates/{path}").status_code == 404


def test_what_policies_say_is_told_before_it_is_asked_for(small_site: ApiSite):
    small_site.template("other")
    small_site.runtime.__dict__["job_types"] = {
        **small_site.runtime.job_types,
        "approval": ApprovalGate(),
    }
    with small_site.store.begin("acme") as tx:
        tx.save_policy(a_policy_record(tenant_id="acme", document=POLICY))
    client = small_site.client(somebody())
    other = client.get(f"{API}/templates/other")
    assert other.status_code == 200, other.text
    assert other.json()["allowed"] is False
    policy = client.get(f"{API}/policy").json()["policies"][0]
    assert (policy["maxDeadline"], policy["approvals"][0]["by"]) == ("30m", ["grace"])
    assert policy["sharedMemory"] == ["templates", "domain"]
    told = client.post(f"{API}/runs/preview", json=ASKED).json()
    assert told["plan"]["deadline"] == "30m"
    assert [one["message"] for one in told["approvals"]] == ["may it cost that?"]
    assert [job["name"] for job in told["plan"]["jobs"]] == ["policy-costs", "make", "check"]
    large = {**ASKED, "inputs": {"service_name": "orders", "size": 6}}
    refused = client.post(f"{API}/runs/preview", json=large)
    assert refused.status_code == 422
    assert refused.json()["type"].endswith(":policy-refused")
    with small_site.store.begin("acme", read_only=True) as tx:
        assert tx.count_runs(RunFilter()) == 0, "nothing was recorded"


def test_a_preview_is_for_who_may_ask_for_the_run(small_site: ApiSite):
    requester = small_site.client(somebody(role=Role.REQUESTER, project_id="shop"))
    viewer = small_site.client(somebody(role=Role.VIEWER))
    asked = {**ASKED, "projectId": "shop"}
    assert requester.post(f"{API}/runs/preview", json=asked).status_code == 200
    asked = {**ASKED, "projectId": "mill"}
    assert requester.post(f"{API}/runs/preview", json=asked).status_code == 403
    assert viewer.post(f"{API}/runs/preview", json=asked).status_code == 403


def test_a_run_s_plan_effects_approvals_and_letters_hang_on_it(small_site: ApiSite):
    there = lay_out(small_site, "shop")
    app = small_site.app()
    client = small_site.client(somebody(), app)
    run = f"{API}/runs/{there.failed}"
    plan = client.get(f"{run}/plan").json()
    assert [job["name"] for job in plan["jobs"]] == ["make", "check"]
    for part, key, value in (
        ("effects", "effectKey", there.effect.effect_key),
        ("dead-letters", "letterId", there.letter.id),
    ):
        assert [one[key] for one in client.get(f"{run}/{part}").json()["items"]] == [value]
    asked = client.get(f"{API}/runs/{there.waiting}/approvals").json()["items"]
    assert [one["approvalId"] for one in asked] == [there.approval.id]
    other = small_site.client(somebody(project_id="mill"), app)
    for part in ("plan", "effects", "approvals", "dead-letters"):
        assert other.get(f"{run}/{part}").status_code == 404
    assert other.post(f"{run}/undo").status_code == 404
    refused = client.post(f"{API}/runs", json={"templateRecipeId": "service", "inputs": {"a": 1}})
    assert client.get(f"{API}/runs/{refused.json()['runId']}/plan").status_code == 404


def test_effects_are_listed_in_parts_within_the_projects(site: ApiSite):
    shop, mill = lay_out(site, "shop"), lay_out(site, "mill")
    app = site.app()
    admin, bob = site.client(somebody(), app), site.client(somebody(project_id="mill"), app)
    first = admin.get(f"{API}/effects", params={"limit": 1, "status": "intended"}).json()
    assert [one["runId"] for one in first["items"]] == [shop.failed]
    more = {"cursor": first["nextCursor"]}
    assert [one["runId"] for one in admin.get(f"{API}/effects", params=more).json()["items"]] == [
        mill.failed
    ]
    assert [one["runId"] for one in bob.get(f"{API}/effects").json()["items"]] == [mill.failed]
    assert bob.get(f"{API}/effects", params=more).status_code == 422, "it names another's"
    assert admin.get(f"{API}/effects", params={"step": "check"}).json()["items"] == []


def test_a_run_is_undone_once_and_by_who_operates_it(small_site: ApiSite):
    there = lay_out(small_site, "shop")
    app = small_site.app()
    bob = small_site.client(somebody(role=Role.OPERATOR, project_id="shop", name="bob"), app)
    requester = small_site.client(somebody(role=Role.REQUESTER), app)
    address = f"{API}/runs/{there.failed}/undo"
    assert requester.post(address).status_code == 403
    assert bob.post(f"{API}/runs/{there.waiting}/undo").status_code == 409, "it has not ended"
    with small_site.store.begin("acme") as tx:  # else the undoing waits for whoever is at it
        tx.confirm_effect(
            there.effect.effect_key, "repository", "orders", small_site.runtime.clock.now()
        )
    first, second = bob.post(address), bob.post(address)
    assert first.status_code == second.status_code == 202
    assert first.json() == second.json()
    assert small_site.stands("acme", first.json()["undoneBy"]).undoes == there.failed
