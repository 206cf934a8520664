"""What a search finds: what the record has, of the tenant's own, and of what it asks to share."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.bootstrap import Runtime
from factory_runtime.bootstrap.ground import SystemClock
from factory_runtime.domain.errors import (
    InputError,
    MemoryUnavailableError,
    PolicyUnavailableError,
)
from factory_runtime.domain.memory import Collection, Kind, Recalled
from factory_runtime.memory.in_memory import WordsEmbedder
from factory_runtime.ports import RecallQuery
from factory_runtime.run_store import InMemoryRunStore, SqlRunStore
from factory_runtime.services.recall import MAX_QUERY, Opened, Recaller, newest_versions
from factory_runtime.settings import Settings
from tests.builders import NOON, a_memory, a_template_record
from tests.remembering import Kinder, Remembering, remembering_of
from tests.small_factory import SettableClock

ORDERS = RecallQuery("orders service", tuple(Collection), limit=10)
EVERYTHING = frozenset(Collection)


@pytest.fixture
def known() -> Generator[Remembering]:
    with closing(InMemoryRunStore()) as store:
        yield Remembering(store)


def a_recaller(known: Remembering, shared: frozenset[Collection] = frozenset()) -> Recaller:
    return Recaller(
        lambda: known.store, SettableClock(), known.open, "platform", lambda tenant_id: shared
    )


def ids(found: tuple[Recalled, ...]) -> set[str]:
    return {one.memory.id for one in found}


def remember_both(known: Remembering) -> None:
    """Something of one's own, and of all kinds of the platform's."""
    platform: dict[str, Any] = {"tenant_id": "platform"}
    known.remember(
        a_memory(id="mem-own", text="orders service of ours"),
        a_memory(id="mem-template", kind=Kind.TEMPLATE, text="orders service one", **platform),
        a_memory(id="mem-words", kind=Kind.DOCUMENT, text="orders service two", **platform),
        a_memory(id="mem-code", kind=Kind.CODE, text="orders service three", **platform),
        a_memory(id="mem-run", text="orders service four", **platform),
        a_memory(
            id="mem-inner",
            kind=Kind.CODE,
            text="orders service five",
            project_id="inner",
            **platform,
        ),
    )


def test_who_does_not_ask_for_it_sees_nothing_that_is_shared(known: Remembering):
    remember_both(known)
    assert ids(a_recaller(known).recall("acme", ORDERS)) == {"mem-own"}
    assert known.opened == ["acme"]


def test_who_asks_for_it_sees_what_is_of_no_project_and_never_runs(known: Remembering):
    remember_both(known)
    found = a_recaller(known, EVERYTHING).recall("acme", ORDERS)
    assert ids(found) == {"mem-own", "mem-template", "mem-words", "mem-code"}
    assert {one.memory.id: one.shared_by for one in found}["mem-own"] is None
    assert {one.shared_by for one in found} == {None, "platform"}
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_only_collections_that_are_wanted_are_looked_into(known: Remembering):
    remember_both(known)
    recaller = a_recaller(known, frozenset({Collection.DOMAIN}))
    assert ids(recaller.recall("acme", ORDERS)) == {"mem-own", "mem-words"}
    runs = RecallQuery("orders service", (Collection.RUNS,))
    assert ids(recaller.recall("acme", runs)) == {"mem-own"}


def test_who_shares_sees_nothing_of_those_they_share_with(known: Remembering):
    remember_both(known)
    found = ids(a_recaller(known, EVERYTHING).recall("platform", ORDERS))
    assert "mem-own" not in found
    assert {"mem-run", "mem-inner"} < found


def test_a_sight_of_some_projects_sees_what_is_shared(known: Remembering):
    remember_both(known)
    query = RecallQuery("orders", tuple(Collection), projects=("inner",), limit=10)
    found = ids(a_recaller(known, EVERYTHING).recall("acme", query))
    assert found == {"mem-own", "mem-template", "mem-words", "mem-code"}


def test_what_is_confidential_is_not_shared(known: Remembering):
    theirs: dict[str, Any] = {"tenant_id": "platform", "kind": Kind.DOCUMENT}
    known.remember(
        a_memory(id="mem-open", text="orders service one", **theirs),
        a_memory(
            id="mem-closed", text="orders service two", classification="confidential", **theirs
        ),
    )
    recaller = a_recaller(known, EVERYTHING)
    assert ids(recaller.recall("acme", ORDERS)) == {"mem-open"}
    assert ids(recaller.find("acme", ["mem-open", "mem-closed"])) == {"mem-open"}


def test_the_same_text_is_ones_own(known: Remembering):
    text = "orders service"
    known.remember(
        a_memory(id="mem-own", kind=Kind.DOCUMENT, text=text),
        a_memory(id="mem-theirs", tenant_id="platform", kind=Kind.DOCUMENT, text=text),
    )
    assert ids(a_recaller(known, EVERYTHING).recall("acme", ORDERS)) == {"mem-own"}


def test_scores_of_another_model_are_no_measure_of_ones_own(known: Remembering):
    theirs = Remembering(known.store, Kinder())
    platform: dict[str, Any] = {"tenant_id": "platform", "kind": Kind.DOCUMENT}
    theirs.remember(*(a_memory(id=f"mem-{n}", text=f"other {n}", **platform) for n in range(3)))
    known.remember(
        a_memory(id="mem-best", text="orders service of ours"),
        a_memory(id="mem-next", text="orders of others"),
    )
    opened = {"platform": theirs.open, "acme": known.open}
    recaller = Recaller(
        lambda: known.store,
        SettableClock(),
        lambda tenant_id: opened[tenant_id](tenant_id),
        "platform",
        lambda _tenant: EVERYTHING,
    )
    query = RecallQuery("orders service", tuple(Collection), limit=4)
    found = recaller.recall("acme", query)
    assert found[1].score > found[0].score
    assert [one.memory.id for one in found[::2]] == ["mem-best", "mem-next"]
    assert [one.shared_by for one in found] == [None, "platform", None, "platform"]


def test_what_is_read_by_id_has_the_same_walls(known: Remembering):
    remember_both(known)
    asked = ["mem-own", "mem-template", "mem-run", "mem-inner", "mem-none"]
    some = a_recaller(known, frozenset({Collection.TEMPLATES}))
    assert ids(a_recaller(known).find("acme", asked)) == {"mem-own"}
    assert ids(some.find("acme", asked)) == {"mem-own", "mem-template"}
    assert ids(some.find("other", asked)) == {"mem-template"}


def test_a_policy_that_cannot_be_read_shares_nothing_and_hides_nothing(known: Remembering):
    remember_both(known)

    def broken(_tenant_id: str) -> frozenset[Collection]:
        raise PolicyUnavailableError("the policy cannot be read")

    recaller = Recaller(lambda: known.store, SettableClock(), known.open, "platform", broken)
    assert ids(recaller.recall("acme", ORDERS)) == {"mem-own"}


def test_the_settings_and_a_policy_say_what_is_shared(tmp_path: Path):
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "acme.yaml").write_text("memory: {shared: [domain]}")
    home = tmp_path / "home"
    for shared_tenant, found in (("platform", {"mem-own", "mem-words"}), (None, {"mem-own"})):
        settings = Settings(home=home, policy_folder=policies, memory_shared_tenant=shared_tenant)
        runtime = Runtime(settings, SystemClock())
        remember_both(remembering_of(runtime))
        assert ids(runtime.recaller.recall("acme", ORDERS)) == found
        assert runtime.recaller.recall("umbrella", ORDERS) == ()
        assert isinstance(runtime.store, SqlRunStore)
        runtime.store.close()
    with pytest.raises(ValueError, match="memory_shared_tenant"):
        Settings(memory_shared_tenant="x' OR '1'='1")


def test_ones_own_memories_are_found_while_what_is_shared_is_away(known: Remembering):
    remember_both(known)

    def away(tenant_id: str) -> Opened:
        if tenant_id == "platform":
            raise MemoryUnavailableError("no such folder")
        return known.open(tenant_id)

    recaller = Recaller(
        lambda: known.store, SettableClock(), away, "platform", lambda _tenant_id: EVERYTHING
    )
    assert ids(recaller.recall("acme", ORDERS)) == {"mem-own"}


def test_what_was_forgotten_since_it_was_indexed_is_not_found(known: Remembering):
    gone, kept = a_memory(text="orders service"), a_memory(text="orders service, again")
    known.remember(gone, kept)
    known.forget(gone)
    recaller = a_recaller(known)
    found = recaller.recall("acme", ORDERS)
    assert ids(found) == {kept.id}
    assert gone.id not in {id_ for one in found for id_ in one.folded}
    assert recaller.find("acme", [gone.id]) == ()


def test_for_a_tenant_without_memories_nothing_is_opened(known: Remembering):
    remember_both(known)
    assert a_recaller(known).recall("empty", ORDERS) == ()
    assert Recaller(lambda: None, SettableClock(), known.open).recall("acme", ORDERS) == ()
    assert known.opened == []


@pytest.mark.parametrize("text", ["", "  \n", "\t"])
def test_a_query_without_words_is_refused(known: Remembering, text: str):
    with pytest.raises(InputError, match="nothing to look for"):
        a_recaller(known).recall("acme", RecallQuery(text))


@pytest.mark.parametrize(
    "text",
    ["🦀", "заказы и счета", "orders\ud800 service", "'; DROP TABLE runs; --", "\x00\x1b[31m"],
)
def test_whatever_is_asked_is_looked_for(known: Remembering, text: str):
    known.remember(a_memory(text="orders"))
    assert len(a_recaller(known).recall("acme", RecallQuery(text))) <= 1


def test_a_megabyte_is_looked_for_by_its_beginning(known: Remembering):
    embedded: list[int] = []

    class Counting(WordsEmbedder):
        def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
            embedded.extend(map(len, texts))
            return super().embed(texts)

    known.remember(a_memory(text="orders"))
    known.embedder = Counting()
    assert a_recaller(known).recall("acme", RecallQuery("orders " * 150_000))
    assert embedded == [len(("orders " * 600)[:MAX_QUERY].strip())]


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_limits_are_bounded(known: Remembering, limit: int):
    with pytest.raises(InputError, match="limit"):
        a_recaller(known).recall("acme", RecallQuery("orders", limit=limit))


def test_a_kind_is_looked_for_where_it_lies(known: Remembering):
    known.remember(a_memory(text="orders"))
    nowhere = RecallQuery("orders", (Collection.TEMPLATES,), kinds=(Kind.RUN,))
    assert a_recaller(known).recall("acme", nowhere) == ()


def test_what_tells_of_an_older_version_says_so(known: Remembering):
    known.remember(
        a_memory(id="mem-old", text="orders", template_id="demo", template_version="1.9.0"),
        a_memory(id="mem-new", text="orders, now", template_id="demo", template_version="1.10.0"),
    )
    with known.store.begin("acme") as tx:
        for version in ("1.10.0", "1.9.0"):
            tx.register_template(a_template_record(template_id="demo", version=version))
    found = {one.memory.id: one for one in a_recaller(known).recall("acme", ORDERS)}
    assert found["mem-old"].superseded == "demo 1.10.0"
    assert found["mem-new"].superseded is None


def test_the_newest_version_is_so_by_its_number_and_else_by_its_time():
    def published(version: str, hours: int, template_id: str = "demo") -> Any:
        at = NOON + timedelta(hours=hours)
        return a_template_record(template_id=template_id, version=version, published_at=at)

    found = newest_versions(
        [
            published("1.10.0", 0),
            published("1.9.0", 1),
            published("spring", 5, "odd"),
            published("autumn", 3, "odd"),
        ]
    )
    assert found == {"demo": "1.10.0", "odd": "spring"}
    assert newest_versions([]) == {}
