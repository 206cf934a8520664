"""Do one thing to many runs: those that a filter chooses, each in a transaction of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from factory_runtime.domain.errors import FactoryError, StoreUnavailableError, TransientError
from factory_runtime.domain.run import Run
from factory_runtime.ports import Page, RunFilter, RunStore

PAGE = 200
"""Runs that are read at once; no more of them are held."""

UseCase = Callable[[str], Run]
"""One use case on one run, by its id."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of one run: it as it then stands, or why nothing was done to it."""

    run_id: str
    run: Run | None = None
    error: FactoryError | None = None


class ListsRuns(Protocol):
    """What runs are read from."""

    def list_runs(
        self, where: RunFilter, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Run]: ...


def choose(
    reading: Callable[[], AbstractContextManager[ListsRuns]], where: RunFilter
) -> Iterator[Run]:
    """The runs that pass, newest request first, a page at a time.

    What is done to one that was given does not change which others follow.
    """
    cursor: str | None = None
    while True:
        with reading() as tx:
            page = tx.list_runs(where, limit=PAGE, cursor=cursor)
        yield from page.items
        if page.cursor is None:
            return
        cursor = page.cursor


def count(store: RunStore, tenant_id: str, where: RunFilter) -> int:
    """How many runs pass."""
    with store.begin(tenant_id, read_only=True) as tx:
        return tx.count_runs(where)


def do_to_all(chosen: Iterable[Run], act: UseCase) -> Iterator[RunResult]:
    """Have it done to each run that is chosen, and tell of each as soon as it is done.

    A run that cannot be told, because it moved meanwhile, does not allow it or was held for too
    long by somebody else, does not keep the others. Started again after it was stopped half way, it
    does what is left.

    Raises:
        StoreUnavailableError: of two runs in a row: the store is away.
        TransientError: a policy cannot be read: the others would fail alike.
    """
    is_away = False
    for run in chosen:
        try:
            told = RunResult(run.id, act(run.id))
            is_away = False
        except StoreUnavailableError as error:
            if is_away:
                raise
            is_away, told = True, RunResult(run.id, error=error)
        except TransientError:
            raise
        except FactoryError as error:
            told = RunResult(run.id, error=error)
        yield told
