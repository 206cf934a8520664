"""What a run drew on, on its page and in its summary."""

from __future__ import annotations

import pytest

from cli.door import open_door
from cli.similar import SimilarRuns
from cli.what_came import show_what_came
from factory_runtime.domain.memory import Kind, MemoryUse
from factory_runtime.domain.run import Run
from tests.builders import NOON, a_memory
from tests.cli_home import Factory, accept_run


@pytest.fixture
def run(factory: Factory) -> Run:
    """One that used two memories of five that it was shown, one of them at two steps."""
    run = accept_run(factory.runtime)
    known = [
        a_memory(id=f"mem-{n}", tenant_id="local", title=f"Memory {n}", kind=Kind.TEMPLATE)
        for n in range(4)
    ]
    shown = [("", "mem-0", True), ("plan", "mem-1", True), ("check", "mem-1", True)]
    shown += [("plan", "mem-2", False), ("plan", "mem-3", False), ("plan", "mem-gone", False)]
    with factory.runtime.store.begin("local") as tx:
        tx.save_memories(known)
        tx.add_uses(
            [
                MemoryUse(
                    "local", run.id, step, id_, "default", 1, 0.5, NOON, NOON if used else None
                )
                for step, id_, used in shown
            ]
        )
    return run


def test_a_runs_page_says_what_it_drew_on(factory: Factory, run: Run) -> None:
    said = factory("runs", "show", run.id).out
    (line,) = (line for line in said.splitlines() if "drew on" in line)
    assert "mem-0 Memory 0; mem-1 Memory 1, of 5 that it was shown" in line


def test_each_memory_that_it_was_shown_is_in_its_json(factory: Factory, run: Run) -> None:
    shown = factory("runs", "show", run.id, "--json").json["memories"]
    assert [one["memory_id"] for one in shown if one["used_at"]] == ["mem-0", "mem-1", "mem-1"]
    assert shown[0] == {
        "memory_id": "mem-0",
        "title": "Memory 0",
        "kind": "template",
        "source_run_id": None,
        "step": "",
        "rank": 1,
        "score": 0.5,
        "shown_at": NOON.isoformat(),
        "used_at": NOON.isoformat(),
    }
    (gone,) = (one for one in shown if one["memory_id"] == "mem-gone")
    assert (gone["title"], gone["kind"]) == (None, None)


def test_of_a_run_that_was_shown_nothing_nothing_is_said(factory: Factory) -> None:
    run = accept_run(factory.runtime)
    assert "drew on" not in factory("runs", "show", run.id).out
    assert factory("runs", "show", run.id, "--json").json["memories"] == []


def test_its_summary_lists_what_it_drew_on(
    factory: Factory, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    door = open_door(tenant=None, json=False)
    show_what_came(door, run, SimilarRuns.of_run(door, run), None, stands=True)
    _, _, drawn = capsys.readouterr().out.partition("What it drew on")
    assert [line.split()[0] for line in drawn.splitlines() if line.startswith("mem-")] == [
        "mem-0",
        "mem-1",
    ]


def test_a_run_is_asked_for_with_what_it_draws_from(factory: Factory, run: Run) -> None:
    asked = ("run", "microservice", "--set", "service_name=orders", "--drawn-from", "mem-nowhere")
    for more in ((), ("--dry-run",)):
        said = factory(*asked, *more)
        assert said.code == 2
        assert "the project default has no memory mem-nowhere" in said.err
