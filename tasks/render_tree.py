"""The cached half of a job: render its sources into a content-addressed tree."""

from __future__ import annotations

from contextlib import aclosing
from datetime import timedelta
from typing import Any

from prefect import task
from prefect.cache_policies import CachePolicy
from prefect.context import TaskRunContext
from prefect.serializers import JSONSerializer
from prefect.transactions import CommitMode, IsolationLevel, atransaction

from factory_runtime.domain.errors import CancelledError, FactoryError, PermanentError
from factory_runtime.domain.tree import TreeReference
from factory_runtime.jobs.render.box import render, render_key
from factory_runtime.jobs.render.limits import RenderLimits
from tasks.execution import JobCall
from tasks.locks import StoreLocks
from tasks.threads import in_job_thread


class RenderPolicy(CachePolicy):
    """Keys a render by what goes into it, never by where its result goes."""

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        del task_ctx, flow_parameters, kwargs
        return key_of(inputs["call"])


def key_of(call: JobCall) -> str:
    """The cache key, in hex; the tenant is part of it."""
    walk, begun = call.execution.walk, call.execution.attempts[call.name]
    if begun.order is None:
        raise ValueError(f"job {call.name} renders nothing")
    return render_key(
        walk.run.tenant_id,
        begun.planned.type,
        begun.planned.type_version,
        begun.order,
        walk.plan.sources,
    )


class RenderRefusedError(PermanentError):
    """Stands in Prefect's record for an error whose text a tenant may have written."""


@task(
    name="render",
    persist_result=True,
    result_serializer=JSONSerializer(object_encoder=None, object_decoder=None),
)
async def render_tree(call: JobCall) -> dict[str, Any]:
    """Render in the box; the result names the tree by digest and holds nothing a tenant wrote.

    Raises:
        RenderRefusedError: it failed; the attempt holds the error itself.
    """
    execution = call.execution
    begun = execution.attempts[call.name]
    begun.cached = False
    try:
        async with execution.renders:
            reference = await in_job_thread(_render, call)
    except FactoryError as error:
        begun.refusal = error
        raise RenderRefusedError(f"{error.code} in {begun.job.id}") from None
    return {"digest": reference.digest, "size": reference.size, "files": reference.files}


async def tree_of(call: JobCall) -> TreeReference:
    """The job's tree: from the cache where it has it, and where the bytes are still there."""
    execution = call.execution
    begun = execution.attempts[call.name]
    begun.cached = True  # render_tree says otherwise if it is entered
    rule = begun.planned.cache
    tree = await _ask(call, rule.ttl, refresh=not rule.enabled)
    if begun.cached and not await in_job_thread(
        execution.runtime.storage.verify, execution.walk.run.tenant_id, tree.digest
    ):
        # Nothing in Prefect knows that the body behind a cached result is gone or damaged.
        tree = await _ask(call, rule.ttl, refresh=True)
    return tree


async def _ask(call: JobCall, ttl: timedelta | None, *, refresh: bool) -> TreeReference:
    runtime = call.execution.runtime
    hold = RenderLimits.from_settings(runtime.settings).wall * 2
    async with aclosing(StoreLocks(runtime, call.execution.walk.run.tenant_id, hold)) as locks:
        policy = RenderPolicy().configure(
            isolation_level=IsolationLevel.SERIALIZABLE, lock_manager=locks
        )
        asked = render_tree.with_options(
            name=f"render {call.execution.attempts[call.name].planned.step}",
            task_run_name=f"render {call.name}",
            cache_policy=policy,
            cache_expiration=ttl,
            refresh_cache=refresh,
        )
        try:
            # A transaction of its own: inside the job's, the record would be written and the lock
            # released only when the job has published, and not at all if publishing failed.
            async with atransaction(commit_mode=CommitMode.EAGER):
                return TreeReference(**await asked(call))
        except RenderRefusedError:
            raise call.execution.attempts[call.name].refusal or CancelledError(call.name) from None


def _render(call: JobCall) -> TreeReference:
    execution = call.execution
    begun = execution.attempts[call.name]
    if begun.order is None:
        raise ValueError(f"job {call.name} renders nothing")
    execution.runtime.settings.scratch_folder.mkdir(exist_ok=True)
    rendered = render(
        begun.order,
        execution.walk.plan.sources,
        execution.runtime.storage,
        execution.walk.run.tenant_id,
        RenderLimits.from_settings(execution.runtime.settings),
        cancelled=begun.stopped.is_set,
        scratch=execution.runtime.settings.scratch_folder,
    )
    begun.cpu_seconds += rendered.cpu_seconds
    begun.peak_memory_bytes = rendered.peak_memory_bytes
    return rendered.reference
