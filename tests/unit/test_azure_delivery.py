"""What Azure DevOps offers beside repositories: its own ways, and its bad days."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from factory_runtime.domain.errors import (
    FactoryError,
    HostBusyError,
    HostRejectedError,
    InputError,
    TransientError,
)
from factory_runtime.hosts.azure_devops.access import AzureDevOps, personal_token
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient
from factory_runtime.hosts.azure_devops.delivery import AzureDevOpsDelivery
from factory_runtime.hosts.azure_devops.errors import TurnedDownError
from factory_runtime.hosts.azure_devops.marks import mark_of
from factory_runtime.ports import (
    BuildOrder,
    BuildResult,
    Delivery,
    HookOrder,
    Link,
    PipelineOrder,
    PullRequestOrder,
    WorkItemOrder,
)
from tests.azure_offers import AzureOffered
from tests.deliveries import AT
from tests.forge import Forge

KEY = "run-1:deliver"
PIPELINE = PipelineOrder("shop", "orders", "orders", "azure-pipelines.yml", KEY)
REQUEST = PullRequestOrder("shop", "orders", "topic", "Merge it", "Why", KEY)
ITEM = WorkItemOrder("shop", "Task", "Look", "It is <made> &\nready", KEY)
HOOK = HookOrder(
    "shop", "build.complete", "https://f.example/hook?a=1", KEY, "orders", {"X-K": "s"}
)


CHANGES = (
    "pipelines.create", "runs.create", "build-tags.add", "pull-requests.create",
    "work-items.create", "hooks.create",
)  # fmt: skip


PERMISSIONS = {
    "GenericRead", "View build pipeline", "View builds", "View subscriptions", "View work items in this node",
    "Edit build pipeline", "Queue builds", "Edit build quality", "PullRequestContribute",
    "Edit work items in this node", "Edit subscriptions",
}  # fmt: skip


@pytest.fixture
def azure(forge: Forge) -> AzureOffered:
    return AzureOffered(forge)


def queue(delivery: Delivery, pipeline_id: str, **more: str) -> str:
    order = BuildOrder("shop", pipeline_id, f"{KEY}#1", "main", more, AT)
    return delivery.ensure_build("acme", order).id


def deliver_all(delivery: Delivery, tenant: str) -> None:
    """One of each, linked."""
    pipeline = delivery.ensure_pipeline(tenant, PIPELINE)
    order = BuildOrder("shop", pipeline.id, f"{KEY}#1", "main", {}, AT)
    build = delivery.ensure_build(tenant, order)
    branch = replace(REQUEST, branch=tenant, effect_key=f"{KEY}-{tenant}")
    request = delivery.ensure_pull_request(tenant, branch)
    links = (Link("build", build.id), Link("pull-request", request.id, "orders"))
    delivery.ensure_work_item(tenant, replace(ITEM, links=links))
    delivery.ensure_hook(tenant, HOOK)


# --- each thing once, wherever it is cut off


def test_cut_off_after_any_change_each_thing_is_made_once(azure: AzureOffered) -> None:
    git = azure.forge.repository("shop", "orders").git
    for number, change in enumerate(CHANGES, 1):
        tenant = f"tenant-{number}"
        git("update-ref", f"refs/heads/{tenant}", "refs/heads/topic")
        azure.forge.cut(change, "after")
        with pytest.raises(TransientError):
            deliver_all(azure.delivery, tenant)
        deliver_all(azure.delivery, tenant)
        for made in (
            azure.pipelines(), azure.builds(), azure.pull_requests(), azure.work_items(),
            azure.hooks(),
        ):  # fmt: skip
            assert len(made) == number, change
    changes = {one.route for one in azure.forge.seen if one.method in ("POST", "PUT", "PATCH")}
    assert changes == {*CHANGES, "work-items.query"}


# --- refusals


@pytest.mark.parametrize(
    "lacks",
    [
        "Edit build pipeline", "Queue builds", "PullRequestContribute",
        "Edit work items in this node", "Edit subscriptions",
    ],
)  # fmt: skip
def test_the_permission_that_is_missing_is_named(azure: AzureOffered, lacks: str) -> None:
    poor = azure.delivery_of(azure.forge.add_token(*(PERMISSIONS - {lacks})))
    with pytest.raises(HostRejectedError, match=lacks):
        deliver_all(poor, "topic")


def test_an_expired_token_is_said_to_be_so(azure: AzureOffered) -> None:
    with pytest.raises(HostRejectedError, match="does not accept the token"):
        azure.delivery_of(azure.forge.add_token(expired=True)).ensure_hook("acme", HOOK)


@pytest.mark.parametrize("redirects", [True, False])
def test_a_token_that_is_not_known_is_said_to_be_so(azure: AzureOffered, redirects: bool) -> None:
    azure.forge.redirect_strangers(redirects)
    with pytest.raises(HostRejectedError, match="does not accept the token"):
        azure.delivery_of("wrong").ensure_pipeline("acme", PIPELINE)


def test_what_cannot_be_is_the_callers_to_mend(azure: AzureOffered) -> None:
    delivery = azure.delivery
    with pytest.raises(InputError, match="no repository shop/billing"):
        delivery.ensure_pipeline("acme", replace(PIPELINE, repository="billing"))
    with pytest.raises(InputError, match="TeamProject"):
        delivery.ensure_work_item("acme", replace(ITEM, fields={"system.teamproject": "other"}))
    with pytest.raises(InputError, match="Epos"):
        delivery.ensure_work_item("acme", replace(ITEM, type="Epos"))
    with pytest.raises(InputError, match="warehouse"):
        delivery.ensure_hook("acme", replace(HOOK, project_id="warehouse"))


def test_a_parameter_that_the_pipeline_does_not_have_is_named(azure: AzureOffered) -> None:
    pipeline = azure.delivery.ensure_pipeline("acme", PIPELINE)
    with pytest.raises(HostRejectedError, match="colour"):
        queue(azure.delivery, pipeline.id, colour="red")
    assert azure.builds() == []


# --- waits


def test_throttled_it_says_for_how_long(azure: AzureOffered) -> None:
    azure.forge.throttle("pipelines.create", 60)
    with pytest.raises(HostBusyError) as refused:
        azure.delivery.ensure_pipeline("acme", PIPELINE)
    assert refused.value.retry_after == timedelta(seconds=60)
    assert azure.pipelines() == []


def test_a_good_answer_that_asks_to_wait_keeps_the_next_request(azure: AzureOffered) -> None:
    azure.forge.slow_down("work-items.query", 60)
    with pytest.raises(HostBusyError):
        azure.delivery.ensure_work_item("acme", ITEM)
    assert (azure.forge.count("work-items.query"), azure.forge.count("work-items.create")) == (1, 0)


def test_a_build_that_was_queued_a_moment_ago_may_be_about_to_be_marked(
    azure: AzureOffered,
) -> None:
    pipeline = azure.delivery.ensure_pipeline("acme", PIPELINE)
    azure.lose_next_answer("build")
    with pytest.raises(HostBusyError):
        queue(azure.delivery, pipeline.id)
    with pytest.raises(HostBusyError) as early:
        queue(azure.patient_delivery(timedelta(minutes=1)), pipeline.id)
    assert early.value.retry_after == timedelta(minutes=1)
    assert [queue(azure.delivery, pipeline.id)] == azure.builds()


# --- as people see it


def test_a_pipeline_lies_in_the_folder_of_its_mark(azure: AzureOffered) -> None:
    made = azure.delivery.ensure_pipeline("acme", PIPELINE)
    told = azure.forge.world.definitions[int(made.id)]
    assert told["path"] == f"\\factory\\{mark_of('acme', KEY)}"
    assert made.url.endswith(f"_build/definition?definitionId={made.id}")


def test_a_pull_request_begins_with_its_mark_and_fits(azure: AzureOffered) -> None:
    item = azure.delivery.ensure_work_item("acme", ITEM)
    order = replace(REQUEST, description="x" * 5000, work_items=(item.id,))
    made = azure.delivery.ensure_pull_request("acme", order)
    told = azure.forge.world.pull_requests[int(made.id)]
    assert told["description"].startswith(f"<!-- {mark_of('acme', KEY)} -->\nxxx")
    (link,) = azure.work_item(item.id)["relations"]
    assert link["url"].endswith(f"%2f{made.id}")
    assert made.url.endswith(f"/_git/orders/pullrequest/{made.id}")


def test_a_work_item_says_what_was_said_and_keeps_its_own_tags(azure: AzureOffered) -> None:
    fields = {"System.Tags": "service", "System.AreaPath": "shop"}
    made = azure.delivery.ensure_work_item("acme", replace(ITEM, fields=fields))
    told = azure.work_item(made.id)["fields"]
    assert told["System.Description"] == "It is &lt;made&gt; &amp;<br>ready"
    assert set(told["System.Tags"].split("; ")) == {"service", mark_of("acme", KEY)}
    assert made.url.endswith(f"_workitems/edit/{made.id}")


def test_links_are_those_that_azure_devops_knows(azure: AzureOffered) -> None:
    links = (
        Link("commit", "ab" * 20, "orders", "by step apply"),
        Link("pull-request", "7", "orders"),
        Link("build", "8"),
        Link("page", "https://f.example/runs/1", comment="the run"),
        Link("build", "8", comment="again"),
    )
    made = azure.delivery.ensure_work_item("acme", replace(ITEM, links=links))
    repo = azure.forge.repository("shop", "orders")
    inside = f"{repo.project.id}%2F{repo.id}%2F"
    told = {one["url"]: one["attributes"] for one in azure.work_item(made.id)["relations"]}
    assert list(told) == [
        f"vstfs:///Git/Commit/{inside}{'ab' * 20}",
        f"vstfs:///Git/PullRequestId/{inside}7",
        "vstfs:///Build/Build/8",
        "https://f.example/runs/1",
    ]
    assert told["https://f.example/runs/1"]["comment"] == "the run"


def test_a_hook_tells_of_one_repository_and_shows_its_headers_to_nobody(
    azure: AzureOffered,
) -> None:
    made = azure.delivery.ensure_hook("acme", HOOK)
    told = azure.forge.world.hooks[made]
    repo = azure.forge.repository("shop", "orders")
    assert told["publisherInputs"] == {"projectId": repo.project.id, "repository": repo.id}
    assert told["consumerInputs"]["httpHeaders"] == "X-K:s"
    mark = mark_of("acme", KEY)
    assert told["consumerInputs"]["url"] == f"https://f.example/hook?a=1&factory_hook={mark}"


def test_a_hook_that_the_host_has_disabled_is_not_taken_for_one(azure: AzureOffered) -> None:
    made = azure.delivery.ensure_hook("acme", HOOK)
    azure.forge.world.hooks[made]["status"] = "disabledBySystem"
    with pytest.raises(TurnedDownError, match="disabledBySystem"):
        azure.delivery.ensure_hook("acme", HOOK)


@pytest.mark.parametrize(
    ("projects", "is_refused"), [("{project}", True), ("{tenant}-{project}", False)]
)
def test_where_tenants_share_projects_nobody_is_told_of_them(
    azure: AzureOffered, projects: str, is_refused: bool
) -> None:
    tokens = personal_token(azure.forge.add_token())
    access = AzureDevOps(azure.forge.url, tokens, projects, is_shared=True)
    azure.forge.add_project("acme-shop")
    delivery = AzureDevOpsDelivery(AzureDevOpsClient(access))
    order = replace(HOOK, repository=None)
    if is_refused:
        with pytest.raises(InputError, match="tenants share"):
            delivery.ensure_hook("acme", order)
    else:
        assert delivery.ensure_hook("acme", order) in azure.forge.world.hooks


def test_all_logs_of_a_build_are_one(azure: AzureOffered) -> None:
    build = queue(azure.delivery, azure.delivery.ensure_pipeline("acme", PIPELINE).id)
    azure.forge.world.logs[int(build)].append(["first", "of all"])
    azure.finish(build, BuildResult.CANCELLED, "then\nnext")
    log = b"".join(azure.delivery.read_log("acme", "shop", build)).decode()
    assert log.split() == ["first", "of", "all", "then", "next"]
    ended = azure.delivery.get_build("acme", "shop", build)
    assert ended.result is BuildResult.CANCELLED


def test_a_log_that_is_cut_off_is_not_taken_for_whole(azure: AzureOffered) -> None:
    build = queue(azure.delivery, azure.delivery.ensure_pipeline("acme", PIPELINE).id)
    azure.finish(build, BuildResult.FAILED, "a line\n" * 500)
    azure.forge.cut("build-logs.get", "amid")
    with pytest.raises(FactoryError):
        b"".join(azure.delivery.read_log("acme", "shop", build))
