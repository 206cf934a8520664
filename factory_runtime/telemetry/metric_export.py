"""The numbers of ``GET /metrics``, sent by OTLP over HTTP now and then: the same, from the same place.

A counter becomes a sum, a histogram a histogram, both since the process that counts began; of the
rest each kind of sample is a gauge
(https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/).
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import Metric as Family
from prometheus_client.samples import Sample

from factory_runtime.telemetry.otlp import Losses, end_soon, resource

Collect = Callable[[], Iterable[Family]]
Labels = tuple[tuple[str, str], ...]

_LOG = logging.getLogger("factory.metrics")

_INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
_INTERVAL_MILLISECONDS = 60_000
_TURN = "otlp.lock"
_LATER = AggregationTemporality.CUMULATIVE
_BOUND = "le"


class MetricExport:
    """Sends what ``collect`` gives, from a thread of its own, until it is closed.

    Args:
        collect: gives all there is to tell.
        shared: a folder of all processes that tell the same: one of them sends it, and another when
            that one has ended. None where this process is the only one.
    """

    def __init__(self, collect: Collect, shared: Path | None = None) -> None:
        self._collect = collect
        self._turn = None if shared is None else (shared / _TURN).open("w")
        self._exporter = OTLPMetricExporter()
        self._resource = resource()
        self._losses = Losses("metrics")
        self._began = time.time_ns()
        self._closed = threading.Event()
        self._seconds = float(os.environ.get(_INTERVAL) or _INTERVAL_MILLISECONDS) / 1000
        threading.Thread(target=self._keep_sending, name="factory-metrics", daemon=True).start()

    def close(self) -> None:
        """Send once more, and stop, in a bounded time."""
        self._closed.set()
        end_soon(self._end)

    def _end(self) -> None:
        self._send()
        if self._turn is not None:
            self._turn.close()
        self._exporter.shutdown()  # pyright: ignore[reportUnknownMemberType] - has **kwargs

    def _keep_sending(self) -> None:
        while not self._closed.wait(self._seconds):
            self._send()

    def _send(self) -> None:
        if not self._is_ours_to_tell():
            return
        try:
            found = metrics_of(self._collect(), self._began, time.time_ns())
        except Exception as error:  # what counts may be away, the store for example
            _LOG.warning("metrics cannot be told now: %s", type(error).__name__)
            return
        scope = ScopeMetrics(InstrumentationScope("factory"), found, "")
        data = MetricsData([ResourceMetrics(self._resource, [scope], "")])
        result = self._exporter.export(data)  # pyright: ignore[reportUnknownMemberType] - likewise
        self._losses.note(taken=result is MetricExportResult.SUCCESS)

    def _is_ours_to_tell(self) -> bool:
        if self._turn is None:
            return True
        try:
            fcntl.flock(self._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (OSError, ValueError):  # the latter where it has been closed meanwhile
            return False
        return True


def metrics_of(families: Iterable[Family], began: int, now: int) -> list[Metric]:
    """Prometheus's families as OpenTelemetry has them.

    Args:
        families: as a collector gives them.
        began: when what they count began to be counted, in nanoseconds since 1970.
        now: likewise.
    """
    return [
        Metric(name, family.documentation, family.unit or "", data)
        for family in families
        for name, data in _data(family, began, now).items()
    ]


def _data(family: Family, began: int, now: int) -> Mapping[str, Sum | Gauge | Histogram]:
    match family.type:
        case "counter":
            points = [
                NumberDataPoint(sample.labels, began, now, sample.value)
                for sample in family.samples
                if sample.name.endswith("_total")
            ]
            return {family.name: Sum(points, _LATER, is_monotonic=True)}
        case "histogram":
            return {family.name: Histogram(_histogram_points(family, began, now), _LATER)}
        case _:
            points_of = defaultdict[str, list[NumberDataPoint]](list)
            for sample in family.samples:
                point = NumberDataPoint(sample.labels, 0, now, sample.value)
                points_of[sample.name].append(point)
            return {name: Gauge(points) for name, points in points_of.items()}


def _histogram_points(family: Family, began: int, now: int) -> list[HistogramDataPoint]:
    """One for each set of labels; Prometheus's buckets hold those below them too."""
    by_labels = defaultdict[Labels, list[Sample]](list)
    for sample in family.samples:
        others = ((name, label) for name, label in sample.labels.items() if name != _BOUND)
        by_labels[tuple(sorted(others))].append(sample)
    return [_point(dict(labels), found, began, now) for labels, found in by_labels.items()]


def _point(
    labels: Mapping[str, str], samples: list[Sample], began: int, now: int
) -> HistogramDataPoint:
    up_to = sorted((float(s.labels[_BOUND]), int(s.value)) for s in samples if _BOUND in s.labels)
    counts = [count for _, count in up_to]
    whole = next((s.value for s in samples if s.name.endswith("_sum")), 0.0)
    return HistogramDataPoint(
        labels,
        began,
        now,
        count=counts[-1] if counts else 0,
        sum=whole,
        bucket_counts=[count - before for before, count in zip([0, *counts], counts, strict=False)],
        explicit_bounds=[bound for bound, _ in up_to if math.isfinite(bound)],
        min=None,  # pyright: ignore[reportArgumentType] - nobody counted it
        max=None,  # pyright: ignore[reportArgumentType]
    )
