"""The fan-out in Dagster: an op per job, all of them known when the job is defined.

Runs, events and outputs lie in a local instance (SQLite and files). Two executors: in one process,
and Dagster's default, a process per op.

A dynamic output mapped over one op would say the same in fewer words, but does not come through a
kill: re-execution from failure knows of a mapped op only what the events of the killed run tell, so
that the ops which had not begun never run, and the run is called a success without them.
"""

# pyright: basic, reportMissingImports=false
# Dagster is installed in the peers' own environment only, not where types are checked.

# Without `from __future__ import annotations`: Dagster reads the annotations of an op.
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from dagster import (
    DagsterInstance,
    JobExecutionResult,
    OpExecutionContext,
    ReexecutionOptions,
    execute_job,
    in_process_executor,
    job,
    multiprocess_executor,
    op,
    reconstructable,
)

from benchmarks.peers.fan_out import LAST, ROOT, FanOut, Tool

PACKAGE = "dagster"


@op
def root() -> str:
    """The first job."""
    return FanOut.from_environment().run_job(ROOT)


@op
def one(context: OpExecutionContext, before: str) -> str:
    """A job of the fan-out, under its own name."""
    return FanOut.from_environment().run_job(context.op.name)


@op
def last(done: list[str]) -> int:
    """The last job."""
    FanOut.from_environment().run_job(LAST)
    return len(done)


def _connect() -> None:
    before = root()
    last([one.alias(name)(before) for name in FanOut.from_environment().middle])


@job(executor_def=in_process_executor)
def in_one_process() -> None:
    """The fan-out, every op in the process of the run."""
    _connect()


@job(executor_def=multiprocess_executor)
def process_per_op() -> None:
    """The fan-out, every op in a process of its own."""
    _connect()


class _Dagster:
    def __init__(self, instance: DagsterInstance, *, processes: bool) -> None:
        self._instance = instance
        self._job = reconstructable(process_per_op if processes else in_one_process)

    def run(self) -> int:
        return self._result(execute_job(self._job, self._instance))

    def recover(self) -> int:
        # Nobody tells Dagster that the process of a run is gone: a person (or its daemon, which
        # watches what it launched itself) ends the run first, and re-executes it then.
        (killed,) = self._instance.get_runs()
        self._instance.report_run_failed(killed)
        options = ReexecutionOptions.from_failure(killed.run_id, self._instance)
        return self._result(execute_job(self._job, self._instance, reexecution_options=options))

    @staticmethod
    def _result(execution: JobExecutionResult) -> int:
        with execution as result:
            assert result.success
            return result.output_for_node("last")


@contextmanager
def opened_in_process(folder: Path, url: str | None) -> Generator[Tool]:
    """Dagster with the executor that runs ops in its own process."""
    del url
    with _instance(folder) as instance:
        yield _Dagster(instance, processes=False)


@contextmanager
def opened_processes(folder: Path, url: str | None) -> Generator[Tool]:
    """Dagster with its default executor."""
    del url
    with _instance(folder) as instance:
        yield _Dagster(instance, processes=True)


@contextmanager
def _instance(folder: Path) -> Generator[DagsterInstance]:
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    os.environ["DAGSTER_HOME"] = str(folder)
    with DagsterInstance.get() as instance:
        yield instance
