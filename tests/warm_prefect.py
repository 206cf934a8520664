"""``python -m …`` on a server of Prefect's, as a process of its own that has little left to import.

``python -m tests.warm_prefect`` is a nursery: it imports once what takes each of them seconds, and
forks one process for each line of JSON that it reads. Such a process has the environment, folder
and arguments that it was given, and ends as the module does. What tests start-up itself, or the
environment that Prefect reads as it is imported, starts a new interpreter instead.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

_ROOT = Path(__file__).parents[1]
_PATIENCE = 150.0


class WarmPrefect:
    """The process that they come from. It ends with this one, and they with it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm_prefect"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            text=True,
        )

    def run(
        self, module: str, *words: str, environment: Mapping[str, str], cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a module to its end; one at a time.

        Raises:
            subprocess.TimeoutExpired: it takes too long; no other can be run behind it.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with TemporaryDirectory() as folder:
            out, err = Path(folder) / "out", Path(folder) / "err"
            order = {
                "words": [module, *words],
                "environment": dict(environment),
                "cwd": str(cwd or Path.cwd()),
                "streams": [str(out), str(err)],
            }
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            if not select.select([self._process.stdout], [], [], _PATIENCE)[0]:
                self._process.kill()
                raise subprocess.TimeoutExpired(module, _PATIENCE, out.read_text(), err.read_text())
            code = int(self._process.stdout.readline())
            return subprocess.CompletedProcess(
                [module, *words], code, out.read_text(), err.read_text()
            )

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(timeout=30)


@cache
def warm_prefect() -> WarmPrefect:
    """This process's own, started by the first call."""
    started = WarmPrefect()
    atexit.register(started.close)
    return started


# The nursery's side.

_MODULES = (
    "anyio._backends._asyncio",
    "deployments.executor",
    "factory_runtime.bootstrap",
    "factory_runtime.compiler",
    "factory_runtime.hosts.local",
    "factory_runtime.jobs.approval",
    "factory_runtime.jobs.documentation",
    "factory_runtime.jobs.infrastructure",
    "factory_runtime.jobs.pipeline_generation",
    "factory_runtime.jobs.report",
    "factory_runtime.jobs.routes",
    "factory_runtime.jobs.saas_scaffolding",
    "factory_runtime.orchestration.kept_blocks",
    "factory_runtime.orchestration.launch",
    "factory_runtime.run_store.in_memory",
    "factory_runtime.run_store.opening",
    "factory_runtime.run_store.store",
    "factory_runtime.services.plans",
    "flows.hooks",
    "flows.index_memory",
    "flows.sweep",
    "flows.templates",
    "prefect.cli.deploy",
    "prefect.cli.worker",
    "prefect.concurrency.services",
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect.utilities.visualization",
    "prefect.workers.process",
    "sqlalchemy.dialects.sqlite",
    "tests.work_types",
)
_NEVER = ("lancedb", "pyarrow")
"""They start threads, which do not live on behind a fork."""


def main() -> None:
    """Fork one process for each line, and say how it ended."""
    gc.disable()
    for name in _MODULES:
        importlib.import_module(name)
    spoilt = [name for name in _NEVER if name in sys.modules]
    assert not spoilt, f"imported before a fork: {spoilt}"
    gc.freeze()  # or collecting in one that was forked copies the memory of the nursery
    gc.enable()
    for line in sys.stdin:
        threads = psutil.Process().num_threads()
        assert threads == 1, f"{threads} threads before a fork"
        born = os.fork()
        if born == 0:
            os._exit(_become(**json.loads(line)))
        _, status = os.waitpid(born, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _become(
    words: Sequence[str], environment: Mapping[str, str], cwd: str, streams: Sequence[str]
) -> int:
    """Be ``python -m`` with these words; the exit code."""
    code = 1
    try:
        if sys.platform == "linux":
            pr_set_pdeathsig = 1
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(cwd)
        sys.path[0] = cwd
        for number, place in enumerate([os.devnull, *streams]):
            file = os.open(place, os.O_RDWR | os.O_CREAT, 0o600)
            os.dup2(file, number)
            os.close(file)
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
        sys.argv[1:] = words[1:]
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    # As an interpreter does.
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code


if __name__ == "__main__":
    main()
