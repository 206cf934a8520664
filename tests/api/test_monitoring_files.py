"""The dashboard and the alerts ask for what is really told, in words that their readers know."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from promql_parser import (
    AggregateExpr,
    Expr,
    MatrixSelector,
    VectorSelector,
    parse,
    parse_duration,
    walk,
)

from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.memory import MemoryUse
from factory_runtime.domain.records import TopicWait
from factory_runtime.domain.run import Priority, RunStatus
from tests.api.numbers import add, have_it_be, numbers_of
from tests.api.site import ApiSite
from tests.builders import (
    NOON,
    TENANT,
    a_breaker,
    a_claimed_job,
    a_failure_kind,
    a_job,
    a_letter,
    a_message,
    a_run,
    after,
)

HERE = Path(__file__).parents[2]
FOLDER = HERE / "deployments/grafana"
FROM_PROMETHEUS = {"instance", "pod", "job"}
"""Labels that whoever scrapes adds."""


@dataclass
class Asked:
    """What an expression names."""

    selectors: list[VectorSelector] = field(default_factory=list[VectorSelector])
    labels: set[str] = field(default_factory=set[str])

    def see(self, part: Expr) -> None:
        if isinstance(part, VectorSelector):
            self.selectors.append(part)
        elif isinstance(part, MatrixSelector):
            self.selectors.append(part.vector_selector)
        elif isinstance(part, AggregateExpr) and part.modifier is not None:
            self.labels.update(part.modifier.labels)


def asked(expression: str) -> Asked:
    found = Asked()
    walk(parse(expression), found.see)
    return found


def dashboard() -> dict[str, Any]:
    return json.loads((FOLDER / "factory-dashboard.json").read_text())


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    assert set(group) == {"name", "rules"}
    return group["rules"]


def expressions() -> list[str]:
    targets = [target for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    return [one["expr"] for one in [*targets, *rules()]]


@pytest.fixture
def told(small_site: ApiSite) -> Mapping[str, set[str]]:
    """The names of all numbers that a factory tells in which there is some of everything."""
    site = small_site
    have_it_be(site, 100)
    ended: dict[str, Any] = {
        "status": JobStatus.SUCCEEDED,
        "started_at": NOON,
        "completed_at": after(9),
    }
    add(site, a_job(**ended), id="run-9", status=RunStatus.SUCCEEDED, completed_at=after(9))
    job = a_claimed_job(run := a_run(status=RunStatus.RUNNING))
    with site.store.begin(TENANT) as tx:
        tx.add_run(run, [job])
        tx.add_message(a_message())
        tx.add_failure_kind(a_failure_kind())
        tx.add_dead_letter(a_letter(job))
        tx.save_breaker(a_breaker(open_until=after(200)))
        tx.save_topic_wait(TopicWait(TENANT, "r", "s", "chart", Priority.LOW, NOON, after(99)))
        tx.add_uses([MemoryUse(TENANT, "run-9", "s", "mem-1", "shop", 1, 0.9, NOON, NOON)])
    numbers_of(site)  # a first request, which the second counts
    return {
        name: {label for labels in samples for label, _ in labels}
        for name, samples in numbers_of(site).items()
    }


def test_every_expression_asks_for_numbers_and_labels_that_are_told(
    told: Mapping[str, set[str]],
) -> None:
    assert len(expressions()) > 40
    for expression in expressions():
        found = asked(expression)
        assert found.selectors, expression
        known = set[str]()
        for selector in found.selectors:
            name = selector.name or ""
            assert name in told, f"{name} is not told: {expression}"
            labels = told[name] | FROM_PROMETHEUS
            assert {one.name for one in selector.matchers.matchers} <= labels, expression
            known |= labels
        assert found.labels <= known, expression


def test_every_number_of_the_store_is_on_the_dashboard(told: Mapping[str, set[str]]) -> None:
    shown = {one.name for text in expressions() for one in asked(text).selectors}
    left_out = {name for name in told if name.startswith("factory_")} - shown
    # Sums and counts of histograms, which quantiles are not made of.
    assert {name for name in left_out if not re.search(r"_g?(sum|count)$", name)} == set()


def test_grafana_reads_all_of_the_dashboard() -> None:
    ours = dashboard()
    assert lost(ours) == set()
    ids = [panel["id"] for panel in ours["panels"]]
    assert len(ids) == len(set(ids))
    rows = [panel["title"] for panel in ours["panels"] if panel["type"] == "row"]
    assert rows == [
        "Runs",
        "Jobs and queues",
        "Dead letters",
        "Memory and messages",
        "API",
        "Processes",
    ]


def lost(ours: Any) -> set[str]:
    """What Grafana does not read as it was written, such as names that it does not know."""
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(ours)))
    return set(lines(ours)) - set(lines(read))


def lines(value: Any, place: str = "") -> Iterator[str]:
    """Each value in it, with where it stands."""
    inside: dict[Any, Any] = {}
    if isinstance(value, dict):
        inside = cast("dict[Any, Any]", value)
    elif isinstance(value, list):
        inside = dict(enumerate(cast("list[Any]", value)))
    for name, one in inside.items():
        yield from lines(one, f"{place}/{name}")
    if not inside:
        yield f"{place}: {value!r}"


def test_a_name_that_grafana_does_not_know_would_be_seen() -> None:
    assert lost(dashboard() | {"titel": "Factory"}) == {"/titel: 'Factory'"}


def test_every_alert_says_what_it_is_and_where_to_read_on() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    page = (HERE / "docs/monitoring.md").read_text()
    headings = {line.strip("# \n").lower() for line in page.splitlines() if line.startswith("#")}
    for rule in rules():
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, rule
        assert parse_duration(rule["for"])
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "runbook"}
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert file == "docs/monitoring.md"
        assert anchor in headings, rule["alert"]
        # A summary names labels that the expression leaves.
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            assert label in asked(rule["expr"]).labels
