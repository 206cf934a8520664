"""The job type recall: what it asks, what it gives, what it counts as used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.domain.memory import Kind, Recalled
from factory_runtime.domain.result import JobResult
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.jobs.recall_memory import RecallMemory
from factory_runtime.jobs.registry import check_with
from factory_runtime.ports import RecallQuery
from factory_runtime.services.catalog import TemplateCatalog
from factory_runtime.services.request_desk import RequestDesk
from tests.builders import TENANT, a_memory
from tests.job_types import World, a_context
from tests.small_factory import SmallFactory, raises

KNOWN = tuple(
    Recalled(
        a_memory(
            id=f"mem-{number}",
            kind=Kind.FAILURE,
            title=f"Failure {number}",
            text="It failed of a quota.",
            template_id="microservice",
            outcome="failed",
            run_id="run-9",
        ),
        score,
    )
    for number, score in enumerate((0.91234567, 0.5, 0.2))
)


def recalled(with_: Mapping[str, Any]) -> tuple[JobResult, list[Any]]:
    context = a_context(World())
    context.knows = KNOWN
    assert check_with(RecallMemory.facts, with_) == ()
    return RecallMemory().publish(context, with_, None), context.recalled


def test_it_gives_what_it_found_and_counts_it_as_used() -> None:
    result, asked = recalled({"query": "quota of the host"})
    assert asked == [("quota of the host", None, 5)]
    assert result.outputs["count"] == 3
    assert result.outputs["memories"][0] == {
        "id": "mem-0",
        "kind": "failure",
        "title": "Failure 0",
        "text": "It failed of a quota.",
        "score": 0.9123,
        "run": "run-9",
        "template": "microservice",
        "outcome": "failed",
    }
    assert result.used == ("mem-0", "mem-1", "mem-2")


def test_what_scores_less_than_wanted_is_left_out_and_not_used() -> None:
    result, asked = recalled({"query": "q", "kinds": ["failure"], "k": 20, "minimum": 0.5})
    assert asked == [("q", (Kind.FAILURE,), 20)]
    assert [one["id"] for one in result.outputs["memories"]] == ["mem-0", "mem-1"]
    assert result.used == ("mem-0", "mem-1")


def test_it_may_give_what_counts_as_shown_alone() -> None:
    result, _ = recalled({"query": "q", "used": False})
    assert (result.outputs["count"], result.used) == (3, ())


@pytest.mark.parametrize(
    "wrong",
    [
        {"query": 7},
        {"query": "q", "kinds": []},
        {"query": "q", "kinds": ["runs"]},
        {"query": "q", "k": 51},
        {"query": "q", "k": 0},
        {"query": "q", "minimum": 2},
        {"query": "q", "used": "no"},
        {"query": "q", "where": "tenant = 'x'"},
        {},
    ],
    ids=str,
)
def test_what_it_does_not_know_is_refused(wrong: Mapping[str, Any]) -> None:
    assert len(check_with(RecallMemory.facts, wrong)) == 1


# --- in a template, between two steps

TEMPLATE = """
    inputs: {type: object, properties: {about: {type: string}}}
    steps:
      - {name: before, type: act, with: {text: "${{ inputs.about }}"}}
      - name: look
        type: recall
        needs: [before]
        with: {query: "what is known of ${{ steps.before.outputs.text }}", kinds: [failure], k: 2}
      - name: after
        type: act
        needs: [look]
        with:
          number: "${{ steps.look.outputs.count }}"
          text: "${{ steps.look.outputs.memories|map(attribute='title')|join(', ') }}"
    """


@pytest.fixture
def factory(tmp_path: Path) -> SmallFactory:
    small = SmallFactory(tmp_path / "templates")
    small.job_types["recall"] = RecallMemory()
    facts = {name: one.facts for name, one in small.job_types.items()}
    small.catalog = TemplateCatalog([small.folder], facts, kept=small.kept)
    small.desk = RequestDesk(small.store, small.storage, small.catalog, small.clock)
    return small


def uses(factory: SmallFactory, run: Run) -> list[tuple[str, str, bool]]:
    with factory.store.begin(TENANT, read_only=True) as tx:
        return [(one.step, one.memory_id, one.used_at is not None) for one in tx.list_uses()]


def test_a_step_behind_it_reads_what_it_gave(factory: SmallFactory) -> None:
    asked: list[RecallQuery] = []

    def search(_tenant: str, query: RecallQuery) -> tuple[Recalled, ...]:
        asked.append(query)
        return KNOWN[: query.limit]

    factory.engine = replace(factory.engine, recall=search)
    with factory.store.begin(TENANT) as tx:
        tx.save_memories(one.memory for one in KNOWN)
    walk = factory.start(TEMPLATE, {"about": "payments"})
    run = factory.drive(walk)
    assert run.status is RunStatus.SUCCEEDED
    assert walk.outputs["after"] == {"number": 2, "text": "Failure 0, Failure 1"}
    assert asked[0].text == "what is known of payments"
    assert uses(factory, run) == [("look", "mem-0", True), ("look", "mem-1", True)]


def test_the_steps_behind_it_go_on_without_a_memory(factory: SmallFactory) -> None:
    broken = raises(MemoryUnavailableError("the index is damaged"))
    factory.engine = replace(factory.engine, recall=broken)
    walk = factory.start(TEMPLATE, {"about": "payments"})
    run = factory.drive(walk)
    assert run.status is RunStatus.SUCCEEDED
    assert walk.outputs["after"] == {"number": 0, "text": ""}
    (line,) = factory.events(run, "log")
    assert line.detail["message"] == "recalled nothing: the index is damaged"
