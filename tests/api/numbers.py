"""What a site tells Prometheus, and runs to be counted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from factory_runtime.settings import HOME_TENANT
from tests.api.site import ApiSite, somebody
from tests.builders import TENANT, a_run
from tests.small_factory import SettableClock

METRICS = "/metrics"

Numbers = dict[str, dict[frozenset[tuple[str, str]], float]]
"""By name of the sample, and its labels."""


def numbers_in(text: str) -> Numbers:
    found: Numbers = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def of(numbers: Numbers, name: str, **labels: str) -> float | None:
    return numbers[name].get(frozenset(labels.items()))


def numbers_of(site: ApiSite) -> Numbers:
    """As they are read anew."""
    site.runtime.__dict__.pop("store_metrics", None)
    answer = site.client(somebody(HOME_TENANT)).get(METRICS)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return numbers_in(answer.text)


def have_it_be(site: ApiSite, seconds: float) -> None:
    """So many seconds after noon."""
    clock = SettableClock()
    clock.pass_time(timedelta(seconds=seconds))
    site.runtime.__dict__["clock"] = clock


def add(site: ApiSite, *jobs: Any, tenant_id: str = TENANT, **values: Any) -> None:
    """A run, with these jobs."""
    run = a_run(tenant_id=tenant_id, **values)
    with site.store.begin(tenant_id) as tx:
        tx.add_run(run, [replace(job, tenant_id=tenant_id, run_id=run.id) for job in jobs])
