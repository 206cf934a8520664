"""What a run came to, when it was seen through: what it made, what failed, and runs like it."""

from __future__ import annotations

import sys

from cli.as_json import print_json
from cli.door import Door
from cli.run_facts import (
    RunFacts,
    facts_as_json,
    flow_run_url,
    read_run,
    show_failures,
    show_made,
)
from cli.screen import status_style
from cli.similar import Similar, SimilarRuns, show_similar, similar_as_json
from cli.text import one_line
from factory_runtime.domain.run import Run


def show_what_came(
    door: Door, run: Run, similar: SimilarRuns, ui_url: str | None, *, stands: bool
) -> None:
    """What a run came to, and runs like it; ``stands`` is whether the Prefect UI stays there."""
    facts = read_run(door, run.id)
    url = flow_run_url(facts.run, ui_url)
    recalled = similar.wait() if run.ended else Similar()
    if door.json:
        document = facts_as_json(facts, url)
        print_json({**document, **similar_as_json(recalled)})
        sys.stdout.flush()
        return
    screen = door.screen
    screen.line()
    took = f" in {facts.took}" if facts.took else ""
    screen.line(f"{_spoken(facts.run)}{took}", status_style(facts.run.status))
    show_failures(door, facts)
    show_made(door, facts)
    _show_used(door, facts)
    if url is not None:
        screen.heading("Prefect")
        screen.line(url)
        if not stands:
            screen.line("`factory up` keeps the Prefect server up; `factory runs show` finds it")
    show_similar(door, recalled)
    sys.stdout.flush()


def _show_used(door: Door, facts: RunFacts) -> None:
    if not facts.used:
        return
    door.screen.heading("What it drew on")
    rows = [
        (one.use.memory_id, one.kind or "", one.use.step, one_line(one.title or ""))
        for one in facts.used
    ]
    door.screen.table(("memory", "kind", "recalled by", "what"), rows, flexible=("what",))


def _spoken(run: Run) -> str:
    if run.ended:
        return f"{run.id} {run.status}"
    return f"{run.id} was asked to stop; `factory runs watch {run.id}` shows when it has"
