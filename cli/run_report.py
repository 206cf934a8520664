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


def find_report(door: Door, facts: RunFacts) -> RunReport | None:
    """The report of an ended run; None where there is nothing to be said but that it succeeded."""
    run = facts.run
    whole = all(job.status is not JobStatus.FAILED and not job.degraded for job in facts.jobs)
    if not run.ended or (run.status is RunStatus.SUCCEEDED and whole and run.undoes is None):
        return None
    from factory_runtime.services.recovery import read_report

    return read_report(door.runtime.store, door.runtime.storage, door.tenant, run.id)


def show_report(door: Door, report: RunReport) -> None:
    """The words that people are told of its end."""
    from factory_runtime.services.recovery import report_lines, report_title

    door.screen.heading("What became of it")
    for line in (report_title(report), *report_lines(report)):
        door.screen.line(line)


def report_as_json(report: RunReport | None) -> dict[str, Any] | None:
    """The same for another program: what failed, what was done instead, what can be typed."""
    if report is None:
        return None
    undoing = report.undoing.id if report.undoing is not None else None
    rest = without(report, "run", "undoing")
    return {**rest, "undone_by": undoing, "commands": list(report.commands)}
