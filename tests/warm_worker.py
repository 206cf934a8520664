"""A warm worker as people start it, and the deployments in its pool."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from deployments.executor import set_prefect
from factory_runtime.settings import Settings
from tests.executors import Nursery
from tests.prefect_server import Prefect
from tests.warm_birth import Born
from tests.work_types import lines_of

PATIENCE = 90.0
ROOT = Path(__file__).parent.parent
LIMIT = 2
NEVER = 600
LONG = 0.3
"""Seconds between two questions for what takes a while."""


class WarmWorker:
    """``prefect worker start --type factory``, in a session of its own.

    It looks for flow runs by itself every ``poll`` seconds. One from a ``nursery`` has nothing left
    to import (``tests.warm_birth``).
    """

    def __init__(
        self, environment: dict[str, str], home: Path, prefect: Prefect, pool: str, **options: Any
    ) -> None:
        self._prefect = prefect
        self._pool = pool
        self._log = home / f"{pool}.log"
        api_url: str = options.get("api_url", prefect.api_url)
        poll: int = options.get("poll", NEVER)
        words = ["worker", "start", "--type", "factory", "--pool", pool]
        words += ["--limit", str(LIMIT)]
        variables = environment | _prefect_variables(home, api_url)
        variables["PREFECT_WORKER_QUERY_SECONDS"] = str(poll)
        nursery: Nursery | None = options.get("nursery")
        self.process: subprocess.Popen[bytes] | Born = (
            self._start(words, variables)
            if nursery is None
            else self._bear(nursery, words, variables)
        )

    def _start(self, words: list[str], variables: dict[str, str]) -> subprocess.Popen[bytes]:
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "prefect", *words],
                env=variables,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _bear(self, nursery: Nursery, words: list[str], variables: dict[str, str]) -> Born:
        told = self._log.with_suffix(".born")
        self._log.touch()
        nursery.bear(
            words=["prefect", *words], environment=variables, log=str(self._log), told=str(told)
        )
        return Born(told)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_until_started(self) -> None:
        self.until(lambda: "started!" in self.log, "the worker is up")

    def below(self) -> list[psutil.Process]:
        """Every process that there is because of this one."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def fork_server(self) -> psutil.Process:
        return _fork_server(psutil.Process(self.process.pid))

    def warm(self) -> list[int]:
        """Ids of the warm processes, and of those that are being born."""
        return [one.pid for one in self.fork_server().children()]

    def all_warm(self) -> set[int]:
        """Ids of the warm processes, once there are as many as there should be."""
        worker = psutil.Process(self.process.pid)
        self.until(lambda: len(warm_processes(worker)) == LIMIT, "all its processes are warm")
        return warm_processes(worker)

    def deploy(self, entrypoint: str, **job_variables: Any) -> str:
        """Another deployment in this worker's pool, as anybody may make one."""
        name = entrypoint.rpartition(".")[2]
        flow = self._prefect.ask("POST", "/flows/", {"name": name.replace("_", "-")})
        wanted = {
            "name": f"{self._pool}-{os.urandom(4).hex()}",
            "flow_id": flow["id"],
            "entrypoint": entrypoint,
            "work_pool_name": self._pool,
            "job_variables": job_variables,
        }
        return str(self._prefect.ask("POST", "/deployments/", wanted)["id"])

    def begin(self, deployment: str, starts_in: timedelta = timedelta(0), **parameters: Any) -> str:
        """The id of a flow run that is scheduled, for now or later."""
        start = {"scheduled_time": (datetime.now(UTC) + starts_in).isoformat()}
        state = {"type": "SCHEDULED", "state_details": start}
        wanted = {"parameters": parameters, "state": state}
        path = f"/deployments/{deployment}/create_flow_run"
        return str(self._prefect.ask("POST", path, wanted)["id"])

    def cancel(self, flow_run_id: str) -> None:
        wanted = {"state": {"type": "CANCELLING"}}
        self._prefect.ask("POST", f"/flow_runs/{flow_run_id}/set_state", wanted)

    def wait(self, flow_run_id: str, *types: str) -> str:
        """The type of the flow run's state, once it is one of these, or final."""
        wanted = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED", *types}
        found: list[str] = []

        def reached() -> bool:
            found[:] = [self._prefect.state(flow_run_id)[0]]
            return found[0] in wanted

        self.until(reached, f"{flow_run_id} is {wanted}")
        return found[0]

    def complete(self, deployment: str, file: Path, **parameters: Any) -> tuple[str, ...]:
        """What a plain flow writes down about its process, once it has completed."""
        flow_run = self.begin(deployment, file=str(file), **parameters)
        assert self.wait(flow_run) == "COMPLETED", self.log
        return tuple(lines_of(file)[-1].split(":"))

    def until(self, true: Any, what: str) -> None:
        end, pause = time.monotonic() + PATIENCE, 0.05
        while not true():
            assert self.process.poll() is None, f"the worker ended:\n{self.log}"
            assert time.monotonic() < end, f"not in {PATIENCE} s: {what}\n{self.log[-5000:]}"
            time.sleep(pause)
            pause = min(
                1.5 * pause, LONG
            )  # asked all the time, the server has time for little else

    def end(self) -> int:
        """Wait for its end, after somebody said so."""
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """End what is left of it, by id."""
        below = [] if self.process.poll() is not None else self.below()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE)
        self.process.kill()
        self.process.wait()
        for left in below:
            with suppress(psutil.NoSuchProcess):
                left.kill()


def warm_processes(worker: psutil.Process) -> set[int]:
    """Ids of a worker's processes that handle its signals: those that are born in full."""
    with suppress(psutil.NoSuchProcess, ValueError):
        return {one.pid for one in _fork_server(worker).children() if _handles_sigterm(one.pid)}
    return set()


def _fork_server(worker: psutil.Process) -> psutil.Process:
    words = "multiprocessing.forkserver"
    (found,) = [one for one in worker.children() if words in " ".join(one.cmdline())]
    return found


def _handles_sigterm(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    (caught,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")]
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


class Door:
    """A way to a server that can be shut, and opened again."""

    def __init__(self, api_url: str) -> None:
        host, port = api_url.removeprefix("http://").removesuffix("/api").split(":")
        self._server = (host, int(port))
        self._pipes: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = int(self._listener.getsockname()[1])
        self.api_url = f"http://127.0.0.1:{self._port}/api"
        self._accept()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._accept()

    def shut(self) -> None:
        """Refuse who knocks, and cut off who is inside."""
        for one in (self._listener, *self._pipes):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._pipes.clear()
        self._accepting.join()

    def _accept(self) -> None:
        self._accepting = threading.Thread(target=self._serve, args=(self._listener,), daemon=True)
        self._accepting.start()

    def _serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self._server)
                self._pipes += (near, far)
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=_carry, args=(one, other), daemon=True).start()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def _prefect_variables(home: Path, api_url: str) -> dict[str, str]:
    before = dict(os.environ)
    try:
        set_prefect(Settings(home=home / "worker"), api_url)
        return {k: v for k, v in os.environ.items() if k.startswith(("PREFECT_", "DO_NOT"))}
    finally:
        os.environ.clear()
        os.environ.update(before)
