"""Who sees some projects learns nothing of the others, also not of what several have taught."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from factory_runtime.domain.memory import Collection, Memory, Observation, ObservationKind
from factory_runtime.domain.success_pattern import Combination
from factory_runtime.ports import RecallQuery
from factory_runtime.run_store import InMemoryRunStore
from factory_runtime.services import refold
from factory_runtime.services.failure_patterns import find_failure_memory_id
from factory_runtime.services.letter_hints import look_up
from factory_runtime.services.recall import Recaller
from factory_runtime.services.refold import fold
from tests.builders import TENANT, a_job, a_letter, a_memory, a_run, after
from tests.remembering import Remembering
from tests.small_factory import SettableClock

FINGERPRINT = "f" * 64
FAILURE = find_failure_memory_id(TENANT, FINGERPRINT)
SUCCESS = Combination(TENANT, "app", {}, ("api",)).id


@pytest.fixture
def known() -> Generator[Remembering]:
    with closing(InMemoryRunStore()) as store:
        yield Remembering(store)


def recaller_of(known: Remembering) -> Recaller:
    return Recaller(lambda: known.store, SettableClock(), known.open)


def seen(
    project: str, number: int, subject: str, kind: ObservationKind, **facts: Any
) -> Observation:
    return Observation(
        TENANT, subject, kind, f"run-{number}", f"of-{project}", 0, "", after(number), project,
        worked=kind is ObservationKind.ENDED, facts=facts,
    )  # fmt: skip


def failed(project: str, number: int) -> Observation:
    return seen(
        project, number, FAILURE, ObservationKind.FAILED,
        template=f"{project}-app", so={}, jobs=1, fingerprint=FINGERPRINT,
        error_code="refused", job_type="http", symptom="host refuses",
    )  # fmt: skip


def succeeded(project: str, number: int) -> Observation:
    return seen(
        project, number, SUCCESS, ObservationKind.ENDED,
        template="app", title="App", version=f"1.0.{number}", telling={}, layers=["api"],
        seconds=1.0,
    )  # fmt: skip


def learn(known: Remembering, observations: Iterable[Observation]) -> None:
    with known.store.begin(TENANT) as tx:
        tx.add_observations(observations)
        fold(tx, [FAILURE, SUCCESS], after(99))
        memories = tx.find_memories([FAILURE, SUCCESS])
    known.remember(*memories)


def recalled(known: Remembering, *projects: str) -> dict[str, Memory]:
    query = RecallQuery("host refuses app", tuple(Collection), projects=projects, limit=10)
    found = recaller_of(known).recall(TENANT, query)
    return {id_: one.memory for one in found for id_ in (one.memory.id, *one.folded)}


def test_a_failure_of_several_projects_is_told_to_each_as_its_own(known: Remembering):
    learn(known, [failed("shop", 1), failed("mill", 2), failed("mill", 3)])
    own = recalled(known, "shop")[FAILURE]
    assert (own.facts["projects"], own.facts["runs"], own.facts["steps"]) == (1, 1, ["of-shop"])
    assert (own.created_at, own.changed_at) == (after(1), after(1))
    assert "mill" not in str(own)
    (read,) = recaller_of(known).find(TENANT, [FAILURE], ("shop",))
    assert read.memory == own
    assert recalled(known, "shop", "mill")[FAILURE].facts["runs"] == 3


def test_what_a_quiet_project_saw_is_not_hidden_by_what_others_saw_since(
    known: Remembering, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(refold, "_NEWEST", dict.fromkeys(ObservationKind, 3))
    learn(known, [failed("shop", 1), *(failed(name, n) for n in (2, 3) for name in ("a", "b"))])
    assert recalled(known, "shop")[FAILURE].facts["jobs"] == 1


def test_a_failure_of_others_is_none_that_one_sees(known: Remembering):
    learn(known, [failed("shop", 1), failed("mill", 2)])
    assert recalled(known, "yard") == recalled(known) == {}
    assert recaller_of(known).find(TENANT, [FAILURE], ("yard",)) == ()


def test_a_success_of_several_projects_holds_for_each_by_itself(known: Remembering):
    learn(known, [succeeded("shop", number) for number in (1, 2, 3)])
    learn(known, [succeeded("mill", 4)])
    assert recalled(known, "shop")[SUCCESS].facts["count"] == 3
    assert recalled(known, "mill") == {}


def test_a_dead_letter_is_told_what_its_readers_projects_saw(known: Remembering):
    learn(known, [failed("shop", 1), failed("mill", 2)])
    letter = replace(a_letter(a_job(a_run())), fingerprint=FINGERPRINT)
    with known.store.begin(TENANT) as tx:
        shop, yard, everyone = (
            look_up(tx, letter, one).same for one in (("shop",), ("yard",), None)
        )
    assert shop is not None
    assert everyone is not None
    assert (shop.facts["runs"], yard, everyone.facts["runs"]) == (1, None, 2)


def test_what_the_index_has_of_another_project_is_not_shown(known: Remembering):
    memory = a_memory(id="mem-moved", project_id="shop", text="host refuses app")
    known.remember(memory)
    with known.store.begin(TENANT) as tx:
        tx.save_memories([replace(memory, project_id="mill")])
    assert recalled(known, "shop") == {}
