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
import shutil
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import certifi

from deployments.kept import PrefectServer
from deployments.lifeline import on_parent_gone
from deployments.stack import StackLock, StackState, write_state
from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.domain.errors import FactoryError, PrefectUnavailableError
from factory_runtime.settings import Settings
from factory_runtime.telemetry.logs import start_logging
from factory_runtime.telemetry.tracing import flush_traces

_LOG = logging.getLogger("factory.executor")
_FLUSH_SECONDS = 5
_HEAR_WITHIN = 0.2
_SWITCH_SECONDS = 0.0005
"""Python's own is ten times as long: with many job threads, the loop begins few jobs."""


def main() -> int:
    """Be the stack until told to stop; the exit code."""
    gc.disable()  # what is imported is never garbage: see ``favour_the_event_loop``
    keep, follow = "--keep" in sys.argv[1:], "--follow" in sys.argv[1:]
    settings = Settings()
    start_logging(settings.log_format, settings.log_level)
    faulthandler.register(signal.SIGUSR1)  # what every thread does, into the log
    server = None if settings.prefect_api_url else PrefectServer(settings)
    api_url = settings.prefect_api_url or (server.api_url if server else "")
    lock = StackLock(settings)
    if not lock.take():
        _LOG.info("another process is the stack already")
        return 0
    # At once: what the last one left there says that it is ready.
    write_state(settings, StackState(os.getpid(), "starting", api_url, keep))
    _sweep_scratch(settings)
    set_prefect(settings, api_url)
    try:
        run_executor(settings, server, api_url, keep=keep, follow=follow, offer=keep)
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
    settings: Settings,
    server: PrefectServer | None,
    api_url: str,
    *,
    keep: bool,
    follow: bool = False,
    offer: bool = False,
) -> None:
    """Execute runs until told to stop by SIGTERM or SIGINT, which this thread has to wait for.

    With ``follow`` also until its standard input ends; with ``offer``, templates are deployed and
    a warm worker is kept beside.

    The event loop is on another one. Prefect takes SIGTERM for itself wherever it runs a flow on
    the main thread, and a run that is to be put down would be Cancelled.

    Raises:
        FactoryError: it cannot begin.
    """
    told = Told()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told.hear)
    with ThreadPoolExecutor(1, thread_name_prefix="event-loop") as loop:
        standing = Standing(settings, StackState(os.getpid(), "starting", api_url, keep))
        serving = _serve(settings, server, standing, told, follow=follow, offer=offer)
        served = loop.submit(asyncio.run, serving)
        # Again and again: a signal that the system hands to another thread does not wake this one,
        # and only this one may handle it.
        while not served.done():
            wait([served], timeout=_HEAR_WITHIN)
        served.result()


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


class Standing:
    """What the stack says of itself."""

    def __init__(self, settings: Settings, state: StackState) -> None:
        self._settings = settings
        self._state = state
        self._offers: dict[str, tuple[tuple[str, ...], bool]] = {}
        self._write()

    @property
    def prefect_url(self) -> str:
        return self._state.api_url

    def tell(self, phase: str) -> None:
        self._state = replace(self._state, phase=phase)
        self._write()

    def expect(self, *parts: str) -> None:
        """These will say what they offer."""
        self._offers |= {part: ((), False) for part in parts}

    def offer(self, part: str, lines: Sequence[str], settled: bool) -> None:
        """What one part says; the whole is settled when every part is."""
        self._offers[part] = (tuple(lines), settled)
        said = sorted(self._offers.items())
        lines = tuple(line for _, (of_part, _) in said for line in of_part)
        settled = all(is_settled for _, (_, is_settled) in said)
        self._state = replace(self._state, offers=lines, settled=settled)
        self._write()

    def _write(self) -> None:
        try:
            write_state(self._settings, self._state)
        except OSError as error:  # a full disk: what is kept goes on, and is told of next time
            _LOG.warning("the stack cannot say how it is: %s", error)


async def _serve(
    settings: Settings,
    server: PrefectServer | None,
    standing: Standing,
    told: Told,
    *,
    follow: bool,
    offer: bool,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    told.then(lambda: loop.call_soon_threadsafe(stop.set))
    if follow:
        on_parent_gone(lambda: loop.call_soon_threadsafe(stop.set))
    if server is not None:
        standing.tell("starting the Prefect server (the first time makes its database)")
        server.start()
    from deployments.dispatcher import Dispatcher  # the imports take as long as the server's

    if server is not None:
        await server.wait_until_ready()
    standing.tell("ready")
    favour_the_event_loop()
    runtime = open_runtime(settings)
    dispatcher = Dispatcher(runtime)
    told.then(lambda: loop.call_soon_threadsafe(dispatcher.leave))
    async with _offering(runtime, standing, told) if offer else nullcontext():
        await dispatcher.serve(stop, server.revive if server else lambda: True)
    if not stop.is_set():
        raise PrefectUnavailableError(
            "the Prefect server ends again and again", hint=f"see {settings.stack_folder}"
        )


@asynccontextmanager
async def _offering(runtime: Runtime, standing: Standing, told: Told) -> AsyncGenerator[None]:
    from deployments.offer import Offer
    from deployments.offered_api import OfferedApi

    # All of them at once: the stack is settled when the last one is.
    standing.expect("prefect", *(["api"] if runtime.settings.api_processes else []))
    parts: list[Offer | OfferedApi] = [Offer(runtime, partial(standing.offer, "prefect"))]
    if runtime.settings.api_processes:
        tell = partial(standing.offer, "api")
        parts.append(OfferedApi(runtime.settings, standing.prefect_url, tell))
    for part in parts:
        told.then(part.leave)
    keeping = [asyncio.create_task(part.keep()) for part in parts]
    try:
        yield
    finally:
        for task in keeping:
            task.cancel()
        await asyncio.gather(*(part.end() for part in parts))


def favour_the_event_loop() -> None:
    """Have it wait less for others: for job threads, and for garbage to be looked for.

    Call it when everything is imported: that is never garbage, and looking it over takes 0.4 s.
    """
    gc.freeze()
    gc.enable()
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
            ours["PREFECT_API_SSL_CERT_FILE"] = str(one_certificate(folder))
    os.environ.update(ours)


def one_certificate(folder: Path) -> Path:
    """A file with one certificate to trust; our own server speaks plain HTTP.

    Every client that Prefect makes reads the whole file on the event loop, several in each run:
    20 ms for all the authorities of the world.
    """
    place = folder / "certificate.pem"
    text = Path(certifi.where()).read_text()
    end = "-----END CERTIFICATE-----\n"
    folder.mkdir(parents=True, exist_ok=True)
    # In one step: another executor of this home may be reading it.
    fresh = place.with_suffix(f".{os.getpid()}.new")
    fresh.write_text(text[text.index("-----BEGIN") : text.index(end) + len(end)])
    return fresh.replace(place)


def _sweep_scratch(settings: Settings) -> None:
    """Remove what renders of killed processes left: no render takes that long."""
    settings.scratch_folder.mkdir(exist_ok=True)
    oldest = time.time() - 2 * settings.render_seconds
    for left in settings.scratch_folder.iterdir():
        with suppress(FileNotFoundError):  # a render of another process has ended
            if left.stat().st_mtime < oldest:
                shutil.rmtree(left, ignore_errors=True)


if __name__ == "__main__":
    code = main()
    flush_traces()
    logging.shutdown()
    # Prefect's threads would wait at exit, for minutes, for a server that has gone before them.
    os._exit(code)
