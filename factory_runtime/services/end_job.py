"""Write the end of a job; the last one closes its run in the same transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from factory_runtime.domain.job import Job
from factory_runtime.domain.progress import Ending
from factory_runtime.domain.result import JobResult
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunTransaction
from factory_runtime.services.end_run import close_run_if_last, is_last, run_to_write
from factory_runtime.services.engine import Engine, Walk
from factory_runtime.services.steadily import steadily


def end_job(
    engine: Engine,
    walk: Walk,
    before: Job,
    ended: Job,
    ending: Ending,
    detail: Mapping[str, Any],
    also: Callable[[RunTransaction], None] = lambda _tx: None,
    result: JobResult | None = None,
) -> None:
    """Record how a job ended, and all that belongs to it, or nothing.

    Args:
        engine: the ports.
        walk: this executor's.
        before: the job as this attempt claimed it.
        ended: as it is to stand.
        ending: what the jobs behind it see of that.
        detail: of its event.
        also: what else is written in the same transaction.
        result: what it made, where it succeeded.

    Raises:
        StaleVersionError: somebody else moved the job: this attempt has lost it.
    """
    external_ids: Mapping[str, str] = {} if result is None else result.external_ids
    with walk.lock:

        def write(again: bool) -> Run | None:
            # What comes of it outside is another job's effect, or follows the end of the run.
            last = is_last(walk, ended)
            with engine.store.begin(walk.run.tenant_id, durable=last) as tx:
                run = run_to_write(walk, tx, ended, external_ids)
                if again and stands(tx, ended):
                    return tx.get_run(walk.run.id)
                tx.save_job(before, ended, detail=detail)
                also(tx)
                if run is None:
                    return None
                # The walk itself learns of it once it is committed.
                after = _copy(walk)
                _note(after, ended, ending, result)
                return close_run_if_last(engine, after, tx, run, external_ids)

        run = steadily(write, engine.lease)
        _note(walk, ended, ending, result)
        walk.run = run or walk.run


def _copy(walk: Walk) -> Walk:
    return replace(
        walk, jobs=dict(walk.jobs), endings=dict(walk.endings), outputs=dict(walk.outputs)
    )


def _note(walk: Walk, ended: Job, ending: Ending, result: JobResult | None) -> None:
    walk.jobs[ended.step] = ended
    if result is not None:
        walk.outputs[ended.step] = result.outputs
    walk.endings[ended.step] = ending  # last: from here on, those behind it begin


def stands(tx: RunTransaction, written: Job) -> bool:
    """Whether the store holds what an earlier try has written, though its answer was lost."""
    job = tx.get_job(written.run_id, written.step)
    return (job.version, job.status, job.fencing_token, job.updated_at) == (
        written.version,
        written.status,
        written.fencing_token,
        written.updated_at,
    )
