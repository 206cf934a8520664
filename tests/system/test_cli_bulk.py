"""Cancel and retry runs that are chosen, and retry with something changed, at the command line."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from cli.desk.local import LocalDesk
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.errors import PolicyUnavailableError, RunNotFoundError
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunFilter
from factory_runtime.services import end_run as ending
from factory_runtime.services import retry_run as retrying
from factory_runtime.services.bulk import choose
from factory_runtime.services.end_run import end_run
from tests.cli_home import T0, Factory, Said, accept_run, get_run, typed, typing
from tests.warm_cli import nursery

CHOOSE = ("--where", "status=Failed")


def typed_at_a_terminal(runtime: Runtime, answer: str, *words: str) -> Said:
    """What `factory …` answers somebody who sits there."""
    ours, theirs = pty.openpty()
    settings = runtime.settings
    env = {"FACTORY_HOME": str(settings.root), "FACTORY_DATABASE_URL": settings.run_store_url}
    process = subprocess.Popen(
        [nursery().factory, *words],
        env={**os.environ, **env, "TERM": "xterm", "NO_COLOR": "1"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, answer.encode())
    told = b""
    with contextlib.suppress(OSError):  # what Linux says when the other end is closed
        while part := os.read(ours, 4096):
            told += part
    os.close(ours)
    return Said(process.wait(60), told.decode().replace("\r\n", "\n"), "")


class ClockAtT0:
    def now(self) -> datetime:
        return T0


def fail(runtime: Runtime) -> Run:
    """A run that was made to fail at T0, before any of its jobs began."""
    run, why = accept_run(runtime), "the host says no"
    return end_run(runtime.store, ClockAtT0(), "local", run.id, RunStatus.FAILED, why)


@pytest.fixture
def failed(runtime: Runtime) -> list[Run]:
    return [fail(runtime) for _ in range(3)]


# --- which


def test_a_preview_names_what_is_done_then_and_changes_nothing(
    factory: Factory, failed: list[Run]
) -> None:
    accept_run(factory.runtime)
    said = factory("runs", "retry", *CHOOSE, "--preview")
    assert said.code == 0
    assert said.out.startswith("3 runs to retry:\n")
    assert all(run.id in said.out for run in failed)
    shown = factory("runs", "retry", *CHOOSE, "--preview", "--json").json
    assert (shown["count"], set(shown["run_ids"])) == (3, {run.id for run in failed})
    assert {get_run(factory.runtime, run).status for run in failed} == {RunStatus.FAILED}
    done = factory("runs", "retry", *CHOOSE, "--yes", "--json").json
    assert [one["run_id"] for one in done["runs"]] == shown["run_ids"]
    assert (done["count"], done["done"], done["refused"], done["stopped"]) == (3, 3, 0, False)
    assert {get_run(factory.runtime, run).status for run in failed} == {RunStatus.QUEUED}
    assert factory("runs", "retry", *CHOOSE, "--yes").out == "no runs like that\n"


def test_a_long_preview_shows_the_first_ten(factory: Factory) -> None:
    for _ in range(12):
        accept_run(factory.runtime)
    said = factory("runs", "cancel", "--where", "template=microservice", "--preview")
    assert said.out.startswith("12 runs to cancel:\n")
    assert said.out.count("run-") == 10
    assert "… and 2 more" in said.out


def test_open_runs_that_are_chosen_are_cancelled_and_others_are_not(
    factory: Factory, failed: list[Run]
) -> None:
    mine, other = (accept_run(factory.runtime, project=name) for name in ("shop", "lab"))
    said = factory("runs", "cancel", "--where", "project=shop", "--yes")
    assert (said.code, said.out) == (0, f"{mine.id}  Cancelled\n1 of 1 run cancelled\n")
    assert get_run(factory.runtime, other).status is RunStatus.VALIDATED
    assert get_run(factory.runtime, failed[0]).status is RunStatus.FAILED


def test_what_failed_in_a_window_and_has_not_succeeded_since(factory: Factory) -> None:
    runtime = factory.runtime
    mended, open_ = fail(runtime), fail(runtime)
    billing = accept_run(runtime, "billing")
    with runtime.store.begin("local") as tx:
        again = tx.get_run(billing.id)
        for status in (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.SUCCEEDED):
            changes: dict[str, Any] = {}
            if status is RunStatus.SUCCEEDED:
                changes = {"inputs_digest": mended.inputs_digest}
            moved = again.move_to(status, runtime.clock.now(), **changes)
            tx.save_run(again, moved)
            again = moved
        tx.save_run(open_, open_.changed(T0, inputs_digest="0" * 64))
    window = ("--since", T0.isoformat(), "--until", (T0 + timedelta(seconds=3)).isoformat())
    shown = factory("runs", "retry", *window, "--preview", "--json").json
    assert set(shown["run_ids"]) == {mended.id, open_.id}
    words = ("--not-since-succeeded", "--preview", "--json")
    assert factory("runs", "retry", *window, *words).json["run_ids"] == [open_.id]
    before = ("--until", T0.isoformat(), "--preview", "--json")
    assert factory("runs", "retry", *before).json["run_ids"] == []
    assert factory("runs", "retry", "--since", "2h", "--preview", "--json").json["count"] == 0


def test_runs_are_listed_by_the_same_words(factory: Factory, failed: list[Run]) -> None:
    accept_run(factory.runtime)
    listed = factory("runs", "list", "--where", "error=SAYS NO", "--json").json["runs"]
    assert {run["id"] for run in listed} == {run.id for run in failed}
    words = ("--where", "status=Validated,Queued", "--where", "requester=ada")
    assert len(factory("runs", "list", *words, "--json").json["runs"]) == 1
    assert factory("runs", "list", "--where", "ended-since=2h").out == "no runs like that\n"
    ended = ("--where", f"ended-since={T0.isoformat()}", "--not-since-succeeded", "--json")
    assert len(factory("runs", "list", *ended).json["runs"]) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("cancel", "--where", "statsu=Failed"), "did you mean 'status'?"),
        (("cancel", "--where", "status=Runing"), "did you mean 'Running'?"),
        (("cancel", "--where", "colour=red"), "there are: status, project,"),
        (("cancel", "--where", "project"), "write --where project=value"),
        (("cancel", "--where", "project="), "there is no value"),
        (("cancel", "--where", "project=a", "--where", "project=b"), "is said twice"),
        (("cancel", "--since", "1h", "--where", "since=2h"), "is said twice"),
        (("cancel", "--since", "soon"), "--since is 'soon', which is no time"),
        (("cancel", "--since", "99999d", "--where", "until=0001-01-01"), "is no time"),
        (("cancel", "--where", "status=Succeeded"), "cannot be cancelled"),
        (("retry", "--where", "status=Running"), "cannot be retried"),
        (("retry",), "RUN_ID"),
        (("retry", "run-1", "--where", "status=Failed"), "named and chosen"),
        (("retry", "--where", "status=Failed", "--watch"), "--watch is for runs that are named"),
        (("cancel", "run-1", "--yes"), "--yes is for runs that are chosen"),
        (("retry", "run-1", "--preview"), "--preview is for runs that are chosen"),
        (("retry", "--where", "status=Failed"), "nobody is here to be asked"),
    ],
)
def test_bad_words_change_nothing_and_say_what_was_meant(
    factory: Factory, failed: list[Run], words: tuple[str, ...], message: str
) -> None:
    said = factory("runs", *words)
    assert (said.code, said.out) == (2, "")
    assert message in said.err
    assert {get_run(factory.runtime, run).status for run in failed} == {RunStatus.FAILED}


def test_runs_of_another_tenant_are_never_chosen(factory: Factory, failed: list[Run]) -> None:
    said = factory("runs", "retry", *CHOOSE, "--yes", "--tenant", "other")
    assert (said.code, said.out) == (0, "no runs like that\n")
    assert get_run(factory.runtime, failed[0]).status is RunStatus.FAILED


def test_what_cannot_be_retried_is_not_chosen(factory: Factory, failed: list[Run]) -> None:
    refused = factory("run", "microservice", "--set", "port=x", "--json").error["run_id"]
    with factory.runtime.store.begin("local") as tx:
        undone = tx.get_run(failed[0].id)
        tx.save_run(undone, undone.changed(T0, undo_requested_by="eve"))
    ids = factory("runs", "retry", *CHOOSE, "--preview", "--json").json["run_ids"]
    assert set(ids) == {failed[1].id, failed[2].id}
    assert refused not in ids


# --- asked


@pytest.mark.parametrize(("answer", "status"), [("y\n", "Queued"), ("n\n", "Failed")])
def test_somebody_at_a_terminal_is_asked_first(
    runtime: Runtime, failed: list[Run], answer: str, status: str
) -> None:
    said = typed_at_a_terminal(runtime, answer, "runs", "retry", *CHOOSE)
    assert said.code == 0, said.out
    assert "3 runs to retry:" in said.out
    assert "retry 3 runs?" in said.out
    assert {get_run(runtime, run).status for run in failed} == {status}
    assert ("nothing was done" in said.out) == (status == "Failed")


# --- on the way


def one_after_the_other(monkeypatch: pytest.MonkeyPatch, do: Callable[[Any, str], None]) -> None:
    """Have something happen before each run is retried."""
    real = retrying.retry_run

    def retry(store: Any, clock: Any, tenant: str, run_id: str, *rest: Any, **more: Any) -> Run:
        do(store, run_id)
        return real(store, clock, tenant, run_id, *rest, **more)

    monkeypatch.setattr(retrying, "retry_run", retry)


def test_a_run_that_moves_meanwhile_is_told_of_and_keeps_no_other(
    factory: Factory, failed: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, taken = factory.runtime.clock, failed[1].id
    real = retrying.retry_run

    def somebody_else(store: Any, run_id: str) -> None:
        if run_id == taken:
            real(store, clock, "local", run_id, "eve")

    one_after_the_other(monkeypatch, somebody_else)
    said = factory("runs", "retry", *CHOOSE, "--yes")
    assert said.code == 0
    assert f"{taken}  left as it is: run {taken} is Queued and cannot become Queued" in said.out
    assert said.out.endswith("2 of 3 runs retried, 1 moved meanwhile\n")
    assert {get_run(factory.runtime, run).cycle for run in failed} == {1}


def test_a_run_that_ends_meanwhile_is_not_cancelled(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [accept_run(factory.runtime) for _ in range(2)]
    real, clock = ending.cancel_run, factory.runtime.clock

    def cancel(store: Any, *rest: Any, **more: Any) -> Run:
        if rest[2] == runs[0].id:
            end_run(store, clock, "local", runs[0].id, RunStatus.FAILED, "first")
        return real(store, *rest, **more)

    monkeypatch.setattr(ending, "cancel_run", cancel)
    said = factory("runs", "cancel", "--where", "requester=ada", "--yes", "--json")
    assert (said.code, said.json["done"], said.json["moved_meanwhile"]) == (0, 1, 1)
    assert get_run(factory.runtime, runs[0]).status is RunStatus.FAILED


def test_what_is_refused_is_told_of_and_gives_the_exit_code(
    factory: Factory, failed: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_store: Any, run_id: str) -> None:
        if run_id == failed[1].id:
            raise RunNotFoundError(run_id)

    one_after_the_other(monkeypatch, gone)
    said = factory("runs", "retry", *CHOOSE, "--yes", "--json")
    assert said.code == 3
    assert (said.json["done"], said.json["refused"]) == (2, 1)


@pytest.mark.parametrize(
    ("stops", "code"), [(KeyboardInterrupt(), 1), (PolicyUnavailableError("it is broken"), 5)]
)
def test_what_stops_on_the_way_says_what_was_done_and_a_second_start_does_the_rest(
    factory: Factory,
    failed: list[Run],
    monkeypatch: pytest.MonkeyPatch,
    stops: BaseException,
    code: int,
) -> None:
    seen: list[str] = []

    def stop(_store: Any, run_id: str) -> None:
        seen.append(run_id)
        if len(seen) == 2:
            raise stops

    with monkeypatch.context() as patched:
        one_after_the_other(patched, stop)
        said = factory("runs", "retry", *CHOOSE, "--yes")
    assert said.code == code
    assert "1 of 3 runs retried\n" in said.out
    assert "the same command does what is left" in said.out
    cycles = [get_run(factory.runtime, run).cycle for run in failed]
    assert sorted(cycles) == [0, 0, 1]
    assert factory("runs", "retry", *CHOOSE, "--yes").out.endswith("2 of 2 runs retried\n")
    assert {get_run(factory.runtime, run).cycle for run in failed} == {1}


def test_ctrl_c_leaves_every_run_as_it_was_or_retried(runtime: Runtime) -> None:
    runs = [fail(runtime) for _ in range(40)]
    process = typing(runtime, "runs", "retry", *CHOOSE, "--yes")
    assert process.stdout is not None
    assert "Queued, cycle 1" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    said = typed(process)
    assert said.code == 1
    assert "the same command does what is left" in said.out
    assert "interrupted" in said.err
    stand = [get_run(runtime, run) for run in runs]
    left = [run for run in stand if run.status is RunStatus.FAILED]
    assert {(run.status, run.cycle) for run in stand} == {("Failed", 0), ("Queued", 1)}
    rest = typed(typing(runtime, "runs", "retry", *CHOOSE, "--yes", "--json")).json
    assert {one["run_id"] for one in rest["runs"]} == {run.id for run in left}
    assert {get_run(runtime, run).cycle for run in runs} == {1}


def test_runs_are_read_a_page_at_a_time(
    factory: Factory, failed: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory_runtime.services.bulk.PAGE", 2)
    chosen = choose(LocalDesk(factory.runtime, "local").reading, RunFilter(can_be_retried=True))
    assert {run.id for run in chosen} == {run.id for run in failed}
    assert factory("runs", "retry", *CHOOSE, "--yes", "--json").json["done"] == 3
