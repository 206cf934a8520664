"""Child processes that the stack keeps: started again when they die, but not for ever.

Each holds a pipe from the stack on its standard input (``deployments.lifeline``), and ends with it,
however that ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from deployments.server import WHO_ARE_YOU
from deployments.stack import read_state
from factory_runtime.domain.errors import PrefectUnavailableError
from factory_runtime.settings import Settings
from factory_runtime.wire.paths import API_PREFIX

_LOG = logging.getLogger("factory.executor")
_RESTARTS = 3
_RESTART_WINDOW = 600
"""Seconds: so many restarts within this time are too many."""

_SERVER_START_SECONDS = 90
_SERVER_STOP_SECONDS = 8.0
_WORKER_STOP_SECONDS = 35.0
"""It waits for what it has begun, and has it put down where that takes long."""

_API_STOP_SECONDS = 15.0
"""It ends what it answers; streams of events are cut."""

_PORTS = 65536
_KEEP_DAYS = 30
_SERVER_ENVIRONMENT = {
    # Not one transaction for each state of each task: with these it needs a third of the time.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "64",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",  # below 1 it never sleeps
    # Flow runs that ended long ago, with their tasks, logs and artifacts. One whose run is open
    # shows no end; and a run that is sent round again later is given another flow run.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(_KEEP_DAYS * 24 * 3600),
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # Pages ask the host that they came from, and no other: it may be called localhost.
    "PREFECT_UI_API_URL": "/api",
}
"""Of our own server, where the environment does not say otherwise: SQLite has one writer at a time,
and its file only grows."""


class KeptProcess(ABC):
    """A child process, started again if it dies.

    Attributes:
        log: what it says goes there.
    """

    def __init__(self, name: str, log: Path, patience: float) -> None:
        """``name`` is for people; ``patience`` is how many seconds it may take to end."""
        self.log = log
        self._name = name
        self._patience = patience
        self._child: subprocess.Popen[bytes] | None = None
        self._deaths: list[float] = []
        self._leaving = False

    @abstractmethod
    def words(self) -> list[str]:
        """The module that it runs, and its arguments."""

    def environment(self) -> Mapping[str, str]:
        """What it is started with."""
        return os.environ

    def start(self) -> None:
        """Start it; not once it was told to leave."""
        if self._leaving:
            return
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", *self.words()],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self.environment(),
            )

    def start_anew(self) -> None:
        """Start it unless it lives, though it may have died too often: that counts no longer."""
        self._deaths = []
        if self._child is None or self._child.poll() is not None:
            self.start()

    def revive(self) -> bool:
        """Start it again if it died; False where it dies too often, one time after the other."""
        if self._leaving or self._child is None or self._child.poll() is None:
            return True
        self._hang_up()
        now = time.monotonic()
        self._deaths = [*(at for at in self._deaths if now - at < _RESTART_WINDOW), now]
        if len(self._deaths) > _RESTARTS:
            return False
        _LOG.warning("%s ended with %s; starting it again", self._name, self._child.returncode)
        with suppress(OSError):  # no memory, no descriptor: it counts as one more death
            self.start()
        return True

    def leave(self) -> None:
        """Tell it to end, and start it no more. From any thread, and from a signal's handler."""
        self._leaving = True
        if self._child is not None:
            self._child.terminate()

    def stop(self) -> None:
        """Wait for its end; it is killed where that takes too long."""
        self.leave()
        if self._child is None:
            return
        try:
            self._child.wait(timeout=self._patience)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._hang_up()

    def _has_written(self, place: Path) -> bool:
        """Whether the child that lives has written its process id there."""
        if self._child is None or self._child.poll() is not None:
            return False
        with suppress(OSError, ValueError):  # somebody wrote into the file
            return place.read_text() == str(self._child.pid)
        return False

    def _hang_up(self) -> None:
        if self._child is not None and self._child.stdin is not None:
            self._child.stdin.close()


class PrefectServer(KeptProcess):
    """A Prefect server, always on the same port; that of last time, unless somebody has it now."""

    def __init__(self, settings: Settings) -> None:
        log = settings.stack_folder / "server.log"
        super().__init__("the Prefect server", log, _SERVER_STOP_SECONDS)
        self._folder = settings.prefect_folder
        self._port = _free_port(_port_of_last_time(settings))
        self._nonce = secrets.token_hex(8)
        self.api_url = f"http://127.0.0.1:{self._port}/api"

    def words(self) -> list[str]:
        return ["deployments.server", str(self._port), self._nonce]

    def environment(self) -> Mapping[str, str]:
        return {**_SERVER_ENVIRONMENT, **os.environ, "PREFECT_HOME": str(self._folder)}

    def start(self) -> None:
        self._folder.mkdir(exist_ok=True)
        super().start()

    async def wait_until_ready(self) -> None:
        """Wait until our own child answers.

        Raises:
            PrefectUnavailableError: it ended, or does not answer in 90 s.
        """
        import httpx

        root = self.api_url.removesuffix("/api")
        async with httpx.AsyncClient(timeout=5) as client:
            for _ in range(_SERVER_START_SECONDS * 10):
                self._refuse_dead()
                try:
                    nonce = await client.get(root + WHO_ARE_YOU)
                    health = await client.get(f"{self.api_url}/health")
                except httpx.HTTPError:
                    await asyncio.sleep(0.1)
                    continue
                if nonce.text == self._nonce and health.is_success:
                    return
                await asyncio.sleep(0.1)
        raise PrefectUnavailableError("the Prefect server does not answer", hint=f"see {self.log}")

    def _refuse_dead(self) -> None:
        if self._child is not None and self._child.poll() is not None:
            raise PrefectUnavailableError(
                f"the Prefect server ended with {self._child.returncode}", hint=f"see {self.log}"
            )


class StackWorker(KeptProcess):
    """The stack's warm worker (``deployments.stack_worker``)."""

    def __init__(self, settings: Settings) -> None:
        log = settings.stack_folder / "worker.log"
        super().__init__("the warm worker", log, _WORKER_STOP_SECONDS)
        self._ready = ready_file(settings, "worker")

    def words(self) -> list[str]:
        return ["deployments.stack_worker"]

    @property
    def ready(self) -> bool:
        """Whether what starts now begins at once."""
        return self._has_written(self._ready)


class StackApi(KeptProcess):
    """The stack's Factory API (``deployments.stack_api``), on a port that nobody else has.

    It is the one that somebody chose, or else that of last time, or else the usual one, or else any.
    """

    def __init__(self, settings: Settings, prefect_url: str) -> None:
        super().__init__("the Factory API", settings.stack_folder / "api.log", _API_STOP_SECONDS)
        self._prefect_url = prefect_url
        self._ready = ready_file(settings, "api")
        self._place = settings.stack_folder / "api-port"
        is_chosen = "api_port" in settings.model_fields_set
        self._port = (
            settings.api_port if is_chosen else self._port_of_last_time() or settings.api_port
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}{API_PREFIX}"

    @property
    def ready(self) -> bool:
        """Whether it listens."""
        return self._has_written(self._ready)

    def words(self) -> list[str]:
        return ["deployments.stack_api", str(self._port)]

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "FACTORY_PREFECT_API_URL": self._prefect_url}

    def start(self) -> None:
        self._port = _free_port(self._port)
        with suppress(OSError):  # a full disk: it may be another one next time
            self._place.write_text(str(self._port))
        super().start()

    def _port_of_last_time(self) -> int:
        with suppress(OSError, ValueError):
            port = int(self._place.read_text())
            return port if 0 < port < _PORTS else 0
        return 0


def ready_file(settings: Settings, part: str) -> Path:
    """Where a part of the stack writes its process id, once it serves."""
    return settings.stack_folder / part


def _port_of_last_time(settings: Settings) -> int:
    state = read_state(settings)
    with suppress(ValueError):  # somebody wrote into the file
        return 0 if state is None else urlsplit(state.api_url).port or 0
    return 0


def _free_port(wanted: int) -> int:
    """This one, if nobody listens there; else any."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            # As the server will: connections of last time that linger take no port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise PrefectUnavailableError("no port of this machine is free")
