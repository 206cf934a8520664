"""Jobs that ask a memory that is broken, missing or silent."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import (
    FactoryError,
    InputError,
    MemoryUnavailableError,
)
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.memory import Recalled
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import RecallQuery
from factory_runtime.services import ask_memory
from factory_runtime.services.run_attempt import fail_attempt, publish_attempt
from tests.shelf import Shelf, recalls, uses
from tests.small_factory import SmallFactory, raises, steps


@pytest.mark.parametrize(
    ("recall", "line"),
    [
        (None, "there is no memory here"),
        (raises(MemoryUnavailableError("the index is damaged")), "the index is damaged"),
        (raises(OSError("table runs is gone")), "OSError: table runs is gone"),
        (raises(InputError("the embedder is none")), "the embedder is none"),
    ],
    ids=["none", "damaged", "gone", "refused"],
)
def test_a_memory_that_cannot_be_searched_gives_nothing_and_a_line(
    factory: SmallFactory, recall: Any, line: str
) -> None:
    factory.engine = replace(factory.engine, recall=recall)
    walk = factory.start(steps("a:"))
    factory.on["a"] = recalls()
    run = factory.drive(walk)
    assert run.status is RunStatus.SUCCEEDED
    assert walk.outputs["a"] == {"ids": []}
    (event,) = factory.events(run, "log")
    assert event.detail["message"] == f"recalled nothing: {line}"


def test_nothing_to_look_for_is_nothing_found(factory: SmallFactory, shelf: Shelf) -> None:
    walk = factory.start(steps("a:"))
    factory.on["a"] = recalls(query=" \n")
    assert factory.drive(walk).status is RunStatus.SUCCEEDED
    assert (shelf.asked, uses(factory, walk.run)) == ([], [])


def test_a_search_that_hangs_is_waited_for_no_longer_than_is_said(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask_memory, "PATIENCE", timedelta(seconds=0.2))
    over = threading.Event()

    def hangs(_tenant: str, _query: RecallQuery) -> tuple[Recalled, ...]:
        over.wait()
        return ()

    factory.engine = replace(factory.engine, recall=hangs)
    walk = factory.start(steps(*(f"a{number}:" for number in range(10))))
    for number in range(10):  # more than may hang at once
        factory.on[f"a{number}"] = recalls()
    threads = [
        threading.Thread(target=factory.finish, args=(walk, f"a{number}")) for number in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    said = {str(event.detail["message"]) for event in factory.events(walk.run, "log")}
    assert said
    assert said <= {
        "recalled nothing: the memory did not answer in 0.2 s",
        "recalled nothing: too many searches do not come to an end",
    }
    assert {job.status for job in factory.jobs(walk.run).values()} == {JobStatus.SUCCEEDED}


def test_a_job_that_is_to_stop_waits_for_no_search(factory: SmallFactory) -> None:
    walk = factory.start(steps("a:"))
    begun, over = factory.begin(walk, "a"), threading.Event()

    def hangs(_tenant: str, _query: RecallQuery) -> tuple[Recalled, ...]:
        begun.stop()
        over.wait()
        return ()

    factory.on["a"] = recalls()
    tried = replace(factory.engine, recall=hangs)
    with pytest.raises(FactoryError) as stop:
        publish_attempt(tried, walk, begun, None)
    over.set()
    fail_attempt(tried, walk, begun, stop.value)
    assert factory.attempts(walk.run)[0].outcome is Outcome.CANCELLED


def test_a_secret_that_a_job_was_lent_is_in_no_query(factory: SmallFactory, shelf: Shelf) -> None:
    walk = factory.start(steps("a:"))
    begun = factory.begin(walk, "a")
    begun.secrets.add(["hunter2-hunter2"])
    factory.on["a"] = recalls(query="why is hunter2-hunter2 refused")
    publish_attempt(factory.engine, walk, begun, None)
    (asked,) = shelf.asked
    assert "hunter2" not in asked.text
    assert asked.text.endswith("refused")
