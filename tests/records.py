"""All that is recorded of a run, to be compared with what is recorded of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from factory_runtime.domain.notice import NoticeKind
from factory_runtime.domain.run import Run
from tests.small_factory import SmallFactory


@dataclass(frozen=True)
class Record:
    """All that the store holds of a run, but for ids that differ from run to run."""

    run: tuple[Any, ...]
    jobs: tuple[Any, ...]
    attempts: tuple[Any, ...]
    events: tuple[Any, ...]
    artifacts: tuple[Any, ...]
    effects: tuple[Any, ...]
    messages: tuple[Any, ...]


def record_of(factory: SmallFactory, run: Run) -> Record:
    """The record of a run as it stands: compare two of them."""
    with factory.store.begin(run.tenant_id, read_only=True) as tx:
        stands, jobs = tx.get_run(run.id), tx.list_jobs(run.id)
        attempts, events = tx.list_attempts(run.id), tx.list_events(run.id)
        artifacts, effects = tx.list_artifacts(run_id=run.id), tx.list_effects(run_id=run.id)
    messages = [m for m in factory.messages() if m.payload.get("run_id") == run.id]
    # Which run alerts of a kind of failure follows from the runs before it.
    messages = [m for m in messages if m.payload.get("kind") != NoticeKind.DEAD_LETTER]
    return Record(
        (stands.status, stands.version, stands.repo_id, stands.admitted_at, stands.completed_at),
        tuple((j.step, j.status, j.version, j.attempt, j.failures, j.losses) for j in jobs),
        tuple((a.step, a.number, a.outcome, a.completed_at) for a in attempts),
        tuple((e.sequence, e.at, e.kind, e.step, e.to_status, dict(e.detail)) for e in events),
        tuple((a.step, a.name, a.creator.removeprefix(run.id)) for a in artifacts),
        tuple((e.kind, e.status, e.reference) for e in effects),
        tuple(sorted(m.topic for m in messages)),
    )
