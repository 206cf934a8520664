"""Similar past runs, looked for while the run executes, or beside its plan.

It never fails a run or a plan, nor delays it much.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.door import Door
from cli.recalled import recalled_as_json
from cli.text import one_line
from factory_runtime.domain.citation import made_by
from factory_runtime.domain.errors import FactoryError
from factory_runtime.domain.memory import Recalled
from factory_runtime.domain.run import Run

if TYPE_CHECKING:
    from factory_runtime.domain.plan import Plan
    from factory_runtime.ports import RecallQuery

WAIT_SECONDS = 10.0


@dataclass(frozen=True)
class Similar:
    """What memory had to say; ``trouble`` is why it said nothing, or None."""

    found: tuple[Recalled, ...] = ()
    trouble: str | None = None


class SimilarRuns:
    """A search on a thread of its own: loading the index takes as long as a short run."""

    def __init__(self, door: Door, asked: Callable[[], RecallQuery]) -> None:
        self._door = door
        self._asked = asked
        self._answer = Similar(trouble="the memory does not answer")
        # A daemon: a search that hangs does not keep the command from ending.
        self._thread = threading.Thread(target=self._search, name="recall", daemon=True)

    @classmethod
    def of_run(cls, door: Door, run: Run) -> SimilarRuns:
        """Like a run that was asked for."""

        def asked() -> RecallQuery:
            from factory_runtime.services.similar_runs import similar_runs

            title, description = door.desk.title_of(run)
            return similar_runs(title, description, door.desk.inputs_of(run), beside=(run.id,))

        return cls(door, asked)

    @classmethod
    def of_plan(cls, door: Door, plan: Plan) -> SimilarRuns:
        """Like a run that would be asked for."""

        def asked() -> RecallQuery:
            from factory_runtime.services.similar_runs import similar_runs

            template, _ = door.desk.template(plan.template_id, plan.template_version)
            return similar_runs(template.title, template.description, plan.inputs)

        return cls(door, asked)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def wait(self) -> Similar:
        """What was found, within ``WAIT_SECONDS``."""
        self._thread.join(WAIT_SECONDS)
        return self._answer

    def _search(self) -> None:
        try:
            self._answer = Similar(self._door.desk.recall(self._asked()))
        except FactoryError as error:
            self._answer = Similar(trouble=str(error))
        except Exception as error:  # a broken index raises anything
            self._answer = Similar(trouble=f"{type(error).__name__}: {error}")


def similar_as_json(similar: Similar) -> dict[str, Any]:
    """What was found, or why nothing was."""
    return {
        "similar_runs": [recalled_as_json(one) for one in similar.found],
        "similar_runs_error": similar.trouble,
    }


def show_similar(door: Door, similar: Similar) -> None:
    """What was found, or why nothing was; nothing where there is nothing like it."""
    if similar.trouble is not None:
        door.screen.line()
        door.screen.line(f"no similar runs: {one_line(similar.trouble)}", "dim")
    elif similar.found:
        door.screen.heading("Similar past runs")
        rows = [
            (
                f"{one.score:.2f}",
                one.memory.run_id or "",
                one.memory.outcome or "",
                one_line(made_by(one.memory)),
                one_line(one.memory.title),
            )
            for one in similar.found
        ]
        door.screen.table(("alike", "run", "outcome", "made", "what"), rows, flexible=("what",))
