"""Runs that deliver to Azure DevOps: one of each, whatever is cut off; and the ledger knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.result import JobResult, RenderOrder
from factory_runtime.domain.run import RunStatus
from factory_runtime.hosts.azure_devops.access import AzureDevOps, personal_token
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient
from factory_runtime.hosts.azure_devops.delivery import AzureDevOpsDelivery
from factory_runtime.hosts.azure_devops.host import AzureDevOpsGitHost
from factory_runtime.jobs.template_layer import TemplateLayer
from factory_runtime.ports import FileTree, JobContext
from factory_runtime.services.attempt import AnotherAttempt
from factory_runtime.services.drain_outbox import drain_outbox
from factory_runtime.services.end_run import end_run
from factory_runtime.services.engine import Walk, stop_walking
from factory_runtime.services.retry_run import retry_run
from factory_runtime.services.stop_outside import OutsideStopper
from factory_runtime.services.topics import STOP_OUTSIDE
from tests.builders import TENANT
from tests.forge import Forge
from tests.forge.builds import end
from tests.job_types import files
from tests.offering import OfferingFactory

STEPS = """
steps:
  - {name: generate, type: repo, undo: delete-repository, with: {repository: orders, source: files}}
  - {name: pipe, type: pipe, needs: [generate], with: {repository: orders, source: files}}
  - name: build
    type: pipeline-run
    needs: [pipe]
    with: {repository: orders, file: pipe}
  - {name: track, type: work-item, needs: [build], with: {title: Look at orders}}
"""


class PipelineFile(TemplateLayer):
    """As it is, with a pipeline's file that needs no rendering."""

    facts = replace(TemplateLayer.facts, name="pipe")

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        del with_
        return None

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del tree
        return super().publish(context, with_, files(pipe="steps: []\n"))


@pytest.fixture
def factory(tmp_path: Path, forge: Forge) -> OfferingFactory:
    small = OfferingFactory(tmp_path / "templates", PipelineFile())
    client = AzureDevOpsClient(AzureDevOps(forge.url, personal_token(forge.add_token())))
    delivery = AzureDevOpsDelivery(client, timedelta(0))
    small.clock.at = datetime.now(UTC) - timedelta(minutes=1)
    host = AzureDevOpsGitHost(client, tmp_path / "mirrors", small.clock.now, delivery)
    small.engine = replace(small.engine, host=host)
    return small


def drive(factory: OfferingFactory, forge: Forge, walk: Walk, result: str = "succeeded") -> None:
    """Do what can be done; builds end as soon as they are waited for."""
    for _ in range(40):
        ready = factory.ready(walk)
        if not ready:
            return
        ended = factory.attempt(walk, ready[0])
        assert not forge.wrong, (forge.wrong, forge.seen[-1])
        if isinstance(ended, AnotherAttempt):
            factory.clock.at = max(factory.clock.at, ended.not_before)
            for build in forge.world.builds.values():
                if build["status"] != "completed" and build["tags"]:
                    end(forge.world, build["id"], result, "compiling\nall said")


def counts(forge: Forge) -> tuple[int, int, int, int]:
    world = forge.world
    return (
        len(world.repositories), len(world.definitions), len(world.builds), len(world.work_items),
    )  # fmt: skip


@pytest.mark.parametrize("cut", [None, "runs.create", "work-items.create"])
def test_a_run_delivers_each_thing_once_and_links_them(
    factory: OfferingFactory, forge: Forge, cut: str | None
) -> None:
    if cut is not None:
        forge.cut(cut, "after")
    walk = factory.start(STEPS)
    drive(factory, forge, walk)
    assert {
        name: end.status for name, end in walk.endings.items() if end.status != "Succeeded"
    } == {}
    assert counts(forge) == (1, 1, 1, 1)
    effects = {(one.step, one.kind): one for one in factory.effects(walk.run)}
    assert {one.status for one in effects.values()} == {EffectStatus.CONFIRMED}
    (build,), (item,) = forge.world.builds.values(), forge.world.work_items.values()
    assert effects["build", "build"].reference == str(build["id"])
    commit = walk.outputs["pipe"]["commit"]
    assert walk.outputs["build"]["commit"] == build["sourceVersion"] == commit
    repo = forge.repository("shop", "orders")
    assert {one["url"] for one in item["relations"]} == {
        f"vstfs:///Build/Build/{build['id']}",
        f"vstfs:///Git/Commit/{repo.project.id}%2F{repo.id}%2F{commit}",
    }


def test_a_failed_build_can_be_tried_anew_from_the_run(
    factory: OfferingFactory, forge: Forge
) -> None:
    walk = factory.start(STEPS)
    drive(factory, forge, walk, "failed")
    assert factory.run(walk.run).status is RunStatus.FAILED
    stop_walking(factory.engine, walk)
    factory.clock.pass_time()
    retry_run(factory.store, factory.clock, TENANT, walk.run.id, "ada")
    again = factory.take_up(walk.run)
    drive(factory, forge, again)
    assert factory.run(walk.run).status is RunStatus.SUCCEEDED
    assert counts(forge) == (1, 1, 2, 1)
    kinds = [one.kind for one in factory.effects(walk.run) if one.step == "build"]
    assert sorted(kinds) == ["build", "build-2", "pipeline"]


def test_throttled_for_a_minute_a_run_waits_and_goes_on(
    factory: OfferingFactory, forge: Forge
) -> None:
    walk = factory.start(STEPS)
    for step in ("generate", "pipe"):
        factory.finish(walk, step)
    forge.throttle("runs.create", 60)
    before = factory.clock.now()
    ended = factory.attempt(walk, "build")
    assert isinstance(ended, AnotherAttempt)
    assert ended.not_before - before >= timedelta(seconds=60)
    assert counts(forge) == (1, 1, 0, 0)


@pytest.mark.parametrize("cut", [None, "before", "after"])
def test_a_cancelled_run_has_its_build_cancelled_and_no_other(
    factory: OfferingFactory, forge: Forge, cut: str | None
) -> None:
    walk = factory.start(STEPS)
    for step in ("generate", "pipe"):
        factory.finish(walk, step)
    assert isinstance(factory.attempt(walk, "build"), AnotherAttempt)
    (ours,) = forge.world.builds
    forge.start_build(ours)
    theirs = _queue_by_hand(forge, ours)
    end_run(factory.store, factory.clock, TENANT, walk.run.id, RunStatus.CANCELLED, "ada")
    stop_walking(factory.engine, walk)
    if cut is not None:
        forge.cut("builds.update", cut)
    engine = factory.engine
    stopper = OutsideStopper(engine.store, engine.host, engine.job_types, engine.clock)
    for _ in range(2):
        factory.clock.pass_time(timedelta(minutes=6))
        drain_outbox(engine.store, engine.clock, {STOP_OUTSIDE: stopper.stop}, "tests")
    assert forge.world.builds[ours]["result"] == "canceled"
    assert forge.world.builds[theirs]["status"] == "inProgress"
    assert forge.count("builds.update") == (2 if cut == "before" else 1)
    effects = {(one.step, one.kind): one for one in factory.effects(walk.run)}
    assert effects["build", "stop-build"].status is EffectStatus.CONFIRMED
    assert effects["build", "stop-build"].reference == str(ours)


def _queue_by_hand(forge: Forge, like: int) -> int:
    """Another build of the same pipeline, of somebody else, under way."""
    number = next(forge.world.ids)
    forge.world.builds[number] = {**forge.world.builds[like], "id": number, "tags": []}
    return number
