"""The built-in template report, over real sources, on both databases: what fails does not end it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.errors import InvalidInputsError
from factory_runtime.domain.job import JobStatus, SkipReason
from factory_runtime.domain.result import JobResult
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.jobs.report.chart import Chart
from factory_runtime.ports import FileTree, JobContext
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.bodies import from_body
from tests.data_server import ROWS, DataServer, data_server
from tests.reports import ReportFactory

FIVE = ("sales", "visitors", "returns", "stock", "support")
TWO = ("sales", "stock")


@pytest.fixture
def server() -> Generator[DataServer]:
    with data_server() as running:
        for name in FIVE:
            running.serves(f"/{name}.csv")
        yield running


@pytest.fixture
def factory(tmp_path: Path, database_store: SqlRunStore, server: DataServer) -> ReportFactory:
    return ReportFactory(tmp_path, database_store, data_hosts=(server.host,))


ON_SQLITE = pytest.mark.parametrize(
    "database_url",
    ["sqlite", pytest.param("postgres", marks=[pytest.mark.service, pytest.mark.soak])],
    indirect=True,
)
"""What differs by the database is in the other tests; on both in the soak."""


def sources(server: DataServer, names: tuple[str, ...] = TWO) -> list[dict[str, str]]:
    return [{"name": name, "location": server.url(f"/{name}.csv")} for name in names]


def outputs(factory: ReportFactory, run: Run) -> Any:
    return from_body(factory.storage, run.tenant_id, run.outputs)


def degraded(factory: ReportFactory, run: Run) -> dict[str, str | None]:
    return {step: job.degraded for step, job in factory.jobs(run).items() if job.degraded}


def test_five_sources_become_one_pdf(factory: ReportFactory, server: DataServer) -> None:
    run = factory.report(*sources(server, FIVE))
    assert run.status is RunStatus.SUCCEEDED
    assert factory.body(run, "report.pdf").startswith(b"%PDF")
    jobs = factory.jobs(run)
    assert jobs["write-html"].skip_reason is SkipReason.FALLBACK_NOT_NEEDED
    assert [jobs[f"draw[{name}]"].status for name in FIVE] == [JobStatus.SUCCEEDED] * 5
    assert degraded(factory, run) == {}
    assert outputs(factory, run)["document"] == "report.pdf"
    assert outputs(factory, run)["notes"] == []


@ON_SQLITE
def test_a_source_that_times_out_is_served_from_its_copy_and_marked_stale(
    factory: ReportFactory, server: DataServer
) -> None:
    first = factory.report(*sources(server))
    server.hangs("/stock.csv")
    run = factory.report(*sources(server), seconds=0.1)
    assert run.status is RunStatus.SUCCEEDED
    at = f"{first.requested_at:%Y-%m-%d %H:%M} UTC"
    assert degraded(factory, run)["fetch[stock]"] == f"stale: copy of {at}"
    assert len(factory.attempts(run, "fetch[stock]")) == 3
    (note,) = outputs(factory, run)["notes"]
    assert note == f"stock: from a copy of {at}; the source did not answer"
    assert factory.body(run, "report.pdf") != factory.body(first, "report.pdf")


@ON_SQLITE
def test_a_source_that_times_out_without_a_copy_is_left_out_and_named(
    factory: ReportFactory, server: DataServer
) -> None:
    server.hangs("/stock.csv")
    run = factory.report(*sources(server), seconds=0.1)
    jobs = factory.jobs(run)
    assert run.status is RunStatus.SUCCEEDED
    assert jobs["fetch[stock]"].status is JobStatus.FAILED
    assert jobs["draw[stock]"].skip_reason is SkipReason.CONDITION
    assert degraded(factory, run)["analyse"] == "without stock"
    note = "stock: left out; it could not be fetched, and there was no copy"
    assert outputs(factory, run)["notes"] == [note]


@ON_SQLITE
def test_the_copy_of_another_project_is_no_copy(factory: ReportFactory, server: DataServer) -> None:
    factory.report(*sources(server))
    server.serves("/stock.csv", b"", 500)
    request = factory.request("report", {"sources": sources(server)}, project_id="other")
    run = factory.drive(factory.take_up(request, "flow-other"))
    assert factory.jobs(run)["fetch[stock]"].status is JobStatus.FAILED


@ON_SQLITE
def test_a_source_that_comes_back_is_fresh_again(
    factory: ReportFactory, server: DataServer
) -> None:
    factory.report(*sources(server))
    server.serves("/stock.csv", b"", 503)
    factory.report(*sources(server))
    server.serves("/stock.csv", ROWS + b"5,18\n")
    run = factory.report(*sources(server))
    assert degraded(factory, run) == {}


@ON_SQLITE
def test_without_any_source_there_is_no_report(factory: ReportFactory, server: DataServer) -> None:
    for name in TWO:
        server.serves(f"/{name}.csv", b"", 404)
    run = factory.report(*sources(server))
    assert run.status is RunStatus.FAILED
    jobs = factory.jobs(run)
    assert "none of the sources is there" in str(jobs["analyse"].error)
    assert jobs["write-pdf"].skip_reason is SkipReason.NEED_FAILED
    assert jobs["write-html"].skip_reason is SkipReason.NEED_FAILED


class Clumsy(Chart):
    """Cannot draw sales."""

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        if with_["source"] == "sales":
            raise RuntimeError("the drawing library fell over")
        return super().publish(context, with_, tree)


@ON_SQLITE
def test_a_chart_that_fails_is_left_out_and_named(
    factory: ReportFactory, server: DataServer
) -> None:
    factory.job_types["chart"] = Clumsy()
    run = factory.report(*sources(server))
    assert run.status is RunStatus.SUCCEEDED
    assert factory.jobs(run)["draw[sales]"].status is JobStatus.FAILED
    note = "sales: without its chart; it could not be drawn"
    assert degraded(factory, run) == {"write-pdf": note}
    assert factory.artifact(run, "sales.png") is None
    assert factory.artifact(run, "stock.png") is not None


@ON_SQLITE
def test_a_pdf_that_cannot_be_written_becomes_html(
    factory: ReportFactory, server: DataServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "reportlab.platypus", None)
    run = factory.report(*sources(server))
    assert run.status is RunStatus.SUCCEEDED
    assert "install the extra report" in str(factory.jobs(run)["write-pdf"].error)
    assert factory.artifact(run, "report.pdf") is None
    page = factory.body(run, "report.html").decode()
    assert page.count("data:image/png;base64,") == 2
    assert outputs(factory, run)["document"] == "report.html"
    note = "report.pdf could not be written; this is in its place"
    assert degraded(factory, run) == {"write-html": note}
    assert note in page


@ON_SQLITE
def test_data_beyond_the_memory_limit_are_sampled_and_that_is_said(
    factory: ReportFactory, server: DataServer
) -> None:
    server.serves("/sales.csv", b"day,orders\n" + b"1,2\n" * 40_000)
    run = factory.report(*sources(server), memory_limit_mib=1)
    assert run.status is RunStatus.SUCCEEDED
    sampled = degraded(factory, run)["analyse"]
    assert sampled == "sampled 1 of 5 rows of sales"
    assert outputs(factory, run)["notes"] == ["sales: sampled 1 of 5 rows, to fit into memory"]


@ON_SQLITE
@pytest.mark.parametrize(
    "source",
    [
        {"name": "Sales", "location": "/data/x.csv"},
        {"name": "a", "location": "ftp://host/x.csv"},
        {"name": "a", "location": "../x.csv"},
        {"name": "a", "location": "/x", "format": "xlsx"},
        {"name": "a"},
        {"name": "a", "location": "/x", "more": 1},
    ],
)
def test_a_source_that_makes_no_sense_is_refused_at_once(
    factory: ReportFactory, source: dict[str, str]
) -> None:
    with pytest.raises(InvalidInputsError):
        factory.report(source)


@ON_SQLITE
def test_two_sources_of_one_name_are_refused(factory: ReportFactory) -> None:
    with pytest.raises(InvalidInputsError, match="problem"):
        factory.report({"name": "a", "location": "/x"}, {"name": "a", "location": "/y"})


KILLS = {
    "fetch[stock]": "storage.put",
    "analyse": "save_checkpoint",
    "draw[stock]": "storage.put",
    "write-pdf": "storage.put",
}
AT_ONCE = {("sqlite", "fetch[stock]"), ("sqlite", "write-pdf"), ("postgres", "analyse")}
KILLED = [
    pytest.param(
        database,
        step,
        marks=[
            *([pytest.mark.service] if database == "postgres" else []),
            *([] if (database, step) in AT_ONCE else [pytest.mark.soak]),
        ],
    )
    for database in ("sqlite", "postgres")
    for step in KILLS
]


@pytest.fixture(scope="module")
def doomed() -> Generator[Callable[..., int]]:
    """Runs ``tests.report_worker`` with arguments in a process of its own; how that ended."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.report_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    ) as nursery:

        def run(*arguments: str) -> int:
            assert nursery.stdin is not None
            assert nursery.stdout is not None
            nursery.stdin.write(json.dumps(arguments) + "\n")
            nursery.stdin.flush()
            return int(nursery.stdout.readline())

        yield run


@pytest.mark.slow
@pytest.mark.parametrize(("database_url", "step"), KILLED, indirect=["database_url"])
def test_a_run_killed_in_the_middle_of_a_job_goes_on_and_gives_the_same(
    tmp_path: Path,
    factory: ReportFactory,
    database_url: str,
    server: DataServer,
    step: str,
    doomed: Callable[..., int],
) -> None:
    """The process dies of SIGKILL while it stores a body, or once a checkpoint is saved."""
    fetched_later = step == "fetch[stock]"  # and so as of later: not the same
    whole = None if fetched_later else factory.report(*sources(server))
    run = factory.request("report", {"sources": sources(server)}, project_id="shop")
    assert doomed(database_url, str(tmp_path), run.id, step, server.host) == -signal.SIGKILL
    factory.clock.pass_time(2 * factory.engine.lease)
    ended = factory.drive(factory.take_up(factory.run(run), f"flow-{run.id}"))
    assert ended.status is RunStatus.SUCCEEDED
    jobs = factory.jobs(run)
    assert jobs[step].attempt == 2
    assert [job.attempt for name, job in jobs.items() if name != step].count(2) == 0
    if step == "analyse":
        lines = [event.detail.get("message") for event in factory.events(run, "log")]
        assert "goes on behind sales" in lines
    if whole is not None:
        assert factory.body(ended, "report.pdf") == factory.body(whole, "report.pdf")
