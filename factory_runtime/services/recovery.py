"""What a run's end says to people: what failed, what was done instead, and what they can do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from factory_runtime.domain.dead_letter import LetterFilter
from factory_runtime.domain.errors import FactoryError
from factory_runtime.domain.job import Job, JobStatus, SkipReason
from factory_runtime.domain.notice import Notice, Severity
from factory_runtime.domain.plan import Plan
from factory_runtime.domain.records import Effect, EffectStatus
from factory_runtime.domain.redaction import redact_text
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import ArtifactStorage, RunStore
from factory_runtime.services.commands import for_tenant

NAMED = 5
"""How many of a kind are named; of the others it is told how many they are."""

_LINE = 200
_MANY = 10_000


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A job that failed for good.

    Attributes:
        error: one line, without what looks like a secret.
        instead: what was done in its place, for people; None where nothing was.
    """

    step: str
    type: str
    attempts: int
    error: str
    instead: str | None = None


@dataclass(frozen=True, slots=True)
class LesserJob:
    """A job that succeeded with less than was asked for, and in what way."""

    step: str
    less: str


@dataclass(frozen=True, slots=True)
class RunReport:
    """What became of a run and what is left to do about it.

    Attributes:
        left_out: jobs that were not reached, because what they need failed.
        standing: what it has made outside, and nobody has taken back, though it did not succeed.
        undoable: whether something of that could be undone.
        letters: ids of its open dead letters.
        undoing: the run that undoes this one.
        undone, left: of a run that undoes another: effects taken back, and left as they are.
        unsettled: of a run that undoes another: effects of which neither is known yet.
        orphans: effects of this run, or of the one it undoes, that a person has to look at.
    """

    run: Run
    failed: tuple[FailedJob, ...] = ()
    lesser: tuple[LesserJob, ...] = ()
    left_out: tuple[str, ...] = ()
    standing: tuple[str, ...] = ()
    undoable: bool = False
    letters: tuple[str, ...] = ()
    undoing: Run | None = None
    undone: int = 0
    left: int = 0
    unsettled: int = 0
    orphans: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing of what was asked for."""
        lacks = self.failed or self.lesser or self.left_out or self.left
        return self.run.status is RunStatus.SUCCEEDED and not lacks

    @property
    def is_taken_back(self) -> bool:
        """Whether it is undone, or somebody wants it to be: it never goes on."""
        return self.undoing is not None or self.run.undo_requested_by is not None

    @property
    def commands(self) -> tuple[str, ...]:
        """What a person can type, the first thing to do first."""
        run = self.run
        typed = [f"factory dead-letters show {letter}" for letter in self.letters[:NAMED]]
        if run.status is RunStatus.FAILED and run.plan is not None and not self.is_taken_back:
            typed.append(f"factory runs retry {run.id}")
        if self.undoable:
            typed.append(f"factory runs undo {run.id}")
        if self.orphans:
            typed.append("factory effects list --orphaned")
        return tuple(for_tenant(command, run.tenant_id) for command in typed)


def read_report(
    store: RunStore, storage: ArtifactStorage, tenant_id: str, run_id: str
) -> RunReport:
    """Read what there is to be said of a run as it stands.

    Raises:
        RunNotFoundError: no such run.
    """
    with store.begin(tenant_id, read_only=True) as tx:
        run = tx.get_run(run_id)
        jobs = tx.list_jobs(run_id)
        undoing = tx.find_undoing_run(run_id)
        effects = tx.list_effects(run_id=run.undoes or run_id, limit=_MANY)
        letters = tx.list_dead_letters(LetterFilter(run_id=run_id), limit=NAMED + 1)
    plan = _find_plan(storage, run)
    return report_of(run, jobs, plan, effects, tuple(letter.id for letter in letters), undoing)


def report_of(
    run: Run,
    jobs: Sequence[Job],
    plan: Plan | None,
    effects: Sequence[Effect],
    letters: tuple[str, ...] = (),
    undoing: Run | None = None,
) -> RunReport:
    """Work out the report. Pure.

    Args:
        run: which.
        jobs: its own, in plan order.
        plan: its own; None where it has none, or none that can be read.
        effects: its own; of a run that undoes another, those of the other.
        letters: ids of its open dead letters.
        undoing: the run that undoes it.
    """
    report = RunReport(
        run,
        failed=tuple(
            _failed_job(job, jobs, plan, undoing) for job in jobs if job.status is JobStatus.FAILED
        ),
        lesser=tuple(LesserJob(job.step, _line(job.degraded)) for job in jobs if job.degraded),
        left_out=tuple(
            job.step
            for job in jobs
            if job.status is JobStatus.SKIPPED and job.skip_reason is SkipReason.NEED_FAILED
        ),
        letters=letters,
        undoing=undoing,
        orphans=sum(effect.status is EffectStatus.ORPHANED for effect in effects),
    )
    if run.undoes is not None:
        mine = [effect for effect in effects if effect.undone_by == run.id]
        undone = sum(effect.status is EffectStatus.UNDONE for effect in mine)
        open_ones = (EffectStatus.INTENDED, EffectStatus.CONFIRMED)
        unsettled = sum(effect.status in open_ones for effect in effects)
        return replace(report, undone=undone, left=len(mine) - undone, unsettled=unsettled)
    if not run.ended or run.status is RunStatus.SUCCEEDED:
        return report
    standing = [effect for effect in effects if effect.status is EffectStatus.CONFIRMED]
    return replace(
        report,
        standing=tuple(_line(effect.target) for effect in standing),
        undoable=not report.is_taken_back and _is_undoable(plan, standing),
    )


def report_notice(report: RunReport, notice: Notice) -> Notice:
    """The notice of a run's end, with its words."""
    return replace(
        notice,
        title=report_title(report),
        body="\n".join(report_lines(report)),
        severity=_severity(report),
    )


def report_title(report: RunReport) -> str:
    """One line: which run, and what became of it."""
    run = report.run
    head = f"{run.template_id} {run.id}"
    if run.undoes is not None:
        return f"{head} {run.status}: of {run.undoes} undone: {report.undone}, left: {report.left}"
    less = _counted(
        (len(report.failed), "failed"),
        (len(report.lesser), "with less than was asked for"),
        (len(report.left_out), "left out"),
    )
    partly = ", in part" if run.status is RunStatus.SUCCEEDED and less else ""
    return f"{head} {run.status}{partly}" + (f" ({less})" if less else "")


def report_lines(report: RunReport) -> tuple[str, ...]:
    """The rest, for people: empty where there is nothing to be said but that it ended."""
    return tuple(_lines(report))


def _lines(report: RunReport) -> Iterator[str]:
    if report.run.error and not report.failed:
        yield _line(report.run.error)
    yield from _part("Failed:", [line for job in report.failed[:NAMED] for line in _told(job)])
    if len(report.failed) > NAMED:
        yield f"  and {len(report.failed) - NAMED} more"
    yield from _part(
        "Less than asked for:", _some(f"{job.step}: {job.less}" for job in report.lesser)
    )
    yield from _part("Not reached:", _some(report.left_out))
    if report.undoing is not None:
        yield f"Undone by {report.undoing.id}, which is {report.undoing.status}"
    elif report.standing:
        yield from _part("Still there:", _some(report.standing))
    yield from _part("What you can do:", report.commands)


def _told(job: FailedJob) -> list[str]:
    tries = f"{job.attempts} attempt{'' if job.attempts == 1 else 's'}"
    told = [f"{job.step} ({job.type}, {tries}): {job.error}"]
    return [*told, f"  {job.instead}"] if job.instead else told


def _part(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield title
        yield from (f"  {line}" for line in lines)


def _some(lines: Iterator[str] | Sequence[str]) -> list[str]:
    found = list(lines)
    more = [f"and {len(found) - NAMED} more"] if len(found) > NAMED else []
    return found[:NAMED] + more


def _counted(*counts: tuple[int, str]) -> str:
    return ", ".join(f"{n} job{'' if n == 1 else 's'} {what}" for n, what in counts if n)


def _severity(report: RunReport) -> Severity:
    if report.run.status is RunStatus.FAILED:
        return Severity.FAILURE
    return Severity.SUCCESS if report.is_whole else Severity.WARNING


def _failed_job(job: Job, jobs: Sequence[Job], plan: Plan | None, undoing: Run | None) -> FailedJob:
    by_name = {other.step: other for other in jobs}
    instead = None if plan is None else _instead(job.step, by_name, plan, undoing)
    return FailedJob(job.step, job.type, job.attempt, _line(job.error), instead)


def _instead(name: str, jobs: Mapping[str, Job], plan: Plan, undoing: Run | None) -> str | None:
    """What was done in the place of a job that failed."""
    planned = plan.by_name.get(name)
    if planned is None:
        return None
    match planned.on_failure.action:
        case "continue":
            return "went on without it"
        case "fallback":
            return _stand_in(name, jobs, plan)
        case "compensate":
            by = f" by {undoing.id}" if undoing is not None else ""
            return f"what the run had made is undone{by}"
        case "fail":
            return None


def _stand_in(name: str, jobs: Mapping[str, Job], plan: Plan) -> str | None:
    for other in plan.fallbacks:
        job = jobs.get(other.name)
        if name not in other.fallback_for or job is None:
            continue
        if job.status is JobStatus.SUCCEEDED:
            return f"{other.name} ran instead"
        return f"{other.name} was to run instead, and is {job.status}"
    return None


def _is_undoable(plan: Plan | None, standing: Sequence[Effect]) -> bool:
    """Whether there is something that could be undone."""
    planned = (plan and plan.by_name.get(effect.step) for effect in standing)
    return any(job is not None and job.undo is not None for job in planned)


def _find_plan(storage: ArtifactStorage, run: Run) -> Plan | None:
    # Imported here: the compiler is not needed by those who only list.
    from factory_runtime.compiler.plan import plan_from_json

    if run.plan is None or run.plan.reference is None:
        return None
    try:
        return plan_from_json(storage.read(run.tenant_id, run.plan.reference.digest).decode())
    except FactoryError:
        return None  # the end is told all the same


def _line(text: str | None) -> str:
    """One line without what looks like a secret, cut to a length."""
    words = " ".join(redact_text((text or "no reason given")[:4000]).split())
    return words if len(words) <= _LINE else f"{words[: _LINE - 1].rstrip()}…"
