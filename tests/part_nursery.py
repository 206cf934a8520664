"""Parts of a production as processes of their own that have nothing left to import.

``python -m tests.part_nursery`` imports once what takes each part seconds, and forks one for each
line of JSON that it reads: that has its own session, environment and log, and runs its module as
``python -m`` does, with the same words.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.services import die_with_the_tests

_PATIENCE = 60.0
_ROOT = Path(__file__).parents[1]
_IMPORTED = (
    "alembic.command",
    "asyncpg",
    "deployments.dispatcher",
    "deployments.worker",
    "factory_runtime.compiler.plan",
    "factory_runtime.jobs.registry",
    "factory_runtime.orchestration.launch",
    "factory_runtime.run_store.store",
    "lance_namespace",  # nearly all that takes LanceDB so long; that itself survives no fork
    "numpy",
    "prefect.cli._server_utils",
    "prefect.cli.server",
    "prefect.cli.worker",
    "prefect.server.api.server",
    "prefect.server.services.base",
    "prefect_redis.lease_storage",
    "prefect_redis.messaging",
    "prefect_redis.ordering",
)


class PartNursery:
    """The process that parts come from. It ends with this one, and they with it."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.part_nursery"],
                # OpenBLAS would start its threads when numpy is imported.
                env=os.environ | {"PREFECT_HOME": str(folder), "OPENBLAS_NUM_THREADS": "1"},
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                preexec_fn=die_with_the_tests,
            )

    def bear(
        self, module: str, words: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> psutil.Process:
        """Have ``python -m module words`` begin."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {
            "module": module,
            "words": list(words),
            "environment": dict(environment),
            "log": str(log),
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        assert said, self._log.read_text()
        return psutil.Process(int(said))

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(_PATIENCE)


# The nursery's side.


def main() -> None:
    """Fork a part for each line; come to an end as the part does, in each that is one."""
    gc.disable()
    for name in _IMPORTED:
        importlib.import_module(name)
    assert threading.active_count() == 1, "threads do not live on behind a fork"
    gc.freeze()  # or collecting in a part copies the memory of the nursery
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        born = os.fork()
        if born == 0:
            _become(**json.loads(line))
            return
        sys.stdout.write(f"{born}\n")
        sys.stdout.flush()


def _become(module: str, words: list[str], environment: dict[str, str], log: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    die_with_the_tests()
    for number, place in ((0, os.devnull), (1, log), (2, log)):
        opened = os.open(place, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    _set_prefect(module)
    sys.modules.pop(module, None)  # it begins anew, as the main one
    sys.argv[1:] = words
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _set_prefect(module: str) -> None:
    """Have Prefect, which is imported already, read its settings again."""
    from prefect.context import refresh_global_settings_context

    from deployments import executor
    from factory_runtime.bootstrap.ground import make_home
    from factory_runtime.settings import Settings

    if module == executor.__name__:  # it sets some itself, and imports Prefect after that
        settings = Settings()
        make_home(settings)
        executor.set_prefect(settings, str(settings.prefect_api_url))
    refresh_global_settings_context()


if __name__ == "__main__":
    main()
