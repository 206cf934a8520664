"""What an attempt says on the way: its progress and its log, written down now and then."""

from __future__ import annotations

from collections.abc import Sequence

from factory_runtime.domain.errors import LeaseLostError
from factory_runtime.domain.records import RunEvent
from factory_runtime.ports import RunTransaction
from factory_runtime.services.attempt import Begun, LogLine
from factory_runtime.services.engine import Engine, Walk


def write_notes(engine: Engine, walk: Walk, begun: Begun) -> None:
    """Write what is new of an attempt under way; nothing where it has lost its job."""
    progress, lines = begun.take_progress(), begun.take_logs()
    if progress is None and not lines:
        return
    try:
        with engine.store.begin(walk.run.tenant_id) as tx:
            tx.hold_job(begun.job)
            if progress is not None:
                tx.note_progress(begun.job, *progress)
            write_logs(tx, begun, lines)
    except LeaseLostError:
        return  # it has ended meanwhile, or its own next write finds out
    except BaseException:
        begun.return_logs(lines)
        raise


def write_logs(tx: RunTransaction, begun: Begun, lines: Sequence[LogLine]) -> None:
    """Put lines of an attempt's log among the run's events."""
    run_id, step = begun.job.run_id, begun.job.step
    for at, line in lines:
        detail = {"message": line, "attempt": begun.attempt.number}
        tx.add_event(RunEvent(tx.tenant_id, run_id, at, "log", step, detail=detail))
