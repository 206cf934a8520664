"""Runs: tell all that a query chooses what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query

from api.access import Operator
from api.context import Here
from api.problems import documented
from api.query import RunChoice
from api.routes.runs_steering import retry_changed
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.access import Principal, Right
from factory_runtime.domain.errors import ConflictError, InputError
from factory_runtime.domain.run import RUN_ENDED, Run, RunStatus
from factory_runtime.ports import RunFilter
from factory_runtime.services.bulk import choose, count, do_to_all
from factory_runtime.services.end_run import cancel_run
from factory_runtime.wire.bulk import BulkCancel, BulkRefusal, BulkResult, BulkRetry, Count

router = APIRouter(prefix="/runs/actions", tags=["bulk"])

_AT_ONCE = 1000
"""Runs that one request is done to; asked again, it goes on with the rest."""

Chosen = Annotated[RunChoice, Query()]


@router.get("/cancel")
def preview_cancel(chosen: Chosen, who: Operator, api: Here) -> Count:
    """How many runs a bulk cancel of this query would stop."""
    return Count(count=count(api.runtime.store, who.tenant_id, _cancellable(chosen, who)))


@router.post("/cancel", responses=documented(409))
def cancel_all(
    chosen: Chosen, who: Operator, api: Here, asked: BulkCancel | None = None
) -> BulkResult:
    """Stop every open run that the query chooses, a thousand at most."""
    wanted = asked or BulkCancel()
    runtime = api.runtime

    def act(run_id: str) -> Run:
        store, clock = runtime.store, runtime.clock
        return cancel_run(store, clock, who.tenant_id, run_id, who.name, undo=wanted.undo)

    return _do(runtime, who, _cancellable(chosen, who), act, wanted.expected_count)


@router.get("/retry")
def preview_retry(chosen: Chosen, who: Operator, api: Here) -> Count:
    """How many runs a bulk retry of this query would send round again."""
    return Count(count=count(api.runtime.store, who.tenant_id, _retriable(chosen, who)))


@router.post("/retry", responses=documented(409))
def retry_all(
    chosen: Chosen, who: Operator, api: Here, asked: BulkRetry | None = None
) -> BulkResult:
    """Send every failed run round again that the query chooses, a thousand at most."""
    runtime = api.runtime
    expected = None if asked is None else asked.expected_count
    return _do(
        runtime,
        who,
        _retriable(chosen, who),
        lambda run_id: retry_changed(runtime, who, run_id, asked),
        expected,
    )


def _operable(chosen: RunChoice, who: Principal) -> RunFilter:
    projects = who.projects(Right.OPERATE)
    where = chosen.filter(who)
    return replace(where, projects=None if projects is None else tuple(sorted(projects)))


def _cancellable(chosen: RunChoice, who: Principal) -> RunFilter:
    where = _operable(chosen, who)
    if wrong := RUN_ENDED.intersection(where.statuses):
        raise InputError(f"a run that is {min(wrong)} cannot be cancelled", hint="choose open ones")
    if where.statuses:
        return where
    return replace(where, statuses=tuple(one for one in RunStatus if one not in RUN_ENDED))


def _retriable(chosen: RunChoice, who: Principal) -> RunFilter:
    where = _operable(chosen, who)
    if wrong := set(where.statuses) - {RunStatus.FAILED}:
        raise InputError(f"a run that is {min(wrong)} cannot be retried")
    return replace(where, can_be_retried=True)


def _do(
    runtime: Runtime,
    who: Principal,
    where: RunFilter,
    act: Callable[[str], Run],
    expected: int | None,
) -> BulkResult:
    found = count(runtime.store, who.tenant_id, where)
    if expected is not None and expected != found:
        raise ConflictError(
            f"{found} runs are chosen by now, not {expected}", hint="look at the preview again"
        )
    chosen = choose(partial(runtime.store.begin, who.tenant_id, read_only=True), where)
    told = list(islice(do_to_all(chosen, act), _AT_ONCE))
    refused = tuple(
        BulkRefusal(run_id=one.run_id, code=one.error.code, message=str(one.error))
        for one in told
        if one.error is not None
    )
    left = max(0, found - len(told))
    return BulkResult(count=found, done=len(told) - len(refused), left=left, refused=refused)
