"""Numbers that processes count themselves, for Prometheus: of the API's requests, and of theirs.

Several processes behind one address share a folder, named by ``PROMETHEUS_MULTIPROC_DIR`` before
this is imported: then whichever is asked tells of all of them
(https://prometheus.github.io/client_python/multiprocess/).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import (
    MultiProcessCollector,
    mark_process_dead,  # pyright: ignore[reportUnknownVariableType]
)
from prometheus_client.registry import Collector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_OF_PROCESS = re.compile(r"_(\d+)\.db$")

disable_created_metrics()  # nobody asks since when each of them counts

_COUNTED = CollectorRegistry()

REQUESTS = Counter(
    "factory_api_requests",
    "Requests that were answered, by their route, and the class of the answer's status.",
    ["method", "route", "status"],
    registry=_COUNTED,
)
REQUEST_SECONDS = Histogram(
    "factory_api_request_seconds",
    "Time until an answer began.",
    ["method", "route"],
    buckets=_SECONDS,
    registry=_COUNTED,
)
IN_FLIGHT = Gauge(
    "factory_api_requests_in_flight",
    "Requests being answered.",
    multiprocess_mode="livesum",
    registry=_COUNTED,
)
STREAMS = Gauge(
    "factory_api_streams_open",
    "Streams of a run's events that somebody reads.",
    multiprocess_mode="livesum",
    registry=_COUNTED,
)
POOL_IN_USE = Gauge(
    "factory_database_connections_in_use",
    "Connections of the pools to the run store that are at work.",
    multiprocess_mode="livesum",
    registry=_COUNTED,
)
POOL_SIZE = Gauge(
    "factory_database_connections_allowed",
    "Connections that the pools may open at most.",
    multiprocess_mode="livesum",
    registry=_COUNTED,
)


def collectors() -> tuple[Collector, ...]:
    """What tells all that processes count themselves."""
    shared = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if shared is None:
        return (_COUNTED, ProcessResources(None))
    folder = Path(shared)
    # First: it takes what has ended off what is going on.
    return (ProcessResources(folder), MultiProcessCollector(None, str(folder)))


class ProcessResources(Collector):
    """What processes take of the machine: this one, or those that share a folder."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        cpu = CounterMetricFamily(
            "factory_process_cpu_seconds", "CPU time, user and system.", labels=["process"]
        )
        memory = GaugeMetricFamily(
            "factory_process_resident_memory_bytes", "Memory.", labels=["process"]
        )
        files = GaugeMetricFamily(
            "factory_process_open_files", "File descriptors in use.", labels=["process"]
        )
        threads = GaugeMetricFamily("factory_process_threads", "Threads.", labels=["process"])
        for process in self._processes():
            try:
                with process.oneshot():
                    times, name = process.cpu_times(), [str(process.pid)]
                    cpu.add_metric(name, times.user + times.system)
                    memory.add_metric(name, process.memory_info().rss)
                    files.add_metric(name, process.num_fds())
                    threads.add_metric(name, process.num_threads())
            except psutil.Error:
                continue  # it has just ended
        yield from (cpu, memory, files, threads)

    def _processes(self) -> Iterator[psutil.Process]:
        if self._folder is None:
            yield psutil.Process()
            return
        for number in sorted(_numbers_in(self._folder)):
            try:
                yield psutil.Process(number)
            except psutil.NoSuchProcess:
                with suppress(FileNotFoundError):  # another process that is asked was quicker
                    mark_process_dead(number, str(self._folder))  # its requests stay counted


def _numbers_in(folder: Path) -> set[int]:
    found = (_OF_PROCESS.search(file.name) for file in folder.glob("*.db"))
    return {int(name[1]) for name in found if name is not None}
