"""Signals: what became of runs and jobs, for machines to act on; Prefect tells them as events.

A notice is for people, and a tenant's policy says who is told of which. A signal is for automations:
ids and numbers of ours, nothing that a tenant wrote. Nothing is left for a job that went well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from factory_runtime.domain.job import Job
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunTransaction
from factory_runtime.services.outbox import leave
from factory_runtime.services.topics import SIGNALS

RUN_ACCEPTED = "run.accepted"
RUN_REFUSED = "run.refused"
RUN_STARTED = "run.started"
RUN_PAUSED = "run.paused"
RUN_RESUMED = "run.resumed"
RUN_WAITING = "run.waiting"
RUN_RETRIED = "run.retried"
JOB_FAILED = "job.failed"
JOB_RETRIED = "job.retried"
LETTER_OPENED = "dead-letter.opened"
"""Its end is told as a notice is: ``run.succeeded``, ``run.failed``, ``run.cancelled``."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One thing that came to pass.

    Attributes:
        name: like ``job.failed``.
        step: of the job; None where it is about the run.
        letter_id: of the dead letter that it is about.
        facts: ids and numbers of ours.
    """

    name: str
    step: str | None = None
    letter_id: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Signals:
    """What one change of a run or a job gave, to be told together.

    Attributes:
        key: names the change: told again, it is known by it.
    """

    tenant_id: str
    run_id: str
    key: str
    at: datetime
    signals: tuple[Signal, ...]


def signal_run(tx: RunTransaction, run: Run, name: str, now: datetime, **facts: Any) -> None:
    """Have it told that this version of a run came to be."""
    signal = Signal(name, facts={"cycle": run.cycle, "status": run.status.value, **facts})
    _leave(tx, run.id, f"{run.id}:{run.version}", now, signal)


def signal_at_rest(tx: RunTransaction, run: Run, now: datetime) -> None:
    """Have it told that a run was put down, where it waits for something or somebody."""
    if run.status is RunStatus.PAUSED:
        signal_run(tx, run, RUN_PAUSED, now)
    elif run.status is RunStatus.WAITING:
        signal_run(tx, run, RUN_WAITING, now)


def signal_job(tx: RunTransaction, job: Job, now: datetime, *signals: Signal) -> None:
    """Have it told what this version of a job came to."""
    _leave(tx, job.run_id, f"{job.run_id}:{job.step}:{job.version}", now, *signals)


def _leave(tx: RunTransaction, run_id: str, key: str, now: datetime, *signals: Signal) -> None:
    told = [
        {"name": one.name, "step": one.step, "letter_id": one.letter_id, "facts": dict(one.facts)}
        for one in signals
    ]
    leave(tx, SIGNALS, key, {"run_id": run_id, "at": now.isoformat(), "signals": told}, now)


def signals_of(message: OutboxMessage) -> Signals:
    """What a message of the topic ``SIGNALS`` says."""
    payload = message.payload
    return Signals(
        message.tenant_id,
        payload["run_id"],
        message.key,
        datetime.fromisoformat(payload["at"]),
        tuple(Signal(**one) for one in payload["signals"]),
    )
