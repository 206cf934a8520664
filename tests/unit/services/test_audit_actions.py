"""Whatever somebody has done leaves an entry of the audit in the transaction that does it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from factory_runtime.domain.dead_letter import LetterFilter
from factory_runtime.domain.errors import InputError
from factory_runtime.domain.records import AuditEntry
from factory_runtime.domain.run import Run
from factory_runtime.run_store import SqlRunStore
from factory_runtime.run_store.tables import metadata
from factory_runtime.run_store.transaction import SqlTransaction
from factory_runtime.services.apply_policy import apply_policy, remove_policy
from factory_runtime.services.audit import CLI, acting
from factory_runtime.services.dead_letters import discard
from factory_runtime.services.end_run import cancel_run
from factory_runtime.services.pause_run import pause_run, resume_run
from factory_runtime.services.publish_template import Publisher
from factory_runtime.services.redrive import Redriver
from factory_runtime.services.redrive_order import stop_order
from factory_runtime.services.undo_run import Undoer
from tests import approvals, rounds
from tests.builders import TENANT
from tests.small_factory import SmallFactory, fails, steps
from tests.unit.services.test_credentials import Book, lending, told
from tests.unit.services.test_letters import letter_of
from tests.unit.services.test_publish_template import PLACE, OneFolder, written

ONE = steps("a:")
Act = Callable[[], object]
Actions = dict[str, Callable[[SmallFactory, Path], Act]]


class KilledError(Exception):
    """The process ends behind the last statement, and before the commit."""


def _failed(factory: SmallFactory) -> Run:
    factory.on["a"] = fails(rounds.NO)
    run = rounds.ended_run(factory, ONE)
    rounds.mend(factory, "a")
    return run


def _redriver(factory: SmallFactory) -> Redriver:
    return Redriver(factory.store, factory.clock, factory.desk)


def _on_run(do: Callable[..., object], *before: Callable[..., object]) -> Any:
    def prepare(factory: SmallFactory, _: Path) -> Act:
        factory.template(ONE)
        run = factory.request()
        for one in before:
            one(factory.store, factory.clock, TENANT, run.id, "ada")
        return lambda: do(factory.store, factory.clock, TENANT, run.id, "ada")

    return prepare


def _request(factory: SmallFactory, _: Path) -> Act:
    factory.template(ONE)
    return factory.request


def _refused(factory: SmallFactory, _: Path) -> Act:
    def ask() -> None:
        with suppress(InputError):
            factory.request("no-such-template")

    return ask


def _retry(factory: SmallFactory, _: Path) -> Act:
    run = _failed(factory)
    return lambda: rounds.again(factory, run)


def _retry_job(factory: SmallFactory, _: Path) -> Act:
    run = _failed(factory)
    return lambda: rounds.again(factory, run, "a")


def _undo(factory: SmallFactory, _: Path) -> Act:
    run = rounds.ended_run(factory, ONE)
    return lambda: Undoer(factory.store, factory.storage, factory.clock).undo(TENANT, run.id, "ada")


def _discard(factory: SmallFactory, _: Path) -> Act:
    letter = letter_of(factory, _failed(factory))
    return lambda: discard(factory.store, factory.clock, TENANT, letter.id, "ada", "old")


def _redrive(factory: SmallFactory, _: Path) -> Act:
    letter = letter_of(factory, _failed(factory))
    return lambda: _redriver(factory).redrive(TENANT, letter.id, "ada")


def _order(factory: SmallFactory, _: Path) -> Act:
    where = LetterFilter(fingerprint=letter_of(factory, _failed(factory)).fingerprint)
    return lambda: _redriver(factory).order(TENANT, where, "ada", canary=True)


def _stop_order(factory: SmallFactory, _: Path) -> Act:
    where = LetterFilter(fingerprint=letter_of(factory, _failed(factory)).fingerprint)
    order = _redriver(factory).order(TENANT, where, "ada", canary=True)
    return lambda: stop_order(factory.store, factory.clock, TENANT, order.id, "ada", "enough")


def _vote(*, granted: bool) -> Any:
    def prepare(factory: SmallFactory, _: Path) -> Act:
        approval = approvals.approval_of(factory, approvals.waiting(factory))
        return lambda: approvals.vote(factory, approval, granted=granted)

    return prepare


def _apply(factory: SmallFactory, _: Path) -> Act:
    return lambda: apply_policy(factory.store, factory.clock, TENANT, b"weight: 1\n", "ada")


def _remove(factory: SmallFactory, folder: Path) -> Act:
    _apply(factory, folder)()
    return lambda: remove_policy(factory.store, factory.clock, TENANT, "ada")


def _publisher(factory: SmallFactory) -> Publisher:
    repository = OneFolder(written(factory))
    return Publisher(factory.store, factory.storage, factory.catalog, factory.clock, repository)


def _publish(factory: SmallFactory, _: Path) -> Act:
    publisher = _publisher(factory)
    return lambda: publisher.publish(TENANT, PLACE, "ada")


def _unpublish(factory: SmallFactory, _: Path) -> Act:
    publisher = _publisher(factory)
    publisher.publish(TENANT, PLACE, "ada")
    return lambda: publisher.withdraw(TENANT, "demo", "1.0.0", "ada")


ACTIONS: Actions = {
    "run.request": _request,
    "run.request-refused": _refused,
    "run.cancel": _on_run(cancel_run),
    "run.pause": _on_run(pause_run),
    "run.resume": _on_run(resume_run, pause_run),
    "run.retry": _retry,
    "job.retry": _retry_job,
    "run.undo": _undo,
    "dead-letter.discard": _discard,
    "dead-letter.redrive": _redrive,
    "dead-letter.redrive-group": _order,
    "dead-letter.stop-redrive": _stop_order,
    "approval.grant": _vote(granted=True),
    "approval.deny": _vote(granted=False),
    "policy.apply": _apply,
    "policy.remove": _remove,
    "template.publish": _publish,
    "template.unpublish": _unpublish,
}


@pytest.fixture
def factory(tmp_path: Path, memory_store: SqlRunStore) -> SmallFactory:
    return SmallFactory(tmp_path / "templates", memory_store)


def entries(factory: SmallFactory, action: str) -> tuple[AuditEntry, ...]:
    with factory.store.begin(TENANT, read_only=True) as tx:
        return tuple(one for one in tx.list_audit() if one.action == action)


def everything(store: Any) -> dict[str, list[Any]]:
    with store.engine.connect() as connection:
        return {
            table.name: sorted(connection.execute(select(table)).all(), key=repr)
            for table in metadata.tables.values()
        }


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_and_its_entry_are_committed_together_or_not_at_all(
    factory: SmallFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
):
    act = ACTIONS[action](factory, tmp_path)
    stood = entries(factory, action)
    before = everything(factory.store)
    kill_behind(action, monkeypatch)
    with acting(CLI), suppress(KilledError):
        act()
    monkeypatch.undo()
    assert everything(factory.store) == before
    with acting(CLI):
        act()
    new = entries(factory, action)[: len(entries(factory, action)) - len(stood)]
    assert [(one.origin, one.action) for one in new] == [(CLI, action)]
    assert new[0].trace_id is not None or not action.startswith("run.request")


def test_no_credentials_are_lent_without_an_entry(
    factory: SmallFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lending(factory, Book(TENANT))
    walk = factory.start(told("result", tmp_path))
    with monkeypatch.context() as patch, suppress(KilledError):
        kill_behind("credentials.lend", patch)
        factory.attempt(walk, "a")
    assert not (tmp_path / "seen").exists()
    assert entries(factory, "credentials.lend") == ()
    run = factory.request()
    factory.attempt(factory.take_up(run, "flow-2"), "a")
    (entry,) = entries(factory, "credentials.lend")
    assert (entry.actor, entry.subject) == (run.requested_by, "block:ops")
    assert (entry.detail["run_id"], entry.trace_id) == (run.id, run.trace_id)
    assert (tmp_path / "seen").exists()


def kill_behind(action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the transaction fail that has left such an entry, when all of it was written."""
    finish = SqlTransaction.finish

    def dies(tx: SqlTransaction) -> None:
        finish(tx)
        if any(one.action == action for one in tx.list_audit(limit=1)):
            raise KilledError

    monkeypatch.setattr(SqlTransaction, "finish", dies)


def test_the_documentation_names_every_action():
    page = (Path(__file__).parents[3] / "docs" / "audit.md").read_text()
    assert [action for action in ACTIONS if f"`{action}`" not in page] == []
