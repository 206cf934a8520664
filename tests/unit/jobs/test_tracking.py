"""The job types work-item and pull-request: made once, linked with what the run has made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import RunStatus
from factory_runtime.jobs.registry import check_with
from factory_runtime.jobs.work_item import WorkItemJob
from factory_runtime.ports import BuildResult, Link
from factory_runtime.services.attempt import AnotherAttempt
from factory_runtime.services.engine import Walk, stop_walking
from factory_runtime.services.run_page import RunPages
from tests.builders import a_run
from tests.offering import OfferingFactory
from tests.small_factory import SUCCEEDED

REQUEST = """
  - name: ask
    type: pull-request
    undo: abandon
    with: {repository: orders, branch: topic, title: Merge it, work_items: ["7", null]}
"""
TRACK = """
  - name: track
    type: work-item
    needs: [build, ask]
    with: {title: Look at orders, fields: {System.AreaPath: shop}}
"""
BUILD = """
  - {name: build, type: pipeline-run, with: {repository: orders}}
"""


@pytest.fixture
def factory(tmp_path: Path) -> OfferingFactory:
    return OfferingFactory(tmp_path / "templates")


def start(factory: OfferingFactory, *steps: str) -> Walk:
    return factory.start("steps:" + "".join(steps))


def test_a_work_item_is_linked_with_what_the_run_has_made(factory: OfferingFactory) -> None:
    walk = start(factory, BUILD, REQUEST, TRACK)
    factory.attempt(walk, "build")
    (build,) = factory.offer.builds()
    factory.offer.finish(build, BuildResult.SUCCEEDED)
    for step in ("build", "ask", "track"):
        assert factory.finish(walk, step) == SUCCEEDED
    (item,), (request,) = factory.offer.work_items(), factory.offer.pull_requests()
    assert factory.offer.links[item] == {
        Link("build", build, comment="by step build"),
        Link("pull-request", request, "orders", "by step ask"),
    }
    assert walk.outputs["track"] == {
        "offered": True, "id": item, "url": f"https://host/items/{item}",
    }  # fmt: skip
    assert factory.jobs(walk.run)["track"].work_item_id == item
    assert walk.outputs["ask"]["status"] == "open"


@pytest.mark.parametrize(
    ("pages", "page"),
    [
        (RunPages(None, "https://f.example"), "https://f.example/api/v1/runs/{run}"),
        (RunPages("https://p.example/{flow_run}"), "https://p.example/flow-1"),
        (RunPages("https://p.example/{run}", "https://f.example"), "https://p.example/{run}"),
        (RunPages(), None),
    ],
)
def test_a_work_item_leads_to_the_page_of_its_run(
    factory: OfferingFactory, pages: RunPages, page: str | None
) -> None:
    factory.engine = replace(factory.engine, pages=pages)
    walk = start(factory, "\n  - {name: track, type: work-item, with: {title: Look}}\n")
    walk.run = replace(walk.run, flow_run_id="flow-1")
    assert factory.finish(walk, "track") == SUCCEEDED
    (item,) = factory.offer.work_items()
    said = None if page is None else page.replace("{run}", walk.run.id)
    links = {Link("page", said, comment=f"run {walk.run.id}")} if said else set[Link]()
    assert factory.offer.links[item] == links


def test_the_page_of_a_run_that_prefect_does_not_know_yet_is_not_known():
    assert RunPages("https://p.example/{flow_run}", "https://f.example").of(a_run()) is None


def test_the_last_commit_in_a_repository_stands_for_the_others(factory: OfferingFactory) -> None:
    layers = """
  - {name: base, type: repo, with: {repository: orders, source: files}}
  - {name: more, type: layer, needs: [base], with: {repository: orders, source: files}}
  - {name: track, type: work-item, needs: [more], with: {title: Look}}
"""
    walk = start(factory, layers)
    assert factory.drive(walk).status is RunStatus.SUCCEEDED
    (item,) = factory.offer.work_items()
    sha = walk.outputs["more"]["commit"]
    assert factory.offer.links[item] == {Link("commit", sha, "orders", "by step more")}


def test_links_can_be_said_and_those_without_a_target_are_left_out() -> None:
    with_ = {
        "title": "Look",
        "links": [
            {"kind": "page", "target": "https://f.example/runs/1", "comment": "the run"},
            {"kind": "build", "target": None},
        ],
    }
    assert check_with(WorkItemJob.facts, with_) == ()
    assert check_with(WorkItemJob.facts, {"title": "Look", "links": "none"})
    assert check_with(WorkItemJob.facts, {"title": "Look", "fields": {"../relations": "x"}})


@pytest.mark.parametrize("what", ["work-item", "pull-request"])
@pytest.mark.parametrize("killed", [True, False])
def test_what_was_made_and_not_answered_is_made_once(
    factory: OfferingFactory, what: str, killed: bool
) -> None:
    track = TRACK.replace("build, ask", "ask")
    walk = start(factory, REQUEST, track)
    step = {"work-item": "track", "pull-request": "ask"}[what]
    if step == "track":
        factory.finish(walk, "ask")
    (factory.offer.kill_after if killed else factory.offer.lost).add(what)
    if killed:
        begun = factory.begin(walk, step)
        with pytest.raises(KeyboardInterrupt):
            factory.publish(walk, begun)
        walk = factory.take_over(walk)
    else:
        assert isinstance(factory.attempt(walk, step), AnotherAttempt)
        factory.clock.at = factory.jobs(walk.run)[step].not_before or factory.clock.at
    job_type = factory.job_types[what]
    (intended,) = [one for one in factory.effects(walk.run) if one.step == step]
    assert intended.status is EffectStatus.INTENDED
    found = job_type.probe(factory.host, intended)
    assert factory.drive(walk).status is RunStatus.SUCCEEDED
    made = {"work-item": factory.offer.work_items(), "pull-request": factory.offer.pull_requests()}
    assert made[what] == [found]


def test_undone_a_pull_request_is_abandoned(factory: OfferingFactory) -> None:
    walk = start(factory, REQUEST)
    factory.drive(walk)
    stop_walking(factory.engine, walk)
    assert factory.walk(factory.undo(walk.run)).status is RunStatus.SUCCEEDED
    (effect,) = factory.effects(walk.run)
    assert (effect.status, effect.reason) == (EffectStatus.UNDONE, "abandoned")


def test_undone_a_merged_pull_request_is_left_for_people(factory: OfferingFactory) -> None:
    walk = start(factory, REQUEST)
    factory.drive(walk)
    stop_walking(factory.engine, walk)
    factory.offer.merge(factory.offer.pull_requests()[0])
    factory.walk(factory.undo(walk.run))
    (effect,) = factory.effects(walk.run)
    assert effect.status is EffectStatus.ORPHANED
    assert "merged" in (effect.reason or "")


def test_a_pull_request_of_somebody_else_is_not_taken(factory: OfferingFactory) -> None:
    factory.offer.open_by_hand("topic")
    walk = start(factory, REQUEST)
    factory.attempt(walk, "ask")
    assert factory.jobs(walk.run)["ask"].status is JobStatus.FAILED


def test_a_host_that_offers_nothing_has_nothing_done(factory: OfferingFactory) -> None:
    factory.offering.offers = False
    walk = start(factory, BUILD, REQUEST, TRACK)
    assert factory.drive(walk).status is RunStatus.SUCCEEDED
    assert [walk.outputs[step]["offered"] for step in ("build", "ask", "track")] == [False] * 3
    assert factory.effects(walk.run) == ()


def test_what_others_have_made_is_theirs_to_build_and_to_merge(factory: OfferingFactory) -> None:
    build, ask = (step.replace("orders", "billing") for step in (BUILD, REQUEST))
    walk = start(factory, build, ask)
    for step in ("build", "ask"):
        factory.attempt(walk, step)
        assert factory.jobs(walk.run)[step].status is JobStatus.FAILED
    assert factory.effects(walk.run) == ()
