"""All that is read of a run to learn from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from factory_runtime.domain.approval import Approval, Vote
from factory_runtime.domain.artifact import Artifact
from factory_runtime.domain.circumstances import Circumstances, kept_inputs
from factory_runtime.domain.dead_letter import DeadLetter, LetterFilter, LetterStatus
from factory_runtime.domain.errors import FactoryError, TransientError
from factory_runtime.domain.job import Job
from factory_runtime.domain.memory_text import clean, one_line, secrets_in
from factory_runtime.domain.plan import Plan
from factory_runtime.domain.records import RunEvent, TemplateRecord
from factory_runtime.domain.run import Run
from factory_runtime.domain.secrets import Secrets
from factory_runtime.ports import ArtifactStorage, RunStore, RunTransaction
from factory_runtime.services.bodies import from_body
from factory_runtime.services.letters import ALL
from factory_runtime.services.run_history import Cycle, JobEnd, cycles_of, last_cycle

_EVENTS = 1000


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as it was read.

    Attributes:
        template: its record; None where that is gone.
        asked: what people were asked, oldest first, with what they said.
        letters: its dead letters, by job.
        cycles: those that have ended, in order.
        plans: of each of them; None where it can no longer be read.
        given: the inputs of each of them, without secrets; empty where they are no longer known.
        circumstances: what was so for the whole of each cycle.
        inputs: as they are now, in the order of the template.
        secrets: that nothing may say.
    """

    run: Run
    jobs: tuple[Job, ...]
    artifacts: tuple[Artifact, ...]
    template: TemplateRecord | None
    asked: tuple[tuple[Approval, tuple[Vote, ...]], ...]
    letters: Mapping[str, DeadLetter]
    cycles: tuple[Cycle, ...]
    plans: Mapping[int, Plan | None]
    given: Mapping[int, Mapping[str, Any]]
    circumstances: Mapping[int, Circumstances]
    inputs: Mapping[str, Any]
    secrets: Secrets

    @property
    def plan(self) -> Plan | None:
        """The one of the last cycle that has ended."""
        return self.plans.get(self.cycles[-1].number) if self.cycles else None

    def template_version(self, cycle: Cycle) -> str:
        plan = self.plans[cycle.number]
        return self.run.template_version if plan is None else plan.template_version

    def circumstances_of(self, cycle: Cycle, end: JobEnd) -> Circumstances:
        """What was so for a job of the cycle."""
        plan, attempt = self.plans[cycle.number], end.attempt
        planned = None if plan is None else plan.by_name.get(end.name)
        return replace(
            self.circumstances[cycle.number],
            type_version=None if planned is None else planned.type_version,
            timeout=None if planned is None else planned.timeout.total_seconds(),
            environment=None if attempt is None else one_line(attempt.environment),
            machine=None if attempt is None else one_line(attempt.worker.rpartition(":")[0]),
        )


def read_run(store: RunStore, storage: ArtifactStorage, tenant_id: str, run_id: str) -> RunRecord:
    """Read it, with what lies in storage of it.

    Raises:
        RunNotFoundError: no such run.
        TransientError: the store or the storage is away.
    """
    with store.begin(tenant_id, read_only=True) as tx:
        run, jobs = tx.get_run(run_id), tx.list_jobs(run_id)
        template = _find(tx.list_templates(), run)
        artifacts = tx.list_artifacts(run_id=run_id)
        asked = [(one, tx.list_votes(one.id)) for one in tx.list_approvals(run_id=run_id)]
        letters = tx.list_dead_letters(LetterFilter(tuple(LetterStatus), run_id=run_id), limit=ALL)
        attempts = tx.list_attempts(run_id)
        events = tuple(_events(tx, run_id)) if run.cycle > 0 or not run.ended else ()
    cycles = cycles_of(jobs, attempts, events)
    if run.ended and not cycles:
        cycles = (last_cycle(run, jobs, attempts),)
    inputs = _in_order(_inputs(storage, run), template)
    find_plan = cache(partial(_find_plan, storage, run))  # most cycles have the same
    plans = {cycle.number: find_plan(cycle.plan_digest) for cycle in cycles}
    all_inputs = [inputs, *(plan.inputs for plan in plans.values() if plan is not None)]
    secrets = secrets_in(all_inputs)
    given = {
        cycle.number: clean(_given(inputs, plans[cycle.number], cycle), secrets) for cycle in cycles
    }
    record = RunRecord(
        run=run,
        jobs=jobs,
        artifacts=artifacts,
        template=template,
        asked=tuple(asked),
        letters={letter.step: letter for letter in letters},
        cycles=cycles,
        plans=plans,
        given=given,
        circumstances={},
        inputs=inputs,
        secrets=secrets,
    )
    return replace(record, circumstances={one.number: _so(record, one) for one in cycles})


def _given(inputs: Mapping[str, Any], plan: Plan | None, cycle: Cycle) -> Mapping[str, Any]:
    if plan is not None:
        return plan.inputs
    return inputs if cycle.plan_digest is None else {}


def _so(record: RunRecord, cycle: Cycle) -> Circumstances:
    inputs, digest = kept_inputs(record.given[cycle.number])
    is_known = record.plans[cycle.number] is not None or cycle.plan_digest is None
    if not is_known:
        digest = f"{record.run.id}:{cycle.number}"  # they are like no others
    return Circumstances(
        inputs_known=is_known,
        inputs=inputs,
        inputs_digest=digest,
        template_version=record.template_version(cycle),
        changed=tuple(one_line(name, secrets=record.secrets) for name in cycle.changed),
    )


def _events(tx: RunTransaction, run_id: str) -> Iterator[RunEvent]:
    after = 0
    while page := tx.list_events(run_id, after=after, limit=_EVENTS):
        yield from page
        after = page[-1].sequence


def _inputs(storage: ArtifactStorage, run: Run) -> Mapping[str, Any]:
    try:
        return from_body(storage, run.tenant_id, run.inputs) or {}
    except TransientError:
        raise
    except FactoryError:
        return {}  # what else there is to learn is learned without them


def _find_plan(storage: ArtifactStorage, run: Run, digest: str | None) -> Plan | None:
    # Imported here: only who learns needs the compiler.
    from factory_runtime.compiler.plan import plan_from_json

    if digest is None and run.plan is not None and run.plan.reference is not None:
        digest = run.plan.reference.digest
    if digest is None:
        return None
    try:
        return plan_from_json(storage.read(run.tenant_id, digest).decode())
    except TransientError:
        raise
    except FactoryError:
        return None


def _in_order(inputs: Mapping[str, Any], template: TemplateRecord | None) -> dict[str, Any]:
    """The inputs as the template's author ordered them: what matters most comes first."""
    declared: Mapping[str, Any] = template.inputs_schema.get("properties", {}) if template else {}
    known = [name for name in declared or () if name in inputs]
    return {name: inputs[name] for name in [*known, *(n for n in inputs if n not in known)]}


def _find(templates: tuple[TemplateRecord, ...], run: Run) -> TemplateRecord | None:
    wanted = (run.template_id, run.template_version)
    return next((one for one in templates if (one.template_id, one.version) == wanted), None)
