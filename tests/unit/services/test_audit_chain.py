"""The chain over the audit: nothing is left out or sealed twice, and tampering is named."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from factory_runtime.domain.audit import Head, Tampering, parse_head
from factory_runtime.domain.errors import InputError
from factory_runtime.ports import RunStore
from factory_runtime.run_store import SqlRunStore
from factory_runtime.run_store.engines import for_writing
from factory_runtime.services import seal_audit as sealing
from factory_runtime.services.seal_audit import seal_audit
from factory_runtime.services.verify_audit import Verdict, verify_audit
from tests.builders import TENANT, after, an_audit_entry
from tests.small_factory import SettableClock

CLOCK = SettableClock()


def left(store: RunStore, first: int, last: int, tenant_id: str = TENANT) -> None:
    entries = [
        an_audit_entry(id=f"aud-{n:06}", at=after(n), subject=f"run-{n}", tenant_id=tenant_id)
        for n in range(first, last + 1)
    ]
    with store.begin(tenant_id) as tx:
        tx.add_audit(entries)


def look(store: RunStore, noted: Head | None = None) -> Verdict:
    return verify_audit(store, TENANT, noted)


def write(store: SqlRunStore, *statements: str, heeds_triggers: bool = False) -> None:
    """As somebody at the database's prompt."""
    with store.engine.connect() as connection, for_writing(connection).begin():
        triggers = () if heeds_triggers else _without_triggers(connection)
        for statement in (*statements, *triggers):
            connection.execute(text(statement))


def _without_triggers(connection: Connection) -> tuple[str, ...]:
    """What puts them back."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        return ()
    stand = connection.execute(
        text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    ).all()
    for name, _ in stand:
        connection.execute(text(f"DROP TRIGGER {name}"))
    return tuple(statement for _, statement in stand)


def test_what_was_left_is_sealed_in_batches_and_found_intact(
    database_store: SqlRunStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sealing, "_BATCH", 3)
    left(database_store, 1, 7)
    left(database_store, 1, 2, tenant_id="other")
    assert look(database_store) == Verdict(None, 7, after(1), None)
    assert seal_audit(database_store, CLOCK, most=3) == 3, "a call has an end"
    found = look(database_store)
    assert (found.head is not None and found.head.number, found.unsealed) == (3, 4)
    assert found.unsealed_since == after(4)
    assert seal_audit(database_store, CLOCK) == 6
    assert seal_audit(database_store, CLOCK) == 0
    found = look(database_store)
    assert (found.unsealed, found.broken) == (0, None)
    with database_store.begin(TENANT, read_only=True) as tx:
        seals = tx.list_seals(after=0, limit=9)
    assert [(one.number, one.entry_id) for one in seals] == [
        (n, f"aud-{n:06}") for n in range(1, 8)
    ]


def test_sealers_at_once_make_one_chain(
    database_store: SqlRunStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sealing, "_BATCH", 5)
    left(database_store, 1, 40)
    together = Barrier(3)

    def seal(_: int) -> int:
        together.wait(10)
        return seal_audit(database_store, SettableClock())

    with ThreadPoolExecutor(3) as pool:
        done = sum(pool.map(seal, range(3)))
    done += seal_audit(database_store, CLOCK)
    found = look(database_store)
    assert done == 40
    assert (found.head is not None and found.head.number, found.unsealed) == (40, 0)
    assert found.broken is None


def test_a_sealer_that_is_killed_leaves_what_the_next_one_seals(
    database_store: SqlRunStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sealing, "_BATCH", 2)
    left(database_store, 1, 6)
    digests = iter(range(4))  # killed in the middle of the third batch's second entry
    whole = sealing.seal_digest

    def dies(*given: object) -> str:
        if next(digests, None) is None:
            raise KeyboardInterrupt
        return whole(*given)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(sealing, "seal_digest", dies)
    with pytest.raises(KeyboardInterrupt):
        seal_audit(database_store, CLOCK)
    monkeypatch.setattr(sealing, "seal_digest", whole)
    assert look(database_store).unsealed == 2
    assert seal_audit(database_store, CLOCK) == 2
    assert look(database_store).broken is None


def test_what_cannot_be_read_holds_up_no_other_tenant(run_store: SqlRunStore):
    left(run_store, 1, 2, tenant_id="a-first")
    left(run_store, 1, 2)
    write(run_store, "UPDATE audit SET detail = '{' WHERE tenant_id = 'a-first'")
    assert seal_audit(run_store, CLOCK) == 2
    assert look(run_store).unsealed == 0
    assert verify_audit(run_store, "a-first").unsealed == 2


def test_an_entry_that_is_removed_before_it_is_sealed_is_missed(run_store: SqlRunStore):
    left(run_store, 1, 3)
    write(run_store, "DELETE FROM audit WHERE id = 'aud-000002'")
    assert seal_audit(run_store, CLOCK) == 2
    broken = look(run_store).broken
    assert broken is not None
    assert (broken.kind, broken.entry_id) == (Tampering.REMOVED, "aud-000002")


def test_what_a_release_before_this_one_inserts_is_sealed_too(database_store: SqlRunStore):
    left(database_store, 1, 2)
    write(
        database_store,
        "INSERT INTO audit (tenant_id, id, at, actor, action, subject, detail) SELECT tenant_id,"
        " 'aud-old', at, actor, action, subject, detail FROM audit WHERE id = 'aud-000001'",
        heeds_triggers=True,
    )
    assert seal_audit(database_store, CLOCK) == 3
    found = look(database_store)
    assert (found.unsealed, found.broken) == (0, None)


SWAP_ENTRIES = (
    "UPDATE audit_seals SET entry_id = 'x' WHERE number = 2",
    "UPDATE audit_seals SET entry_id = 'aud-000002' WHERE number = 4",
    "UPDATE audit_seals SET entry_id = 'aud-000004' WHERE number = 2",
)
SWAP_SEALS = (
    "UPDATE audit_seals SET number = 99 WHERE number = 2",
    "UPDATE audit_seals SET number = 2 WHERE number = 4",
    "UPDATE audit_seals SET number = 4 WHERE number = 99",
)
COPY = (
    "INSERT INTO audit (tenant_id, id, at, actor, action, subject, detail) SELECT tenant_id,"
    " 'aud-000003a', at, 'bob', action, subject, detail FROM audit WHERE id = 'aud-000003'"
)


@pytest.mark.parametrize(
    ("statements", "kind", "number"),
    [
        (("UPDATE audit SET actor = 'bob' WHERE id = 'aud-000003'",), Tampering.CHANGED, 3),
        (("UPDATE audit SET origin = '::1' WHERE id = 'aud-000001'",), Tampering.CHANGED, 1),
        (("UPDATE audit SET detail = '{' WHERE id = 'aud-000002'",), Tampering.CHANGED, 2),
        (("UPDATE audit_seals SET digest = 'x' WHERE number = 5",), Tampering.CHANGED, 5),
        (("DELETE FROM audit WHERE id = 'aud-000004'",), Tampering.REMOVED, 4),
        (("DELETE FROM audit_seals WHERE number = 4",), Tampering.REMOVED, 4),
        (("DELETE FROM audit_seals WHERE number = 6",), Tampering.INSERTED, None),
        ((COPY,), Tampering.INSERTED, None),
        (SWAP_ENTRIES, Tampering.REORDERED, 2),
        (SWAP_SEALS, Tampering.REORDERED, 2),
    ],
)
def test_the_first_place_that_was_tampered_with_is_named(
    database_store: SqlRunStore, statements: tuple[str, ...], kind: Tampering, number: int | None
):
    left(database_store, 1, 6)
    seal_audit(database_store, CLOCK)
    write(database_store, *statements)
    broken = look(database_store).broken
    assert broken is not None
    assert (broken.kind, broken.number) == (kind, number)
    if kind is Tampering.INSERTED:
        assert broken.entry_id in {"aud-000003a", "aud-000006"}


def test_a_noted_head_shows_that_a_chain_was_cut_off_or_written_anew(database_store: SqlRunStore):
    left(database_store, 1, 3)
    seal_audit(database_store, CLOCK)
    noted = look(database_store).head
    assert noted is not None
    assert parse_head(str(noted)) == noted
    left(database_store, 4, 5)
    seal_audit(database_store, CLOCK)
    assert look(database_store, noted).broken is None, "it went on since"
    write(
        database_store,
        "DELETE FROM audit WHERE id >= 'aud-000003'",
        "DELETE FROM audit_seals WHERE number >= 3",
    )
    assert look(database_store).broken is None, "by itself it looks whole"
    cut = look(database_store, noted).broken
    assert cut is not None
    assert (cut.kind, cut.number) == (Tampering.REMOVED, 3)
    left(database_store, 6, 6)
    seal_audit(database_store, CLOCK)
    anew = look(database_store, noted).broken
    assert anew is not None
    assert (anew.kind, anew.number) == (Tampering.CHANGED, 3)


@pytest.mark.parametrize("text_", ["", "7", "0:" + "a" * 64, "1:" + "A" * 64, "1:abc", "x" * 900])
def test_what_is_no_head_is_refused(text_: str):
    with pytest.raises(InputError):
        parse_head(text_)


@pytest.mark.parametrize("table", ["audit", "audit_seals"])
def test_neither_entries_nor_seals_are_changed_or_removed(run_store: SqlRunStore, table: str):
    left(run_store, 1, 1)
    seal_audit(run_store, CLOCK)
    refused: list[Callable[[], None]] = [
        lambda: write(run_store, f"UPDATE {table} SET tenant_id = 'x'", heeds_triggers=True),  # noqa: S608
        lambda: write(run_store, f"DELETE FROM {table}", heeds_triggers=True),  # noqa: S608
    ]
    if run_store.engine.dialect.name == "postgresql":
        refused.append(lambda: write(run_store, f"TRUNCATE {table}", heeds_triggers=True))
    for change in refused:
        with pytest.raises(DBAPIError, match="append-only"):
            change()
    assert look(run_store).broken is None
