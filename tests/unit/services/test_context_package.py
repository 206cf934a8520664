"""Context packages: cited, without doubles, within a budget, as fresh as they say."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from datetime import timedelta

import pytest

from factory_runtime.domain.context import BY_CHARACTERS, Bundle, Task
from factory_runtime.domain.errors import (
    ContextPackageNotFoundError,
    InputError,
    MemoryUnavailableError,
)
from factory_runtime.domain.memory import Collection, Kind
from factory_runtime.memory.in_memory import WordsEmbedder
from factory_runtime.run_store import InMemoryRunStore
from factory_runtime.services.context_package import ContextDesk
from factory_runtime.services.recall import Recaller
from tests.builders import NOON, TENANT, a_memory
from tests.remembering import Remembering
from tests.small_factory import SettableClock

ORDERS = Task("add a queue to orders")


class Site:
    """A desk over memories in a store, and its clock."""

    def __init__(
        self, store: InMemoryRunStore, shared: frozenset[Collection] = frozenset()
    ) -> None:
        self.known = Remembering(store)
        self.clock = SettableClock()
        self.shared = shared
        recaller = Recaller(
            lambda: store, self.clock, self.known.open, "platform", lambda _tenant: self.shared
        )
        self.desk = ContextDesk(store, self.clock, recaller)

    def build(self, task: Task = ORDERS, tenant_id: str = TENANT) -> Bundle:
        return self.desk.build(tenant_id, task)


@pytest.fixture
def site() -> Generator[Site]:
    with closing(InMemoryRunStore()) as store:
        yield Site(store)


def memory_ids(bundle: Bundle) -> list[str]:
    return [one.recalled.memory.id for one in bundle.cited]


def test_it_cites_what_is_like_the_task_the_best_first(site: Site):
    site.known.remember(
        a_memory(id="mem-run", run_id="run-1", text="add a queue to orders", project_id="shop"),
        a_memory(
            id="mem-code",
            kind=Kind.CODE,
            title="def enqueue",
            text="orders queue code",
            path="src/queue.py",
            first_line=3,
            last_line=9,
            commit="c0ffee",
        ),
    )
    bundle = site.build()
    assert memory_ids(bundle) == ["mem-run", "mem-code"]
    first, second = bundle.text.split("\n\n")
    assert first.startswith("[1] orders\nadd a queue to orders\n(run, score ")
    assert "run-1; project shop; mem-run)" in first
    assert "src/queue.py:3-9 at c0ffee" in second
    assert bundle.package.scores == tuple(one.recalled.score for one in bundle.cited)


def test_it_keeps_to_its_budget_and_has_no_doubles(site: Site):
    texts = [
        f"orders queue {' '.join(f'w{place * number}' for place in range(40))}"
        for number in range(1, 20)
    ]
    site.known.remember(*(a_memory(text=text, kind=Kind.DOCUMENT) for text in texts))
    site.known.remember(*(a_memory(text=texts[0], kind=kind) for kind in (Kind.RUN, Kind.CODE)))
    bundle = site.build(Task("orders queue", budget=400))
    assert 0 < bundle.tokens <= 400
    assert len({one.recalled.memory.text for one in bundle.cited}) == len(bundle.cited) > 3
    assert (bundle.counted_by, bundle.tokens) == (
        BY_CHARACTERS,
        sum(-(-len(one.text) // 4) for one in bundle.cited),
    )


def test_what_has_room_comes_though_something_longer_before_it_has_none(site: Site):
    site.known.remember(
        a_memory(id="mem-long", text="add a queue to orders " * 60),
        a_memory(id="mem-short", text="orders"),
    )
    assert memory_ids(site.build(Task(ORDERS.text, budget=100))) == ["mem-short"]


def test_where_not_even_a_citation_has_room_nothing_is_cited(site: Site):
    site.known.remember(a_memory(title="queue of orders " * 30, text="add a queue to orders"))
    bundle = site.build(Task(ORDERS.text, budget=50))
    assert (bundle.cited, bundle.tokens, bundle.text) == ((), 0, "")


def test_of_one_that_is_too_long_there_is_a_part_rather_than_nothing(site: Site):
    site.known.remember(a_memory(text="add a queue to orders " * 600))
    (one,) = site.build(Task(ORDERS.text, budget=60)).cited
    assert one.is_cut
    assert 40 < one.tokens <= 60
    assert "…\n(run, score" in one.text


def test_tokens_are_the_embedders_where_it_counts_them(site: Site):
    class Counting(WordsEmbedder):
        is_away = False

        def count_tokens(self, text: str) -> int:
            if self.is_away:
                raise MemoryUnavailableError("no model")
            return len(text.split())

    embedder = Counting()
    site.known.embedder = embedder
    site.known.remember(a_memory(text="orders"))
    bundle = site.build()
    assert (bundle.counted_by, bundle.tokens) == ("words", len(bundle.text.split()))
    embedder.is_away = True
    assert site.desk.read(TENANT, bundle.package.id).counted_by == BY_CHARACTERS


def test_the_same_task_is_the_same_package_until_it_expires(site: Site):
    site.known.remember(a_memory(text="orders"))
    first = site.build()
    site.clock.pass_time(timedelta(minutes=4))
    assert site.build().package == first.package
    site.clock.pass_time(timedelta(minutes=1))
    assert site.build().package.id != first.package.id


def test_who_wants_it_fresher_gets_a_new_one(site: Site):
    site.known.remember(a_memory(text="orders"))
    old = site.build()
    site.clock.pass_time(timedelta(seconds=30))
    fresh = site.build(Task(ORDERS.text, ttl=timedelta(seconds=30)))
    assert fresh.package.id != old.package.id
    assert fresh.package.expires_at == site.clock.now() + timedelta(seconds=30)


@pytest.mark.parametrize(
    "other",
    [
        Task("another task"),
        Task(ORDERS.text, budget=1000),
        Task(ORDERS.text, kinds=(Kind.RUN,)),
        Task(ORDERS.text, project_id="shop"),
        Task(ORDERS.text, projects=("shop",)),
    ],
)
def test_another_task_or_another_sight_is_another_package(site: Site, other: Task):
    site.known.remember(a_memory(text="orders"))
    assert site.build().package.id != site.build(other).package.id


def test_it_is_read_by_its_id_until_it_expires(site: Site):
    site.known.remember(a_memory(text="orders"))
    bundle = site.build()
    assert site.desk.read(TENANT, bundle.package.id) == bundle
    site.clock.pass_time(timedelta(minutes=5))
    with pytest.raises(ContextPackageNotFoundError, match=bundle.package.id):
        site.desk.read(TENANT, bundle.package.id)


def test_nobody_reads_a_package_of_more_than_they_see(site: Site):
    site.known.remember(a_memory(text="orders of shop", project_id="shop"))
    whole = site.build().package.id
    shop = site.build(Task(ORDERS.text, project_id="shop")).package.id
    assert site.desk.read(TENANT, shop, ("mill", "shop")).cited
    for tenant_id, package_id, projects in (
        ("umbrella", whole, None),
        ("x' OR '1'='1", whole, None),
        (TENANT, whole, ("shop",)),
        (TENANT, shop, ("mill",)),
        (TENANT, shop, ()),
        (TENANT, "ctx-none", None),
        (TENANT, "'; DROP TABLE memory_packages; --", None),
    ):
        with pytest.raises(ContextPackageNotFoundError):
            site.desk.read(tenant_id, package_id, projects)


def test_what_is_forgotten_is_gone_from_it(site: Site):
    gone, kept = a_memory(text="add a queue"), a_memory(text="orders")
    site.known.remember(gone, kept)
    bundle = site.build()
    assert len(bundle.cited) == 2
    site.known.forget(gone)
    read = site.desk.read(TENANT, bundle.package.id)
    assert memory_ids(read) == [kept.id]
    assert "queue" not in read.text
    site.known.forget(kept)
    assert site.build().cited == ()


def test_it_says_how_fresh_it_is(site: Site):
    site.known.remember(
        a_memory(text="orders", changed_at=NOON - timedelta(hours=2)),
        a_memory(text="orders queue", changed_at=NOON - timedelta(hours=1)),
    )
    assert site.build().package.lag_seconds == 0
    with site.known.store.begin(TENANT) as tx:
        late = a_memory(text="not indexed yet", changed_at=NOON - timedelta(seconds=90))
        tx.save_memories([late])
    package = site.build(Task("orders", kinds=(Kind.RUN,))).package
    assert package.newest_at == NOON - timedelta(hours=1)
    assert package.lag_seconds == 90
    assert (package.created_at, package.expires_at) == (NOON, NOON + timedelta(minutes=5))


def test_nothing_known_is_an_empty_package(site: Site):
    bundle = site.build()
    assert (bundle.cited, bundle.text, bundle.tokens) == ((), "", 0)
    assert bundle.package.newest_at is None
    assert site.known.opened == []
    assert site.desk.read(TENANT, bundle.package.id) == bundle


def test_what_is_shared_is_in_it_while_the_policy_says_so(site: Site):
    site.shared = frozenset({Collection.DOMAIN})
    own = a_memory(text="orders")
    shared = a_memory(tenant_id="platform", kind=Kind.DOCUMENT, text="orders, in words")
    site.known.remember(own, shared)
    bundle = site.build()
    assert set(memory_ids(bundle)) == {own.id, shared.id}
    site.shared = frozenset()
    assert memory_ids(site.desk.read(TENANT, bundle.package.id)) == [own.id]


@pytest.mark.parametrize(
    "task",
    [
        Task(" "),
        Task("orders", budget=0),
        Task("orders", budget=100_001),
        Task("orders", ttl=timedelta(0)),
        Task("orders", ttl=timedelta(days=1, seconds=1)),
    ],
)
def test_what_cannot_be_asked_for_is_refused(site: Site, task: Task):
    with pytest.raises(InputError):
        site.build(task)


def test_a_long_task_is_the_same_by_its_beginning(site: Site):
    def long(end: str) -> Sequence[str]:
        return [site.build(Task("orders " * 100_000 + end)).package.id]

    site.known.remember(a_memory(text="orders"))
    assert long("one") == long("two")
