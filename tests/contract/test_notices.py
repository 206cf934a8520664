"""Notices on every run store: each told once by whoever is at it, and no secret kept of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Text, select

from factory_runtime.domain.policy import NoticeRule
from factory_runtime.domain.run import RunStatus
from factory_runtime.notifications.notifier import AppriseNotifier
from factory_runtime.ports import Notifier, RunStore
from factory_runtime.run_store import SqlRunStore
from factory_runtime.run_store.tables import metadata
from factory_runtime.services import topics
from factory_runtime.services.crowds import ONE_BY_ONE, crowd_notice, crowd_words, find_crowd
from factory_runtime.services.drain_outbox import Drained
from factory_runtime.services.messages import leave_notice
from factory_runtime.services.send_notices import NoticeSender
from factory_runtime.services.tell import Teller
from tests.builders import TENANT, a_job, a_letter, a_run
from tests.receivers import Board, a_notice, web_receiver
from tests.small_factory import SmallFactory, fails, steps

PATIENCE = timedelta(seconds=20)
CANARY = "s3cr3tCanary7391"

Sending = Callable[[Notifier, tuple[NoticeRule, ...]], NoticeSender]


@pytest.fixture
def factory(tmp_path: Path, database_store: SqlRunStore) -> SmallFactory:
    return SmallFactory(tmp_path / "templates", database_store)


@pytest.fixture
def sending(factory: SmallFactory) -> Generator[Sending]:
    """Makes senders over the factory's store."""
    made: list[NoticeSender] = []

    def make(notifier: Notifier, rules: tuple[NoticeRule, ...]) -> NoticeSender:
        store, clock = factory.store, factory.clock
        teller = Teller(store, factory.storage, clock, notifier, lambda _tenant: rules)
        made.append(NoticeSender(store, clock, teller, f"here:{len(made)}"))
        return made[-1]

    yield make
    for sender in made:
        sender.close()


def leave(store: RunStore, *keys: str) -> None:
    with store.begin(TENANT) as tx:
        for key in keys:
            leave_notice(tx, a_notice(key=key))


def test_senders_at_once_tell_each_target_of_each_notice_once(
    factory: SmallFactory, sending: Sending
):
    board, rules = Board(), (NoticeRule("a", "a"), NoticeRule("b", "b"))
    keys = [f"letter-{number}" for number in range(10)]
    leave(factory.store, *keys)
    senders = [sending(board, rules) for _ in range(3)]
    together = threading.Barrier(3)

    def work(sender: NoticeSender) -> Drained:
        together.wait()
        return sender.send_due(PATIENCE)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, senders))
    senders[0].send_due(PATIENCE)
    assert sorted((to, notice.key) for to, notice in board.sent) == sorted(
        (to, key) for to in ("a", "b") for key in keys
    )


def test_a_failed_run_is_told_after_its_target_failed(factory: SmallFactory, sending: Sending):
    factory.on["a"] = fails(ValueError("boom"))
    board = Board()
    board.refuse("pager")
    sender = sending(board, (NoticeRule("pager", "pager", ("run-complete",)),))
    run = factory.complete(steps("a: retry: {max_attempts: 1}"))
    sender.send_due(PATIENCE)
    assert board.sent == []
    board.refusing.clear()
    factory.clock.pass_time(timedelta(seconds=2))
    sender.send_due(PATIENCE)
    assert [notice.title for _, notice in board.sent] == [f"demo {run.id} Failed (1 job failed)"]


def test_due_messages_are_read_page_by_page(factory: SmallFactory):
    leave(factory.store, *(f"letter-{number}" for number in range(7)))
    now, seen = factory.clock.at, list[str]()
    page = factory.store.due_messages(now, 3, topics=[topics.NOTICE])
    while page:
        seen += [message.key for message in page]
        page = factory.store.due_messages(now, 3, topics=[topics.NOTICE], after=page[-1])
    assert sorted(seen) == sorted(f"letter-{number}" for number in range(7))


def test_runs_that_failed_alike_are_known_by_the_letters_of_one_job(factory: SmallFactory):
    runs = [a_run(status=RunStatus.FAILED) for _ in range(ONE_BY_ONE + 1)]
    with factory.store.begin(TENANT) as tx:
        for number, run in enumerate(runs):
            tx.add_run(run)
            failed_at = factory.clock.at + timedelta(seconds=number)
            for step in ("a[one]", "a[two]"):
                tx.add_dead_letter(a_letter(a_job(run, step=step), failed_at=failed_at))
    with factory.store.begin(TENANT, read_only=True) as tx:
        found = [find_crowd(tx, run) for run in runs]
        assert found[:-1] == [None] * ONE_BY_ONE
        crowd = found[-1]
        assert crowd is not None
        assert crowd.step == "a[one]"
        assert tx.count_dead_letters(crowd.letters) == len(runs)
        told = crowd_words(tx, crowd_notice(TENANT, crowd))
    assert told.title.startswith(f"{len(runs)} runs of microservice failed alike")


def test_the_last_event_of_a_run_is_found(factory: SmallFactory):
    run = factory.complete(steps("a:"))
    with factory.store.begin(TENANT, read_only=True) as tx:
        assert tx.find_last_event(run.id) == tx.list_events(run.id)[-1]
        assert tx.find_last_event("run-nobody") is None
        *_, first, last = tx.list_events(run.id)
        assert first.kind != last.kind
        assert tx.find_last_event(run.id, besides=[last.kind]) == first


def test_a_secret_of_an_address_is_used_and_lies_nowhere(
    factory: SmallFactory, sending: Sending, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    notifier = AppriseNotifier(tmp_path / "notices.log", {"CANARY": CANARY})
    leave(factory.store, "first")
    with web_receiver() as web:
        rules = (
            NoticeRule("refuses", web.address("/refuse/$CANARY")),
            NoticeRule("nonsense", "nope://$CANARY"),
            NoticeRule("log", "log:"),
        )
        web.answers = [403]
        sender = sending(notifier, rules)
        assert sender.send_due(PATIENCE).failed == 2
        assert [request.path for request in web.requests] == [f"/refuse/{CANARY}"]
        factory.clock.pass_time(timedelta(days=7))
        sender.send_due(PATIENCE)  # the nonsense is given up, the other is taken
        assert len(web.requests) == 2
    assert isinstance(factory.store, SqlRunStore)
    with closing(factory.store.engine.connect()) as connection:
        for table in metadata.sorted_tables:
            columns = [column.cast(Text) for column in table.columns]
            assert CANARY not in repr(connection.execute(select(*columns)).all())
    assert "nonsense" in caplog.text
    assert CANARY not in caplog.text + (tmp_path / "notices.log").read_text()
