"""Similar past runs, looked for while the run executes. It never fails a run, nor delays it much."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from cli.door import Door
from factory_runtime.domain.errors import FactoryError
from factory_runtime.domain.memory import Collection, Recalled
from factory_runtime.domain.run import Run

WAIT_SECONDS = 10.0
_LIMIT = 3


@dataclass(frozen=True)
class Similar:
    """What memory had to say; ``trouble`` is why it said nothing, or None."""

    found: tuple[Recalled, ...] = ()
    trouble: str | None = None


class SimilarRuns:
    """A search on a thread of its own: loading the index takes as long as a short run."""

    def __init__(self, door: Door, run: Run) -> None:
        self._door = door
        self._run = run
        self._answer = Similar(trouble="the memory does not answer")
        # A daemon: a search that hangs does not keep the command from ending.
        self._thread = threading.Thread(target=self._search, name="recall", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def wait(self) -> Similar:
        """What was found, within ``WAIT_SECONDS``."""
        self._thread.join(WAIT_SECONDS)
        return self._answer

    def _search(self) -> None:
        try:
            self._answer = Similar(self._recall())
        except FactoryError as error:
            self._answer = Similar(trouble=str(error))
        except Exception as error:  # a broken index raises anything
            self._answer = Similar(trouble=f"{type(error).__name__}: {error}")

    def _recall(self) -> tuple[Recalled, ...]:
        from factory_runtime.ports import RecallQuery

        query = RecallQuery(
            text=self._text(),
            collections=(Collection.RUNS,),
            limit=_LIMIT,
            exclude_run_ids=(self._run.id,),
        )
        return self._door.desk.recall(query)

    def _text(self) -> str:
        """The run in the words that memory will keep it in."""
        from factory_runtime.services.run_memory import memory_of_run

        run = self._run
        title, description = self._door.desk.title_of(run)
        inputs = self._door.desk.inputs_of(run)
        return memory_of_run(run, (), (), title, description, inputs, run.requested_at).text
