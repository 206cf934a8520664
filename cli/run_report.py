"""What became of a run that has not all it was asked for, and what a person can do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli.as_json import without
from cli.door import Door
from cli.run_facts import RunFacts
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import RunStatus

if TYPE_CHECKING:
    from factory_runtime.services.recovery import RunReport

_MANY = 10_000


def find_report(door: Door, facts: RunFacts) -> RunReport | None:
    """The report of an ended run; None where there is nothing to be said but that it succeeded."""
    run = facts.run
    whole = all(job.status is not JobStatus.FAILED and not job.degraded for job in facts.jobs)
    if not run.ended or (run.status is RunStatus.SUCCEEDED and whole and run.undoes is None):
        return None
    from factory_runtime.domain.dead_letter import LetterFilter
    from factory_runtime.services.recovery import NAMED, report_of

    effects = facts.effects
    with door.desk.reading() as tx:
        letters = tx.list_dead_letters(LetterFilter(run_id=run.id), limit=NAMED + 1)
        if run.undoes is not None:
            effects = tx.list_effects(run_id=run.undoes, limit=_MANY)
    plan, ids = door.desk.plan_of(run), tuple(letter.id for letter in letters)
    return report_of(run, facts.jobs, plan, effects, ids, facts.undoing)


def show_report(door: Door, report: RunReport) -> None:
    """The words that people are told of its end."""
    from factory_runtime.services.recovery import report_lines, report_title

    door.screen.heading("What became of it")
    for line in (report_title(report), *report_lines(report)):
        door.screen.line(door.desk.typed(line))


def report_as_json(door: Door, report: RunReport | None) -> dict[str, Any] | None:
    """The same for another program: what failed, what was done instead, what can be typed."""
    if report is None:
        return None
    undoing = report.undoing.id if report.undoing is not None else None
    rest = without(report, "run", "undoing")
    return {
        **rest,
        "undone_by": undoing,
        "commands": [door.desk.typed(one) for one in report.commands],
    }
