"""pipeline-run: a build of a pipeline, queued once, followed to its end without a process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from factory_runtime.domain.errors import BuildFailedError, NotFoundError
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import ConfirmedEffect, JobResult, RenderOrder, WaitUntil
from factory_runtime.domain.template import JobTypeFacts, RetryPolicy
from factory_runtime.jobs.build_effects import (
    CANCEL_BUILD,
    build_key,
    build_under_way,
    cancel_builds,
    probe_build,
    probe_end,
    probe_pipeline,
    stop_build,
)
from factory_runtime.jobs.build_log import keep_log
from factory_runtime.jobs.delivering import (
    LINE_SCHEMA,
    check_ours,
    not_offered,
    offered_by_host,
)
from factory_runtime.jobs.publishing import REPOSITORY_SCHEMA
from factory_runtime.ports import (
    Build,
    BuildOrder,
    BuildResult,
    BuildStatus,
    Delivery,
    FileTree,
    GitHost,
    JobContext,
    Pipeline,
    PipelineOrder,
)

_FILE = "azure-pipelines.yml"
_OUTPUTS = ("pipeline", "build", "number", "url", "result", "commit")
_SOONEST, _LATEST = timedelta(seconds=5), timedelta(seconds=60)
_GOOD = frozenset({BuildResult.SUCCEEDED, BuildResult.PARTIAL})
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["repository"],
    "additionalProperties": False,
    "properties": {
        "repository": REPOSITORY_SCHEMA,
        "file": {
            **LINE_SCHEMA,
            "pattern": r"^[^/\\]",
            "description": f"path of the pipeline's YAML in the repository, {_FILE} if not said",
        },
        "name": {**LINE_SCHEMA, "description": "of the pipeline; the repository's if not said"},
        "branch": {**LINE_SCHEMA, "description": "the default branch if not said"},
        "parameters": {
            "type": "object",
            "additionalProperties": {"type": ["string", "number", "boolean"]},
            "description": "of the pipeline's YAML, by name",
        },
    },
}


@dataclass(frozen=True, slots=True)
class _Course:
    """How far a job has come; its checkpoint.

    Attributes:
        number: of the build at hand, among those of this job, from 1.
        since: when that build was asked for first.
        build_id: of that build, once it is queued.
    """

    number: int
    since: datetime
    pipeline_id: str | None = None
    build_id: str | None = None

    def saved(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "since": self.since.isoformat(),
            "pipeline_id": self.pipeline_id,
            "build_id": self.build_id,
        }


class PipelineRun:
    """Makes the pipeline, queues a build and waits for its end.

    A build that fails fails the job; sent round again, the job queues another one.
    Outputs: offered, pipeline, build (their ids), number, url, result, commit.
    """

    facts = JobTypeFacts(
        name="pipeline-run",
        version="1",
        with_schema=_SCHEMA,
        source_keys=(),
        undos=(CANCEL_BUILD,),
        # It looks at its build for as long as that takes, which may be hours.
        retry=RetryPolicy(
            max_attempts=20, delays=tuple(timedelta(seconds=s) for s in (1, 2, 4, 8, 15, 30, 60))
        ),
        hosts=("git",),
    )

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        del with_
        return None

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult | WaitUntil:
        del tree
        delivery = offered_by_host(context)
        if delivery is None:
            return not_offered(*_OUTPUTS)
        course = _course_of(context)
        if course.build_id is None:
            return _queue(context, delivery, with_, course)
        return _follow(context, delivery, course)

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        match effect.kind.split("-")[0]:
            case "pipeline":
                return probe_pipeline(host, effect)
            case "build":
                return probe_build(host, effect)
            case _:
                return probe_end(host, effect)

    def under_way(self, host: GitHost, effect: Effect) -> Mapping[str, Any] | None:
        return build_under_way(host, effect)

    def stop(self, host: GitHost, effect: Effect) -> None:
        stop_build(host, effect)

    def undo(self, context: JobContext, undo: str, effects: tuple[Effect, ...]) -> JobResult:
        del undo  # there is one
        return cancel_builds(context, effects)


def _course_of(context: JobContext) -> _Course:
    saved = context.checkpoint()
    if saved is None:
        return _Course(1, context.now())
    since = datetime.fromisoformat(saved["since"])
    return _Course(saved["number"], since, saved["pipeline_id"], saved["build_id"])


def _queue(
    context: JobContext, delivery: Delivery, with_: Mapping[str, Any], course: _Course
) -> WaitUntil:
    pipeline = _ensure_pipeline(context, delivery, with_)
    course = replace(course, pipeline_id=pipeline.id)
    build = _ensure_build(context, delivery, with_, course, pipeline)
    context.save_checkpoint(replace(course, build_id=build.id).saved())
    word = "queued" if build.created else "found"
    context.log(f"{word} build {build.number} of the pipeline {pipeline.name}: {build.url}")
    return WaitUntil(
        context.now() + _SOONEST,
        f"build {build.number} of {pipeline.name}",
        (
            ConfirmedEffect("pipeline", pipeline.id, pipeline.url),
            ConfirmedEffect(_kind(course.number), build.id, build.url),
        ),
        {"pipeline_id": pipeline.id, "build_id": build.id},
    )


def _ensure_pipeline(context: JobContext, delivery: Delivery, with_: Mapping[str, Any]) -> Pipeline:
    facts, repository = context.facts, with_["repository"]
    name = with_.get("name", repository)
    check_ours(context, repository)
    order = PipelineOrder(
        facts.project_id, repository, name, with_.get("file", _FILE), facts.effect_key
    )
    # Whatever the ledger says, the host knows whether it is there.
    probed_by = {"project_id": facts.project_id, "name": name}
    context.intend("pipeline", f"pipeline {facts.project_id}/{name}", probed_by)
    context.check_lease()
    return delivery.ensure_pipeline(facts.tenant_id, order)


def _ensure_build(
    context: JobContext,
    delivery: Delivery,
    with_: Mapping[str, Any],
    course: _Course,
    pipeline: Pipeline,
) -> Build:
    facts, number = context.facts, course.number
    # Before it is intended: since then it may have been queued.
    context.save_checkpoint(course.saved())
    target = f"build {number} of pipeline {facts.project_id}/{pipeline.name}"
    probed_by = {"project_id": facts.project_id, "pipeline_id": pipeline.id, "number": str(number)}
    done = context.intend(_kind(number), target, probed_by)
    if done is not None:
        return delivery.get_build(facts.tenant_id, facts.project_id, done)
    context.check_lease()
    order = BuildOrder(
        facts.project_id,
        pipeline.id,
        build_key(facts.effect_key, number),
        with_.get("branch"),
        {name: _spelled(value) for name, value in with_.get("parameters", {}).items()},
        course.since,
    )
    return delivery.ensure_build(facts.tenant_id, order)


def _follow(context: JobContext, delivery: Delivery, course: _Course) -> JobResult | WaitUntil:
    facts, build_id = context.facts, str(course.build_id)
    try:
        build = delivery.get_build(facts.tenant_id, facts.project_id, build_id)
    except NotFoundError as error:
        raise _failed(context, course, f"build {build_id} is not there any more") from error
    if build.status is not BuildStatus.ENDED:
        return _wait(context, course, build)
    log, end = keep_log(context, delivery, build)
    if _has_failed(build):
        context.log(end)
        raise _failed(context, course, f"build {build.number} {build.result}: {build.url}", log)
    pipeline_id = str(course.pipeline_id)
    context.log(f"build {build.number} {build.result}")
    return JobResult(
        outputs={
            "offered": True,
            "pipeline": pipeline_id,
            "build": build.id,
            "number": build.number,
            "url": build.url,
            "result": build.result,
            "commit": build.commit,
        },
        artifacts=(log,),
        effects=(ConfirmedEffect(_kind(course.number), build.id, build.url),),
        external_ids={"pipeline_id": pipeline_id, "build_id": build.id},
        degraded="parts of the build failed" if build.result is BuildResult.PARTIAL else None,
    )


def _failed(context: JobContext, course: _Course, why: str, *logs: Any) -> BuildFailedError:
    """The error; whoever sends the job round again gets another build from here on."""
    another = _Course(course.number + 1, context.now(), course.pipeline_id)
    context.save_checkpoint(another.saved())
    return BuildFailedError(
        why,
        hint=f"mend what its log says; `factory runs retry {context.facts.run_id}` queues another",
        artifacts=logs,
    )


def _wait(context: JobContext, course: _Course, build: Build) -> WaitUntil:
    """Look again, the less often the longer it takes."""
    waited = context.now() - course.since
    due = context.now() + min(max(waited / 4, _SOONEST), _LATEST)
    return WaitUntil(due, f"build {build.number} is {build.status}: {build.url}")


def _has_failed(build: Build) -> bool:
    return build.status is BuildStatus.ENDED and build.result not in _GOOD


def _kind(number: int) -> str:
    """Of the nth build in the ledger, which has one effect of a kind for each job."""
    return "build" if number == 1 else f"build-{number}"


def _spelled(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
