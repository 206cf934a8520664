"""The numbers of `/metrics` as an OTLP receiver gets them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeHistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from factory_runtime.domain.errors import StoreUnavailableError
from factory_runtime.telemetry.metric_export import MetricExport
from tests.factory import until
from tests.otlp import Collector as Receiver
from tests.otlp import collector


class Ages(Collector):
    """What only Prometheus has: a histogram of what is there now. Raises while it is away."""

    is_away = False

    def collect(self) -> Iterator[Metric]:
        if self.is_away:
            raise StoreUnavailableError("away")
        buckets = [("1", 1.0), ("+Inf", 3.0)]
        yield GaugeHistogramMetricFamily("ages", "How old.", buckets=buckets, gsum_value=9)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Generator[Receiver]:
    with collector() as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    asked = Counter("asked", "Requests.", ["route"], registry=made)
    asked.labels("/runs/{runId}").inc(3)
    asked.labels("other").inc()
    Gauge("open", "Open.", registry=made).set(2.5)
    seconds = Histogram("seconds", "Time.", ["route"], buckets=(0.1, 1), registry=made)
    for value in (0.05, 0.5, 0.7, 5):
        seconds.labels("/runs").observe(value)
    return made


def points_of(data: Any) -> dict[tuple[str, ...], Any]:
    """By the values of their labels."""
    return {tuple(a.value.string_value for a in p.attributes): p for p in data.data_points}


def test_every_kind_of_number_arrives_as_it_was_counted(
    receiver: Receiver, registry: CollectorRegistry
) -> None:
    registry.register(Ages())
    MetricExport(registry.collect).close()
    sent = receiver.metrics()
    asked = sent["asked"].sum
    assert asked.is_monotonic
    assert {labels: point.as_double for labels, point in points_of(asked).items()} == {
        ("/runs/{runId}",): 3,
        ("other",): 1,
    }
    assert [point.as_double for point in sent["open"].gauge.data_points] == [2.5]
    (seconds,) = points_of(sent["seconds"].histogram).values()
    assert (seconds.count, seconds.sum) == (4, 6.25)
    assert (list(seconds.bucket_counts), list(seconds.explicit_bounds)) == ([1, 2, 1], [0.1, 1])
    assert seconds.start_time_unix_nano < seconds.time_unix_nano
    ages = {labels: p.as_double for labels, p in points_of(sent["ages_bucket"].gauge).items()}
    assert ages == {("1",): 1, ("+Inf",): 3}
    assert [point.as_double for point in sent["ages_gcount"].gauge.data_points] == [3]


def test_what_cannot_be_counted_now_is_sent_when_it_can(
    receiver: Receiver, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    ages = Ages()
    ages.is_away = True
    registry.register(ages)
    export = MetricExport(registry.collect)
    until(lambda: "metrics cannot be told now" in caplog.text, "it has been told", 20)
    assert receiver.metrics() == {}
    ages.is_away = False
    until(lambda: "ages_gsum" in receiver.metrics(), "they have come", 20)
    export.close()


def test_of_processes_that_tell_the_same_one_sends_it_until_it_ends(
    receiver: Receiver, registry: CollectorRegistry, tmp_path: Path
) -> None:
    first, second = Gauge("first", "", registry=None), Gauge("second", "", registry=None)
    one = MetricExport(first.collect, tmp_path)
    until(lambda: "first" in receiver.metrics(), "the first has its turn", 20)
    other = MetricExport(second.collect, tmp_path)
    rounds = len(receiver.asked) + 3
    until(lambda: len(receiver.asked) > rounds, "some rounds are over", 20)
    assert "second" not in receiver.metrics()
    one.close()
    until(lambda: "second" in receiver.metrics(), "the other has its turn", 20)
    other.close()
