"""The run store's numbers for Prometheus: over all tenants, and none of them by name.

They are read when they are asked for, so any process answers the same. What is open is counted;
of what has ended, the latest runs are looked at, so that it costs the same however many there are.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from factory_runtime.domain.errors import FactoryError, SettingsError
from factory_runtime.domain.run import RUN_ENDED, Priority, RunStatus
from factory_runtime.domain.tally import ASKED, FAILED
from factory_runtime.ports import Clock, FactoryNumbers, Line, RunStore
from factory_runtime.services.executor_sign import find_executor
from factory_runtime.services.look import Look
from factory_runtime.services.topic_slots import STALE

LATELY = timedelta(hours=1)
MOST = 2000
"""What has ended lately: within the hour, and no more runs than these, the latest ones."""

_FRESH = timedelta(seconds=5)
_PATIENCE = 3.0
_BOUNDS = (0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
_OTHER = "other"

_LOG = logging.getLogger("factory.metrics")

_Row = tuple[Iterable[str], float]


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of the store at once.

    Attributes:
        numbers: None where it does not answer, or lets nobody look over all tenants.
        executor: whether somebody executes runs.
    """

    at: datetime
    up: bool = False
    executor: bool = False
    numbers: FactoryNumbers | None = None


class StoreMetrics(Collector):
    """Reads the numbers at most every few seconds, and waits no longer for them than a scrape may.

    Args:
        store_of: opens the run store, or gives it.
        clock: the time.
        templates: names that may be told: what a tenant has published for itself is ``other``.
        memory_bytes: what the memory's index takes of the disk, and what it should at most.
    """

    def __init__(
        self,
        store_of: Callable[[], RunStore],
        clock: Clock,
        templates: Callable[[], Collection[str]],
        memory_bytes: Callable[[], tuple[int, int | None]] | None = None,
    ) -> None:
        self._memory_bytes = memory_bytes
        self._store_of = store_of
        self._clock = clock
        self._templates = templates
        self._look = Look(self._read, _FRESH)

    def collect(self) -> Iterator[Metric]:
        try:
            reading = self._look.begin().result(_PATIENCE)
        except TimeoutError:
            reading = Reading(self._clock.now())
        yield from _of_parts(reading)
        if self._memory_bytes is not None:
            yield from _of_disk(*self._memory_bytes())
        if reading.numbers is not None:
            yield from _of_queues(reading.numbers, reading.at)
            yield from _of_work(reading.numbers)
            yield from _of_ended(reading.numbers, reading.at, frozenset(self._templates()))
            yield from _of_reuse(reading.numbers)
            yield from _of_indexing(reading.numbers, reading.at)

    def _read(self) -> Reading:
        now = self._clock.now()
        try:
            store = self._store_of()
            store.check()
            executor = find_executor(store, now) is not None
        except FactoryError:
            return Reading(now)
        try:
            numbers = store.numbers(now, since=now - LATELY, most=MOST, seen_after=now - STALE)
        except SettingsError:  # a login that serves tenants alone may not look over them
            return Reading(now, True, executor)
        except FactoryError as error:
            _LOG.warning("no numbers of the run store: %s", error)
            return Reading(now)
        return Reading(now, True, executor, numbers)


def _of_parts(reading: Reading) -> Iterator[Metric]:
    yield _gauge("run_store_up", "1 where the run store answers.", (), [((), reading.up)])
    if reading.up:
        about = "1 where somebody has shown lately that they execute runs."
        yield _gauge("executor_up", about, (), [((), reading.executor)])


def _of_queues(numbers: FactoryNumbers, now: datetime) -> Iterator[Metric]:
    nobody = Line(0, now)
    queue = {one.value: numbers.queue.get(one.value, nobody) for one in Priority}
    yield from _line("run_queue", "runs that want a slot", "priority", queue, now)
    yield from _line("topic_queue", "jobs in line for their type", "type", numbers.topics, now)
    yield from _line("outbox", "messages of the outbox not handled", "topic", numbers.outbox, now)


def _of_work(numbers: FactoryNumbers) -> Iterator[Metric]:
    none = {one.value: 0 for one in RunStatus if one not in RUN_ENDED}
    yield _counts("runs_open", "Runs that have not ended.", "status", {**none, **numbers.open_runs})
    yield _gauge("run_slots_taken", "Runs that have a slot.", (), [((), numbers.slots_taken)])
    yield _counts("jobs_at_work", "Jobs that a worker has a lease of.", "type", numbers.leases)
    about = "Jobs whose worker gave no sign in time, and that nobody took over yet."
    yield _gauge("leases_lost", about, (), [((), numbers.lost_leases)])
    yield _counts("dead_letters_open", "Dead letters to decide on.", "type", numbers.letters)
    about = "Tenants for which nothing is asked of a host now."
    yield _counts("breakers_open", about, "host", numbers.open_breakers)


def _of_ended(
    numbers: FactoryNumbers, now: datetime, templates: Collection[str]
) -> Iterator[Metric]:
    runs, jobs = numbers.ended_runs, numbers.ended_jobs
    # Where the latest do not reach back to the hour, they say how far they do.
    reach = (now - runs[-1].completed_at) if len(runs) == MOST else LATELY
    about = "How far back what is called recent reaches."
    yield _gauge("recent_reach_seconds", about, (), [((), reach.total_seconds())])
    names = {one.template_id: _told(one.template_id, templates) for one in runs}
    ended = Counter((names[one.template_id], one.status) for one in runs)
    yield _gauge("recent_runs", "Runs that ended lately.", ("template", "status"), ended.items())
    yield _seconds(
        "recent_run_seconds",
        "From the request of a run to its end, of runs that succeeded lately.",
        "template",
        (
            (names[one.template_id], one.completed_at - one.requested_at)
            for one in runs
            if one.status == RunStatus.SUCCEEDED
        ),
    )
    done = Counter((one.type, one.status, str(one.cached).lower()) for one in jobs)
    about = "Jobs of these runs; cached: what they made was there already."
    yield _gauge("recent_jobs", about, ("type", "status", "cached"), done.items())
    yield _seconds(
        "recent_job_seconds",
        "From the first attempt of a job to its end.",
        "type",
        (
            (one.type, one.completed_at - one.started_at)
            for one in jobs
            if one.started_at is not None and one.completed_at is not None
        ),
    )


def _of_disk(used: int, limit: int | None) -> Iterator[Metric]:
    yield _gauge("memory_disk_bytes", "What the memory's index takes.", (), [((), used)])
    about = "What the memory's index should take at most."
    most = math.inf if limit is None else limit
    yield _gauge("memory_disk_limit_bytes", about, (), [((), most)])


def _of_indexing(numbers: FactoryNumbers, now: datetime) -> Iterator[Metric]:
    line = numbers.unindexed or Line(0, now)
    about = "Memories that the index does not have as they are now."
    yield _gauge("memory_unindexed", about, (), [((), line.length)])
    about = "How long the oldest of them has waited."
    age = max(0.0, (now - line.since).total_seconds())
    yield _gauge("memory_unindexed_oldest_seconds", about, (), [((), age)])
    about = "Times that a language model was asked for prose since midnight UTC, and in vain."
    asked = {came: numbers.summaries.get(came, 0) for came in (ASKED, FAILED)}
    yield _counts("summaries_today", about, "came", asked)


def _of_reuse(numbers: FactoryNumbers) -> Iterator[Metric]:
    shown = numbers.ended_uses
    used = [one for one in shown if one.used]
    memories = {"shown": sum(one.shown for one in shown), "used": sum(one.used for one in shown)}
    about = "Memories that runs that ended lately were shown, and that they used."
    yield _counts("recent_memories", about, "use", memories)
    by_end = Counter(("shown", one.status) for one in shown)
    by_end.update(("used", one.status) for one in used)
    about = "Runs that ended lately and were shown memories, and that used some."
    yield _gauge("recent_memory_runs", about, ("use", "status"), by_end.items())
    about = "Of the runs that ended lately, the share that used a memory."
    yield _share("recent_knowledge_reuse_rate", about, len(used), len(numbers.ended_runs))
    succeeded = sum(one.status == RunStatus.SUCCEEDED for one in used)
    about = "Of the runs that ended lately and used a memory, the share that succeeded."
    yield _share("recent_reuse_success_rate", about, succeeded, len(used))


def _share(name: str, about: str, part: int, whole: int) -> Metric:
    """Nothing where there is nothing to be a part of."""
    return _gauge(name, about, (), [((), part / whole)] if whole else [])


def _told(template_id: str, templates: Collection[str]) -> str:
    return template_id if template_id in templates else _OTHER


def _gauge(name: str, about: str, labels: Iterable[str], rows: Iterable[_Row]) -> Metric:
    family = GaugeMetricFamily(f"factory_{name}", about, labels=list(labels))
    for values, number in rows:
        family.add_metric(list(values), float(number))
    return family


def _counts(name: str, about: str, label: str, counts: Mapping[str, int]) -> Metric:
    return _gauge(name, about, (label,), (((key,), count) for key, count in counts.items()))


def _line(
    name: str, what: str, label: str, lines: Mapping[str, Line], now: datetime
) -> Iterator[Metric]:
    lengths = {key: line.length for key, line in lines.items()}
    yield _counts(f"{name}_length", f"{what.capitalize()}.", label, lengths)
    ages = (((key,), max(0.0, (now - line.since).total_seconds())) for key, line in lines.items())
    yield _gauge(f"{name}_oldest_seconds", f"Age of the oldest of {what}.", (label,), ages)


def _seconds(name: str, about: str, label: str, taken: Iterable[tuple[str, timedelta]]) -> Metric:
    """A histogram of what is looked at now: its buckets shrink as well as grow."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for key, time in taken:
        found[key].append(time.total_seconds())
    family = GaugeHistogramMetricFamily(f"factory_{name}", about, labels=[label])
    bounds = [*(str(float(bound)) for bound in _BOUNDS), "+Inf"]
    for key, all_of in sorted(found.items()):
        counts = Counter(bisect_left(_BOUNDS, seconds) for seconds in all_of)
        running = accumulate(counts[number] for number in range(len(bounds)))
        family.add_metric([key], list(zip(bounds, running, strict=True)), sum(all_of))
    return family
