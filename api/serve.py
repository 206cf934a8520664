"""Serving the application: ``factory api``, and the one that `factory up` keeps.

Every process of several opens a runtime of its own; they agree by the run store, and by Redis on
how often somebody may ask.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from api.app import create_app
from api.http_heads import BoundedHeads
from api.measure import counting_together
from api.numbers import export_numbers
from factory_runtime.bootstrap import open_runtime
from factory_runtime.domain.errors import SettingsError
from factory_runtime.domain.folder_stamp import Unchanged
from factory_runtime.settings import Settings
from factory_runtime.telemetry.logs import start_logging

_AT_ONCE = 1000
"""Requests of one process that are under way; it answers more with 503 at once."""
_SWITCH_SECONDS = 0.0005
"""Python's own is ten times as long: a request that the database has answered would wait as often."""
_TRUSTED_SECONDS = 0.25
"""A template's folder that is edited on this machine is read anew after so long."""
_LEAVE_SECONDS = 10
"""How long a process that is to end waits for answers under way; streams are cut then."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen. Port 0 takes any."""

    host: str
    port: int
    processes: int = 1


def application() -> FastAPI:
    """The application of one process, over the settings of its environment."""
    if (parent := multiprocessing.parent_process()) is not None:
        watch = partial(_end_with, parent.sentinel)
        threading.Thread(target=watch, name="lifeline", daemon=True).start()
    sys.setswitchinterval(_SWITCH_SECONDS)
    Unchanged.trusted_seconds = _TRUSTED_SECONDS
    settings = Settings()
    start_logging(settings.log_format, settings.log_level)
    runtime = open_runtime(settings)
    export_numbers(runtime)
    return create_app(runtime)


def serve(settings: Settings, place: Place, tell: Callable[[], None] | None = None) -> None:
    """Serve until told to stop by SIGTERM or SIGINT.

    Args:
        settings: those that each process finds in its environment too.
        place: where.
        tell: called once it listens; of several processes by none.

    Raises:
        SettingsError: nobody can listen there, or the application cannot be made of them.
    """
    _refuse_taken(place)
    if place.processes > 1:
        # What is wrong ends this process, not each of those that it would start again and again.
        create_app(open_runtime(settings))
    # What each process of the application reads: where it listens, and among how many it shares.
    os.environ["FACTORY_API_HOST"] = place.host
    os.environ["FACTORY_API_PROCESSES"] = str(place.processes)
    config = uvicorn.Config(
        "api.serve:application",
        factory=True,
        host=place.host,
        port=place.port,
        workers=place.processes,
        log_config=None,  # the process's own
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.api_proxies),
        forwarded_allow_ips=list(settings.api_proxies) or None,
        limit_concurrency=_AT_ONCE,
        timeout_graceful_shutdown=_LEAVE_SECONDS,
        http=BoundedHeads,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        # The server obeys them, and hands them on when it has ended: that is no failure.
        signal.signal(number, _let_be)
    if place.processes == 1:
        _Server(config, tell).run()
        return
    with counting_together():
        Multiprocess(config, sockets=[_listening(config)]).run()


def _listening(config: uvicorn.Config) -> socket.socket:
    listening = config.bind_socket()
    # Asyncio asks for this where it made the socket itself. Without it the body of an answer waits
    # for the other side to acknowledge its head: 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _let_be(*_: object) -> None:
    """Handles a signal that was obeyed already."""


class _Server(uvicorn.Server):
    """One that tells when it listens."""

    def __init__(self, config: uvicorn.Config, tell: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._tell = tell

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._tell is not None:
            self._tell()


def _end_with(parent: int) -> None:
    """One of several processes does not outlive the one that keeps them, however that ends."""
    multiprocessing.connection.wait([parent])
    os.kill(os.getpid(), signal.SIGTERM)


def _refuse_taken(place: Place) -> None:
    """Uvicorn ends the process where it cannot bind, without a word that helps."""
    with socket.socket(socket.AF_INET6 if ":" in place.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((place.host, place.port))
        except OSError as exc:
            raise SettingsError(
                f"nobody can listen at {place.host}:{place.port}: {exc.strerror}",
                hint="choose another with --port, or FACTORY_API_PORT",
            ) from exc
