"""What the end of a run says: what failed, what was done instead, what is partial, what to do."""

from __future__ import annotations

from factory_runtime.domain.body import Body
from factory_runtime.domain.job import Job, JobStatus, SkipReason
from factory_runtime.domain.notice import Severity
from factory_runtime.domain.plan import Plan, PlannedJob
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.result import ConfirmedEffect, JobResult
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.domain.template import OnFailure
from factory_runtime.ports import JobContext
from factory_runtime.services.recovery import (
    RunReport,
    read_report,
    report_lines,
    report_notice,
    report_of,
    report_title,
)
from tests.builders import a_job, a_run, an_effect
from tests.receivers import a_notice
from tests.small_factory import SmallFactory, fails, steps

ONCE = "retry: {max_attempts: 1}"


def read(factory: SmallFactory, run: Run) -> RunReport:
    return read_report(factory.store, factory.storage, run.tenant_id, run.id)


def words(report: RunReport) -> str:
    return "\n".join([report_title(report), *report_lines(report)])


def severity(report: RunReport) -> Severity:
    return report_notice(report, a_notice()).severity


def ended(status: RunStatus, **values: object) -> Run:
    return a_run(id="run-1", template_id="demo", status=status, tenant_id="local", **values)


def test_a_run_that_has_all_it_was_asked_for_says_so_in_one_line(factory: SmallFactory):
    run = factory.complete(steps("a:", "b: needs: [a]"))
    report = read(factory, run)
    assert words(report) == f"demo {run.id} Succeeded"
    assert severity(report) is Severity.SUCCESS
    assert report.is_whole


def test_a_failure_is_told_with_what_was_not_reached_and_what_a_person_can_do(
    factory: SmallFactory,
):
    factory.on["a"] = fails(ValueError("the data\n  are gone"))
    run = factory.complete(steps(f"a: {ONCE}", "b: needs: [a]", "c: needs: [b]"))
    report = read(factory, run)
    (letter,) = report.letters
    assert words(report).splitlines() == [
        f"demo {run.id} Failed (1 job failed, 2 jobs left out)",
        "Failed:",
        "  a (act, 1 attempt): ValueError: the data are gone",
        "Not reached:",
        "  b",
        "  c",
        "What you can do:",
        f"  factory dead-letters show {letter} --tenant acme",
        f"  factory runs retry {run.id} --tenant acme",
    ]
    assert severity(report) is Severity.FAILURE


def test_a_fallback_that_ran_is_named_beside_what_failed(factory: SmallFactory):
    factory.on["pdf"] = fails(ValueError("no fonts"))
    run = factory.complete(
        steps(f"pdf: {ONCE}, on_failure: {{fallback: html}}", "html:", "send: needs: [pdf]")
    )
    report = read(factory, run)
    assert report.run.status is RunStatus.SUCCEEDED
    assert words(report).splitlines() == [
        f"demo {run.id} Succeeded, in part (1 job failed)",
        "Failed:",
        "  pdf (act, 1 attempt): ValueError: no fonts",
        "    html ran instead",
    ]
    assert severity(report) is Severity.WARNING


def test_a_fallback_that_failed_too_is_told_as_what_it_is(factory: SmallFactory):
    factory.on["pdf"] = factory.on["html"] = fails(ValueError("no disk"))
    run = factory.complete(steps(f"pdf: {ONCE}, on_failure: {{fallback: html}}", f"html: {ONCE}"))
    first, second = read(factory, run).failed
    assert first.instead == "html was to run instead, and is Failed"
    assert second.instead is None


def test_what_the_run_went_on_without_is_named(factory: SmallFactory):
    factory.on["chart"] = fails(ValueError("too few points"))
    run = factory.complete(steps(f"chart: {ONCE}, on_failure: continue", "report: needs: [chart]"))
    report = read(factory, run)
    assert [job.instead for job in report.failed] == ["went on without it"]
    assert not report.is_whole


def test_what_succeeded_with_less_is_told(factory: SmallFactory):
    factory.on["fetch"] = lambda _c, _w: JobResult(degraded="from the copy of 2026-11-20")
    run = factory.complete(steps("fetch:"))
    report = read(factory, run)
    assert words(report).splitlines() == [
        f"demo {run.id} Succeeded, in part (1 job with less than was asked for)",
        "Less than asked for:",
        "  fetch: from the copy of 2026-11-20",
    ]
    assert severity(report) is Severity.WARNING


def test_what_a_failed_run_leaves_outside_is_named(factory: SmallFactory):
    def makes(context: JobContext, _with: object) -> JobResult:
        context.intend("repository", "repository shop/orders")
        return JobResult(effects=(ConfirmedEffect("repository", "made"),))

    factory.on["a"] = makes
    factory.on["b"] = fails(ValueError("boom"))
    run = factory.complete(steps("a:", f"b: needs: [a], {ONCE}"))
    lines = report_lines(read(factory, run))
    assert "Still there:" in lines
    assert "  repository shop/orders" in lines


def planned(name: str, **values: object) -> PlannedJob:
    from datetime import timedelta

    from factory_runtime.domain.template import RetryPolicy

    given: dict[str, object] = {
        "name": name,
        "step": name,
        "type": "act",
        "type_version": "1",
        "needs": (),
        "with_": {},
        "retry": RetryPolicy(),
        "timeout": timedelta(minutes=1),
    }
    return PlannedJob(**given | values)  # pyright: ignore[reportArgumentType] - values of a test


def a_plan(*jobs: PlannedJob) -> Plan:
    return Plan("demo", "1.0.0", "a" * 64, {}, jobs)


def failed(run: Run, step: str = "a", **values: object) -> Job:
    return a_job(
        run, **{"step": step, "type": "act", "status": JobStatus.FAILED, "attempt": 3} | values
    )


def test_an_undo_that_is_offered_is_proposed_until_somebody_asked_for_it():
    run = ended(RunStatus.FAILED)
    plan = a_plan(planned("a", undo="delete-repository"), planned("b"))
    effect = an_effect(run, step="a", status=EffectStatus.CONFIRMED)
    report = report_of(run, [failed(run, "b")], plan, [effect])
    assert "factory runs undo run-1" in report.commands
    undoing = a_run(id="run-2", undoes="run-1", status=RunStatus.RUNNING)
    report = report_of(run, [failed(run, "b")], plan, [effect], undoing=undoing)
    assert "factory runs undo run-1" not in report.commands
    assert "Undone by run-2, which is Running" in report_lines(report)
    asked = ended(RunStatus.FAILED, undo_requested_by="ada")
    assert not report_of(asked, [], plan, [effect]).undoable
    without = a_plan(planned("a"), planned("b"))
    assert not report_of(run, [], without, [effect]).undoable


def test_a_run_that_is_undone_or_is_to_be_is_not_proposed_for_a_retry():
    plan, retry = a_plan(planned("a")), "factory runs retry run-1"
    run = ended(RunStatus.FAILED, plan=Body({}))
    assert retry in report_of(run, [failed(run)], plan, []).commands
    undoing = a_run(id="run-2", undoes="run-1", status=RunStatus.SUCCEEDED)
    assert retry not in report_of(run, [failed(run)], plan, [], undoing=undoing).commands
    asked = ended(RunStatus.FAILED, plan=run.plan, undo_requested_by="ada")
    assert retry not in report_of(asked, [failed(asked)], plan, []).commands


def test_a_run_that_compensates_says_by_which_run():
    run = ended(RunStatus.FAILED)
    plan = a_plan(planned("a", on_failure=OnFailure("compensate")))
    undoing = a_run(id="run-2", undoes="run-1")
    (job,) = report_of(run, [failed(run)], plan, [], undoing=undoing).failed
    assert job.instead == "what the run had made is undone by run-2"


def test_a_run_that_undoes_another_tells_how_much_it_undid():
    run = ended(RunStatus.SUCCEEDED, undoes="run-0")
    other = a_run(id="run-0")
    effects = [
        an_effect(other, kind="a", status=EffectStatus.UNDONE, undone_by="run-1"),
        an_effect(other, kind="b", status=EffectStatus.UNDONE, undone_by="run-1"),
        an_effect(other, kind="c", status=EffectStatus.ORPHANED, undone_by="run-1"),
    ]
    report = report_of(run, [], None, effects)
    assert report_title(report) == "demo run-1 Succeeded: of run-0 undone: 2, left: 1"
    assert report.commands == ("factory effects list --orphaned",)
    assert severity(report) is Severity.WARNING


def test_what_an_undo_has_not_settled_yet_is_known_as_that():
    run = ended(RunStatus.SUCCEEDED, undoes="run-0")
    other = a_run(id="run-0")
    effects = [
        an_effect(other, kind="a", status=EffectStatus.UNDONE, undone_by="run-1"),
        an_effect(other, kind="b", status=EffectStatus.CONFIRMED),
    ]
    report = report_of(run, [], None, effects)
    assert (report.undone, report.left, report.unsettled) == (1, 0, 1)


def test_of_many_only_some_are_named_and_the_rest_counted():
    run = ended(RunStatus.FAILED)
    jobs = [failed(run, f"f{number}", error="no") for number in range(8)] + [
        a_job(run, step=f"s{n}", status=JobStatus.SKIPPED, skip_reason=SkipReason.NEED_FAILED)
        for n in range(7)
    ]
    lines = report_lines(report_of(run, jobs, None, []))
    assert "  and 3 more" in lines
    assert "  and 2 more" in lines
    assert sum(line.startswith("  f") for line in lines) == 5


def test_secrets_and_line_breaks_of_an_error_are_not_told():
    run = ended(RunStatus.FAILED)
    error = "push failed\nhttps://ada:hunter2secret@host/x.git" + "y" * 5000
    text = words(report_of(run, [failed(run, error=error)], None, []))
    assert "hunter2secret" not in text
    assert max(map(len, text.splitlines())) < 300


def test_a_run_whose_plan_is_gone_is_told_all_the_same(factory: SmallFactory):
    factory.on["a"] = fails(ValueError("boom"))
    run = factory.complete(steps(f"a: {ONCE}, on_failure: continue"))
    factory.storage = type(factory.storage)()
    (job,) = read(factory, run).failed
    assert (job.step, job.instead) == ("a", None)


def test_why_a_run_was_stopped_is_told_where_no_job_failed():
    run = ended(RunStatus.CANCELLED, error="cancelled by ada")
    report = report_of(run, [], None, [])
    assert words(report).splitlines() == ["demo run-1 Cancelled", "cancelled by ada"]
    assert severity(report) is Severity.WARNING
