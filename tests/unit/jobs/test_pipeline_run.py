"""The job type pipeline-run: one build, followed to its end without a process."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.jobs.build_log import keep_log
from factory_runtime.jobs.pipeline_run import PipelineRun
from factory_runtime.ports import BuildResult
from factory_runtime.services.attempt import AnotherAttempt
from factory_runtime.services.end_run import end_run
from factory_runtime.services.engine import Walk, stop_walking
from factory_runtime.services.retry_run import retry_run
from tests.builders import TENANT
from tests.deliveries import MemoryDelivery
from tests.job_types import World, a_context
from tests.offering import OfferingFactory
from tests.small_factory import SUCCEEDED

STEPS = """
inputs: {type: object, properties: {speed: {type: string, default: high}}}
steps:
  - name: build
    type: pipeline-run
    retry: {max_attempts: 3, delays: [1s], jitter: 0}
    undo: cancel-build
    with:
      repository: orders
      branch: main
      parameters: {speed: "${{ inputs.speed }}", quick: true}
"""


@pytest.fixture
def factory(tmp_path: Path) -> OfferingFactory:
    return OfferingFactory(tmp_path / "templates")


def begin(factory: OfferingFactory) -> Walk:
    """A run whose build is queued."""
    walk = factory.start(STEPS)
    assert isinstance(factory.attempt(walk, "build"), AnotherAttempt)
    return walk


def end_build(factory: OfferingFactory, result: BuildResult, log: str = "") -> str:
    (*_, build) = factory.offer.builds()
    factory.offer.finish(build, result, log)
    factory.clock.pass_time(timedelta(seconds=5))
    return build


def artifacts(factory: OfferingFactory, run: Run) -> dict[str, Artifact]:
    with factory.store.begin(run.tenant_id, read_only=True) as tx:
        return {one.name: one for one in tx.list_artifacts(run_id=run.id)}


def send_round(factory: OfferingFactory, walk: Walk) -> Walk:
    factory.drive(walk)
    stop_walking(factory.engine, walk)
    factory.clock.pass_time()
    retry_run(factory.store, factory.clock, TENANT, walk.run.id, "ada")
    return factory.take_up(walk.run)


# --- one build


def test_it_waits_for_its_build_and_holds_nothing(factory: OfferingFactory) -> None:
    walk = factory.start(STEPS)
    ended = factory.attempt(walk, "build")
    assert isinstance(ended, AnotherAttempt)
    assert (ended.outcome, ended.not_before) == (
        Outcome.WAITING, factory.clock.now() + timedelta(seconds=5),
    )  # fmt: skip
    (build,), (pipeline,) = factory.offer.builds(), factory.offer.pipelines()
    job = factory.jobs(walk.run)["build"]
    assert (job.status, job.lease_owner) == (JobStatus.WAITING, None)
    assert (job.pipeline_id, job.build_id) == (pipeline, build)
    assert {
        effect.kind: (effect.status, effect.reference) for effect in factory.effects(walk.run)
    } == {
        "pipeline": (EffectStatus.CONFIRMED, pipeline),
        "build": (EffectStatus.CONFIRMED, build),
    }
    assert dict(factory.offer.orders[0].parameters) == {"speed": "high", "quick": "true"}


def test_it_looks_the_less_often_the_longer_it_takes(factory: OfferingFactory) -> None:
    walk = begin(factory)
    factory.offer.run(factory.offer.builds()[0])
    waits: list[float] = []
    for _ in range(20):
        factory.clock.at = factory.jobs(walk.run)["build"].not_before or factory.clock.at
        ended = factory.attempt(walk, "build")
        assert isinstance(ended, AnotherAttempt)
        waits.append((ended.not_before - factory.clock.at).total_seconds())
    assert (waits[0], waits[-1]) == (5, 60)
    assert waits == sorted(waits)
    assert len(factory.offer.builds()) == 1


def test_it_gives_the_result_the_commit_and_the_log(factory: OfferingFactory) -> None:
    walk = begin(factory)
    build = end_build(factory, BuildResult.SUCCEEDED, "compiling\ndone\n")
    assert factory.attempt(walk, "build") == SUCCEEDED
    assert walk.outputs["build"] == {
        "offered": True,
        "pipeline": factory.offer.pipelines()[0],
        "build": build,
        "number": f"2026.{build}",
        "url": f"https://host/b/{build}",
        "result": "succeeded",
        "commit": "ab" * 20,
    }
    log = artifacts(factory, walk.run)[f"build-{build}.log"]
    assert log.kind is ArtifactKind.LOG
    assert factory.storage.read(TENANT, log.sha256 or "") == b"compiling\ndone\n"


def test_a_build_that_went_well_in_parts_is_degraded(factory: OfferingFactory) -> None:
    walk = begin(factory)
    end_build(factory, BuildResult.PARTIAL)
    assert factory.attempt(walk, "build") == SUCCEEDED
    assert factory.jobs(walk.run)["build"].degraded


def test_a_host_that_offers_nothing_has_nothing_done(factory: OfferingFactory) -> None:
    factory.offering.offers = False
    walk = factory.start(STEPS)
    assert factory.attempt(walk, "build") == SUCCEEDED
    assert walk.outputs["build"]["offered"] is False
    assert walk.outputs["build"]["build"] is None
    assert factory.effects(walk.run) == ()
    assert "repositories alone" in factory.events(walk.run, "log")[0].detail["message"]


# --- a build that fails


def test_a_failed_build_fails_the_job_and_leaves_its_log(factory: OfferingFactory) -> None:
    walk = begin(factory)
    build = end_build(factory, BuildResult.FAILED, "compiling\nno room on the device\n")
    factory.attempt(walk, "build")
    job, attempt = factory.jobs(walk.run)["build"], factory.attempts(walk.run)[-1]
    assert (job.status, attempt.error_code) == (JobStatus.FAILED, "build-failed")
    assert f"https://host/b/{build}" in (attempt.error or "")
    assert f"build-{build}.log" in artifacts(factory, walk.run)
    assert "no room on the device" in factory.events(walk.run, "log")[-1].detail["message"]


def test_sent_round_again_it_queues_another_build(factory: OfferingFactory) -> None:
    walk = begin(factory)
    first = end_build(factory, BuildResult.FAILED)
    assert factory.drive(walk).status is RunStatus.FAILED
    again = send_round(factory, walk)
    factory.attempt(again, "build")
    (found, second) = factory.offer.builds()
    assert found == first
    end_build(factory, BuildResult.SUCCEEDED)
    assert factory.drive(again).status is RunStatus.SUCCEEDED
    assert again.outputs["build"]["build"] == second == factory.jobs(walk.run)["build"].build_id
    kinds = {effect.kind: effect.reference for effect in factory.effects(walk.run)}
    assert (kinds["build"], kinds["build-2"]) == (first, second)
    assert [order.effect_key for order in factory.offer.orders] == [
        f"{walk.run.id}:build#1", f"{walk.run.id}:build#2",
    ]  # fmt: skip


def test_a_build_that_somebody_deleted_fails_the_job(factory: OfferingFactory) -> None:
    walk = begin(factory)
    factory.offer.lose(factory.offer.builds()[0])
    factory.attempt(walk, "build")
    assert factory.jobs(walk.run)["build"].status is JobStatus.FAILED
    factory.attempt(send_round(factory, walk), "build")
    assert len(factory.offer.builds()) == 1


def test_a_host_that_is_away_is_asked_again(factory: OfferingFactory) -> None:
    walk = begin(factory)
    end_build(factory, BuildResult.SUCCEEDED)
    factory.offer.busy = 1
    ended = factory.attempt(walk, "build")
    assert isinstance(ended, AnotherAttempt)
    assert ended.outcome is Outcome.TRANSIENT
    assert factory.finish(walk, "build") == SUCCEEDED


# --- once, whatever is killed


@pytest.mark.parametrize("what", ["pipeline", "build"])
def test_what_was_made_and_not_answered_is_made_once(factory: OfferingFactory, what: str) -> None:
    factory.offer.lose_next_answer(what)
    walk = factory.start(STEPS)
    ended = factory.attempt(walk, "build")
    assert isinstance(ended, AnotherAttempt)
    assert ended.outcome is Outcome.TRANSIENT
    factory.clock.at = ended.not_before
    factory.attempt(walk, "build")
    end_build(factory, BuildResult.SUCCEEDED)
    assert factory.finish(walk, "build") == SUCCEEDED
    assert (len(factory.offer.pipelines()), len(factory.offer.builds())) == (1, 1)


@pytest.mark.parametrize("what", ["pipeline", "build"])
def test_an_executor_killed_after_an_effect_makes_it_once(
    factory: OfferingFactory, what: str
) -> None:
    factory.offer.kill_after.add(what)
    walk = factory.start(STEPS)
    begun = factory.begin(walk, "build")
    with pytest.raises(KeyboardInterrupt):
        factory.publish(walk, begun)
    again = factory.take_over(walk)
    factory.attempt(again, "build")
    end_build(factory, BuildResult.SUCCEEDED)
    assert factory.finish(again, "build") == SUCCEEDED
    assert (len(factory.offer.pipelines()), len(factory.offer.builds())) == (1, 1)
    effects = {effect.kind: effect.status for effect in factory.effects(walk.run)}
    assert effects == {"pipeline": EffectStatus.CONFIRMED, "build": EffectStatus.CONFIRMED}


def test_the_ledger_learns_of_a_build_that_a_killed_executor_queued(
    factory: OfferingFactory,
) -> None:
    factory.offer.kill_after.add("build")
    walk = factory.start(STEPS)
    begun = factory.begin(walk, "build")
    with pytest.raises(KeyboardInterrupt):
        factory.publish(walk, begun)
    types = PipelineRun()
    found = {effect.kind: types.probe(factory.host, effect) for effect in factory.effects(walk.run)}
    assert found == {
        "pipeline": factory.offer.pipelines()[0], "build": factory.offer.builds()[0],
    }  # fmt: skip


# --- undone


def test_undone_a_build_that_is_under_way_is_cancelled(factory: OfferingFactory) -> None:
    walk = begin(factory)
    factory.offer.run(factory.offer.builds()[0])
    end_run(factory.store, factory.clock, TENANT, walk.run.id, RunStatus.CANCELLED, "ada")
    stop_walking(factory.engine, walk)
    assert factory.walk(factory.undo(walk.run)).status is RunStatus.SUCCEEDED
    (build,) = factory.offer.builds()
    assert factory.offer.get_build(TENANT, "shop", build).result is BuildResult.CANCELLED
    effects = {effect.kind: effect.status for effect in factory.effects(walk.run)}
    assert effects == {"build": EffectStatus.UNDONE, "pipeline": EffectStatus.ORPHANED}


def test_a_log_is_kept_up_to_a_bound() -> None:
    offer, world = MemoryDelivery(), World()
    build = offer.queue_by_hand("7")
    offer.finish(build, BuildResult.FAILED, "12345\n" * 10)
    context = a_context(world)
    draft, end = keep_log(context, offer, offer.get_build("acme", "shop", build), most=20)
    kept = world.storage.read("acme", draft.sha256 or "").decode()
    assert kept.startswith("12345\n12345\n12345\n12\n[cut off here")
    assert end.endswith("12345\n12")
    assert draft.metadata["cut"] is True
