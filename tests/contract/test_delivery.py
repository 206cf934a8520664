"""What every host does that offers more than repositories."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory_runtime.domain.errors import (
    ConflictError,
    HostBusyError,
    InputError,
    NotFoundError,
)
from factory_runtime.ports import (
    Build,
    BuildOrder,
    BuildResult,
    BuildStatus,
    HookOrder,
    Link,
    Pipeline,
    PipelineOrder,
    PullRequest,
    PullRequestOrder,
    PullRequestStatus,
    WorkItemOrder,
)
from tests.deliveries import AT, Offered

KEY = "run-1:deliver"


def a_pipeline_order(effect_key: str = KEY, name: str = "orders") -> PipelineOrder:
    return PipelineOrder("shop", "orders", name, "azure-pipelines.yml", effect_key)


def a_request_order(effect_key: str = KEY) -> PullRequestOrder:
    return PullRequestOrder("shop", "orders", "topic", "Merge it", "Why " * 300, effect_key)


def an_item_order(*links: Link, effect_key: str = KEY) -> WorkItemOrder:
    return WorkItemOrder("shop", "Task", "Look <here>", "It & that\nis made", effect_key, {}, links)


def a_hook_order(effect_key: str = KEY) -> HookOrder:
    headers = {"X-Factory-Key": "s3cret"}
    return HookOrder(
        "shop", "build.complete", "https://f.example/hooks/1", effect_key, None, headers
    )


def make_pipeline(offered: Offered) -> Pipeline:
    return offered.delivery.ensure_pipeline("acme", a_pipeline_order())


def queue(offered: Offered, pipeline: Pipeline, number: int = 1) -> Build:
    order = BuildOrder("shop", pipeline.id, f"{KEY}#{number}", "main", {"speed": "high"}, AT)
    return offered.delivery.ensure_build("acme", order)


def open_request(offered: Offered) -> PullRequest:
    return offered.delivery.ensure_pull_request("acme", a_request_order())


# --- pipelines


def test_a_pipeline_is_made_once_and_found_again(offered: Offered) -> None:
    find, delivery = offered.delivery.find_pipeline, offered.delivery
    assert find("acme", "shop", "orders", effect_key=KEY) is None
    made, again = make_pipeline(offered), make_pipeline(offered)
    assert (made.created, again.created) == (True, False)
    assert replace(made, created=False) == again == find("acme", "shop", "orders", effect_key=KEY)
    assert find("rival", "shop", "orders", effect_key=KEY) is None
    assert delivery.find_pipeline("acme", "shop", "orders", effect_key="run-2:deliver") is None
    assert len(offered.pipelines()) == 1


def test_a_later_run_takes_the_pipeline_of_an_earlier_one(offered: Offered) -> None:
    made = make_pipeline(offered)
    again = offered.delivery.ensure_pipeline("acme", a_pipeline_order("run-2:deliver"))
    assert (again.id, again.created) == (made.id, False)


def test_the_pipeline_of_another_tenant_is_not_taken(offered: Offered) -> None:
    made = make_pipeline(offered)
    theirs = offered.delivery.ensure_pipeline("rival", a_pipeline_order())
    assert (theirs.id != made.id, theirs.created) == (True, True)


def test_a_pipeline_whose_making_was_not_answered_is_found(offered: Offered) -> None:
    offered.lose_next_answer("pipeline")
    with pytest.raises(HostBusyError):
        make_pipeline(offered)
    assert not make_pipeline(offered).created
    assert len(offered.pipelines()) == 1


def test_a_project_that_is_not_there_is_named(offered: Offered) -> None:
    with pytest.raises(InputError, match="warehouse"):
        offered.delivery.ensure_pipeline(
            "acme", replace(a_pipeline_order(), project_id="warehouse")
        )


# --- builds


def test_a_build_is_queued_once_and_found_again(offered: Offered) -> None:
    pipeline = make_pipeline(offered)
    find = offered.delivery.find_build
    assert find("acme", "shop", pipeline.id, effect_key=f"{KEY}#1", since=AT) is None
    made, again = queue(offered, pipeline), queue(offered, pipeline)
    assert (made.created, again.created, made.id) == (True, False, again.id)
    assert made.status is not BuildStatus.ENDED
    assert made.url.startswith("http")
    found = find("acme", "shop", pipeline.id, effect_key=f"{KEY}#1")
    assert (found is not None and found.id) == made.id
    assert find("rival", "shop", pipeline.id, effect_key=f"{KEY}#1") is None
    assert offered.builds() == [made.id]


def test_a_build_that_is_tried_anew_is_another(offered: Offered) -> None:
    pipeline = make_pipeline(offered)
    first, second = queue(offered, pipeline, 1), queue(offered, pipeline, 2)
    assert first.id != second.id
    assert len(offered.builds()) == 2


def test_a_build_whose_queueing_was_not_answered_is_found(offered: Offered) -> None:
    pipeline = make_pipeline(offered)
    offered.lose_next_answer("build")
    with pytest.raises(HostBusyError):
        queue(offered, pipeline)
    found = queue(offered, pipeline)
    assert (offered.builds(), found.created) == ([found.id], False)
    assert queue(offered, pipeline, 2).id != found.id


def test_the_probe_finds_a_build_whose_queueing_was_not_answered(offered: Offered) -> None:
    pipeline = make_pipeline(offered)
    offered.lose_next_answer("build")
    with pytest.raises(HostBusyError):
        queue(offered, pipeline)
    found = offered.delivery.find_build(
        "acme", "shop", pipeline.id, effect_key=f"{KEY}#1", since=AT
    )
    assert (found is not None and found.id) == offered.builds()[0]


def test_a_build_that_somebody_else_queued_is_not_ours(offered: Offered) -> None:
    pipeline = make_pipeline(offered)
    theirs = offered.queue_by_hand(pipeline.id)
    made = queue(offered, pipeline)
    assert (made.created, made.id != theirs) == (True, True)


def test_a_build_comes_to_its_end_with_a_log(offered: Offered) -> None:
    build, delivery = queue(offered, make_pipeline(offered)), offered.delivery
    offered.finish(build.id, BuildResult.FAILED, "compiling…\nno room\n")
    ended = delivery.get_build("acme", "shop", build.id)
    assert (ended.status, ended.result) == (BuildStatus.ENDED, BuildResult.FAILED)
    log = b"".join(delivery.read_log("acme", "shop", build.id)).decode()
    assert "compiling…" in log
    assert "no room" in log


def test_a_build_is_cancelled_unless_it_has_ended(offered: Offered) -> None:
    pipeline, delivery = make_pipeline(offered), offered.delivery
    running, ended = queue(offered, pipeline, 1), queue(offered, pipeline, 2)
    offered.finish(ended.id, BuildResult.SUCCEEDED)
    for build in (running, ended):
        delivery.cancel_build("acme", "shop", build.id)
    assert delivery.get_build("acme", "shop", running.id).result is BuildResult.CANCELLED
    assert delivery.get_build("acme", "shop", ended.id).result is BuildResult.SUCCEEDED


def test_a_build_that_is_not_there_is_not_found(offered: Offered) -> None:
    with pytest.raises(NotFoundError):
        offered.delivery.get_build("acme", "shop", "99999")


# --- pull requests


def test_a_pull_request_is_opened_once_and_found_again(offered: Offered) -> None:
    find = offered.delivery.find_pull_request
    assert find("acme", "shop", "orders", effect_key=KEY) is None
    made, again = open_request(offered), open_request(offered)
    assert (made.created, again.created, made.branch, made.target) == (
        True, False, "topic", "main",
    )  # fmt: skip
    assert replace(made, created=False) == again == find("acme", "shop", "orders", effect_key=KEY)
    assert find("rival", "shop", "orders", effect_key=KEY) is None
    assert len(offered.pull_requests()) == 1


def test_a_pull_request_whose_opening_was_not_answered_is_found(offered: Offered) -> None:
    offered.lose_next_answer("pull-request")
    with pytest.raises(HostBusyError):
        open_request(offered)
    assert not open_request(offered).created
    assert len(offered.pull_requests()) == 1


def test_the_pull_request_of_somebody_else_is_not_taken(offered: Offered) -> None:
    offered.open_by_hand("topic")
    with pytest.raises(ConflictError, match="topic"):
        open_request(offered)
    assert len(offered.pull_requests()) == 1


def test_a_pull_request_is_abandoned_unless_it_is_merged(offered: Offered) -> None:
    made, delivery = open_request(offered), offered.delivery
    delivery.abandon_pull_request("acme", "shop", "orders", made.id)
    delivery.abandon_pull_request("acme", "shop", "orders", made.id)
    found = delivery.find_pull_request("acme", "shop", "orders", effect_key=KEY)
    assert (found is not None and found.status) == PullRequestStatus.ABANDONED


def test_a_merged_pull_request_stays_merged(offered: Offered) -> None:
    made, delivery = open_request(offered), offered.delivery
    offered.merge(made.id)
    delivery.abandon_pull_request("acme", "shop", "orders", made.id)
    assert open_request(offered).status is PullRequestStatus.MERGED


# --- work items


def test_a_work_item_is_made_once_and_found_again(offered: Offered) -> None:
    delivery = offered.delivery
    assert delivery.find_work_item("acme", "shop", effect_key=KEY) is None
    made = delivery.ensure_work_item("acme", an_item_order())
    again = delivery.ensure_work_item("acme", an_item_order())
    assert (made.created, again.created, made.id) == (True, False, again.id)
    found = delivery.find_work_item("acme", "shop", effect_key=KEY)
    assert (found is not None and found.id) == made.id
    assert delivery.find_work_item("rival", "shop", effect_key=KEY) is None
    assert delivery.find_work_item("acme", "shop", effect_key=f"{KEY}s") is None
    assert offered.work_items() == [made.id]


def test_a_work_item_whose_making_was_not_answered_is_found(offered: Offered) -> None:
    offered.lose_next_answer("work-item")
    with pytest.raises(HostBusyError):
        offered.delivery.ensure_work_item("acme", an_item_order())
    assert not offered.delivery.ensure_work_item("acme", an_item_order()).created
    assert len(offered.work_items()) == 1


def test_a_work_item_has_each_of_its_links_once(offered: Offered) -> None:
    request, pipeline = open_request(offered), make_pipeline(offered)
    build = queue(offered, pipeline)
    some = (
        Link("commit", "ab" * 20, "orders", "by step apply"),
        Link("pull-request", request.id, "orders"),
        Link("page", "https://f.example/runs/1", comment="the run"),
    )
    made = offered.delivery.ensure_work_item("acme", an_item_order(*some))
    assert offered.links_of(made.id) == 3
    later = Link("build", build.id)
    for _ in range(2):
        offered.delivery.ensure_work_item("acme", an_item_order(*some, later))
    assert offered.links_of(made.id) == 4


# --- hooks


def test_a_hook_is_made_once(offered: Offered) -> None:
    made = offered.delivery.ensure_hook("acme", a_hook_order())
    assert offered.delivery.ensure_hook("acme", a_hook_order()) == made
    theirs = offered.delivery.ensure_hook("rival", a_hook_order())
    assert offered.hooks() == [made, theirs]


def test_a_hook_whose_making_was_not_answered_is_found(offered: Offered) -> None:
    offered.lose_next_answer("hook")
    with pytest.raises(HostBusyError):
        offered.delivery.ensure_hook("acme", a_hook_order())
    assert offered.delivery.ensure_hook("acme", a_hook_order()) == offered.hooks()[0]
    assert len(offered.hooks()) == 1
