"""The warm executing process of the local stack: keeps a Prefect server, dispatches, executes.

Started by ``deployments.stack``. Prefect reads its settings from the environment when it is
imported, so this module imports it only after it has set them.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

import certifi

from deployments.lifeline import on_parent_gone
from deployments.server import WHO_ARE_YOU
from deployments.stack import StackLock, StackState, write_state
from factory_runtime.bootstrap import open_runtime
from factory_runtime.domain.errors import FactoryError, PrefectUnavailableError
from factory_runtime.settings import Settings

_LOG = logging.getLogger("factory.executor")
_RESTARTS = 3
_RESTART_WINDOW = 600
"""Seconds: so many restarts within this time are too many."""

_SERVER_START_SECONDS = 90
_FLUSH_SECONDS = 5
_SERVER_ENVIRONMENT = {
    # Not one transaction for each state of each task: with these it needs a third of the time.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "64",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",  # below 1 it never sleeps
}
"""Of our own server: SQLite has one writer at a time."""

_HEAR_WITHIN = 0.2
_SWITCH_SECONDS = 0.0005
"""Python's own is ten times as long: with many job threads, the loop begins few jobs."""


class PrefectServer:
    """A Prefect server as a child process, restarted on its port if it dies."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.prefect_folder
        self._log = settings.stack_folder / "server.log"
        self._port = _free_port()
        self._nonce = secrets.token_hex(8)
        self._child: subprocess.Popen[bytes] | None = None
        self._deaths: list[float] = []
        self.api_url = f"http://127.0.0.1:{self._port}/api"

    def start(self) -> None:
        self._folder.mkdir(exist_ok=True)
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "deployments.server", str(self._port), self._nonce],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PREFECT_HOME": str(self._folder), **_SERVER_ENVIRONMENT},
            )

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
        raise PrefectUnavailableError("the Prefect server does not answer", hint=f"see {self._log}")

    def revive(self) -> bool:
        """Start it again if it died; False where it dies too often, one time after the other."""
        if self._child is None or self._child.poll() is None:
            return True
        now = time.monotonic()
        self._deaths = [*(at for at in self._deaths if now - at < _RESTART_WINDOW), now]
        if len(self._deaths) > _RESTARTS:
            return False
        _LOG.warning("the Prefect server ended with %s; starting it again", self._child.returncode)
        if self._child.stdin is not None:
            self._child.stdin.close()
        with suppress(OSError):  # no memory, no descriptor: it counts as one more death
            self.start()
        return True

    def stop(self) -> None:
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(timeout=8)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdin is not None:
            self._child.stdin.close()

    def _refuse_dead(self) -> None:
        if self._child is not None and self._child.poll() is not None:
            raise PrefectUnavailableError(
                f"the Prefect server ended with {self._child.returncode}", hint=f"see {self._log}"
            )


def main() -> int:
    """Be the stack until told to stop; the exit code."""
    keep = "--keep" in sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    faulthandler.register(signal.SIGUSR1)  # what every thread does, into the log
    settings = Settings()
    lock = StackLock(settings)
    if not lock.take():
        _LOG.info("another process is the stack already")
        return 0
    _sweep_scratch(settings)
    server = None if settings.prefect_api_url else PrefectServer(settings)
    api_url = settings.prefect_api_url or (server.api_url if server else "")
    set_prefect(settings, api_url)
    try:
        run_executor(settings, server, api_url, keep=keep)
    except FactoryError as error:
        _LOG.error("%s", error.explain())
        write_state(settings, StackState(os.getpid(), "failed", api_url, keep, error.explain()))
        return 5
    finally:
        _flush_prefect()
        if server is not None:
            server.stop()
    return 0


def run_executor(
    settings: Settings, server: PrefectServer | None, api_url: str, *, keep: bool
) -> None:
    """Execute runs until told to stop by SIGTERM or SIGINT, which this thread has to wait for.

    The event loop is on another one. Prefect takes SIGTERM for itself wherever it runs a flow on
    the main thread, and a run that is to be put down would be Cancelled.

    Raises:
        FactoryError: it cannot begin.
    """
    told = Told()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told.hear)
    with ThreadPoolExecutor(1, thread_name_prefix="event-loop") as loop:
        serving = loop.submit(asyncio.run, _serve(settings, server, api_url, told, keep=keep))
        # Again and again: a signal that the system hands to another thread does not wake this one,
        # and only this one may handle it.
        while not serving.done():
            wait([serving], timeout=_HEAR_WITHIN)
        serving.result()


class Told:
    """Whether this process was told to end, and what is to be done then."""

    def __init__(self) -> None:
        self._heard = False
        self._acts: list[Callable[[], object]] = []

    def hear(self, *_: object) -> None:
        """Handles the signal."""
        self._heard = True
        for act in self._acts:
            with suppress(RuntimeError):  # its event loop is closed already
                act()

    def then(self, act: Callable[[], object]) -> None:
        """Do this as well when it is told; at once where it was."""
        self._acts.append(act)
        if self._heard:
            act()


async def _serve(
    settings: Settings, server: PrefectServer | None, api_url: str, told: Told, *, keep: bool
) -> None:
    def tell(phase: str) -> None:
        write_state(settings, StackState(os.getpid(), phase, api_url, keep))

    tell("starting")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    told.then(lambda: loop.call_soon_threadsafe(stop.set))
    if not keep:
        on_parent_gone(lambda: loop.call_soon_threadsafe(stop.set))
    if server is not None:
        tell("starting the Prefect server (the first time makes its database)")
        server.start()
    from deployments.dispatcher import Dispatcher  # the imports take as long as the server's

    if server is not None:
        await server.wait_until_ready()
    tell("ready")
    favour_the_event_loop()
    dispatcher = Dispatcher(open_runtime(settings))
    told.then(lambda: loop.call_soon_threadsafe(dispatcher.leave))
    await dispatcher.serve(stop, server.revive if server else lambda: True)
    if not stop.is_set():
        raise PrefectUnavailableError(
            "the Prefect server ends again and again", hint=f"see {settings.stack_folder}"
        )


def favour_the_event_loop() -> None:
    """Have it wait less for others: for job threads, and for garbage to be looked for.

    Call it when everything is imported: that is never garbage, and looking it over takes 0.4 s.
    """
    gc.freeze()
    sys.setswitchinterval(_SWITCH_SECONDS)


def _flush_prefect() -> None:
    """Send what Prefect's threads still hold, while the server is there to take it."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (EventsWorker, APILogWorker):
        worker.drain_all(timeout=_FLUSH_SECONDS)


def set_prefect(settings: Settings, api_url: str) -> None:
    """Prefect's settings: its files below our folder, and nothing of the user's own profile."""
    folder = settings.prefect_folder
    ours = {
        "PREFECT_HOME": str(folder),
        "PREFECT_PROFILES_PATH": str(folder / "profiles.toml"),
        "PREFECT_API_URL": api_url,
        "PREFECT_UI_URL": api_url.removesuffix("/api"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOCAL_STORAGE_PATH": str(folder / "results"),
        # A busy SQLite answers 503 at once and often; see PatientServer.
        "PREFECT_CLIENT_MAX_RETRIES": "50",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "FACTORY_HOME": str(settings.root),
    }
    if settings.prefect_api_url is None:
        ours["PREFECT_CLIENT_CSRF_SUPPORT_ENABLED"] = "false"  # our own server has none
        with suppress(OSError):  # a full disk has its say elsewhere; this is for speed alone
            ours["PREFECT_API_SSL_CERT_FILE"] = str(_one_certificate(folder))
    os.environ.update(ours)


def _one_certificate(folder: Path) -> Path:
    """A file with one certificate to trust; our own server speaks plain HTTP.

    Every client that Prefect makes reads the whole file on the event loop, several in each run:
    20 ms for all the authorities of the world.
    """
    place = folder / "certificate.pem"
    text = Path(certifi.where()).read_text()
    end = "-----END CERTIFICATE-----\n"
    folder.mkdir(parents=True, exist_ok=True)
    place.write_text(text[text.index("-----BEGIN") : text.index(end) + len(end)])
    return place


def _sweep_scratch(settings: Settings) -> None:
    """Remove what renders of killed processes left: no render takes that long."""
    settings.scratch_folder.mkdir(exist_ok=True)
    oldest = time.time() - 2 * settings.render_seconds
    for left in settings.scratch_folder.iterdir():
        if left.stat().st_mtime < oldest:
            shutil.rmtree(left, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # Prefect's threads would wait at exit, for minutes, for a server that has gone before them.
    os._exit(code)
