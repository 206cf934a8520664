"""What the release before has learned is kept, with its vectors, and what it learns meanwhile."""

from __future__ import annotations

import struct
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from factory_runtime.domain.memory import Kind, digest_of_text
from factory_runtime.run_store import open_run_store
from factory_runtime.run_store.engines import for_writing, open_engine, parse_url
from tests.builders import NOON, TENANT, after

MANY = 501
"""More than the upgrade looks at in one go."""

_INSERT = text("""
    INSERT INTO memory_records (tenant_id, id, collection, title, text, created_at, classification,
                                embedding_model, embedding_version, vector, facts)
    VALUES (:tenant, :id, :collection, 'orders', :text, :at, 'internal', :model, '1', :vector, '{}')
""")


def as_the_release_before(connection: Connection, id_: str, collection: str, of: str) -> None:
    at: datetime | str = NOON
    if connection.dialect.name == "sqlite":
        at = NOON.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    vector = None if of == "no vector" else struct.pack("<2f", 1.0, 0.5)
    row = {"tenant": TENANT, "id": id_, "collection": collection, "text": of, "at": at}
    connection.execute(_INSERT, {**row, "model": vector and "minilm", "vector": vector})


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def old_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'old.db'}"
    else:
        url = str(request.getfixturevalue("empty_postgres_url"))
    engine = open_engine(parse_url(url))
    with engine.connect() as connection, for_writing(connection).begin():
        config = Config()
        config.set_main_option("script_location", "factory_runtime.run_store:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "0014")
        for number in range(MANY):
            as_the_release_before(connection, f"mem-{number:03}", "runs", f"text {number // 2}")
        as_the_release_before(connection, "mem-t", "templates", "no vector")
    engine.dispose()
    return url


def test_memories_of_before_have_kind_digest_and_vector(old_url: str) -> None:
    with closing(open_run_store(old_url)) as store, store.begin(TENANT) as tx:
        assert tx.count_memories() == {Kind.RUN: MANY, Kind.TEMPLATE: 1}
        first, second, *_ = tx.list_memories(limit=2)
        assert first.text_digest == second.text_digest == digest_of_text("text 0")
        assert first.changed_at == first.created_at == NOON
        vectors = tx.find_vectors("minilm/1", [first.text_digest])
        assert vectors == {first.text_digest: (1.0, 0.5)}
        assert tx.count_vectors("minilm/1") == MANY
        (without,) = tx.memories_without_vector("minilm/1", 9)
        assert (without.id, without.kind) == ("mem-t", Kind.TEMPLATE)
        assert len(tx.unindexed_memories(1000)) == MANY + 1


def test_what_the_release_before_learns_after_the_upgrade_is_taken_in(old_url: str) -> None:
    with closing(open_run_store(old_url)) as store:
        with store.engine.connect() as connection, for_writing(connection).begin():
            as_the_release_before(connection, "mem-late", "templates", "late")
        with store.begin(TENANT, read_only=True) as tx:
            assert tx.find_memories(["mem-late"]) == ()
        with store.begin(TENANT) as tx:
            late = {memory.id: memory for memory in tx.unindexed_memories(1000)}["mem-late"]
            assert (late.kind, late.changed_at) == (Kind.TEMPLATE, NOON)
            assert tx.find_memories(["mem-late"]) == (late,)
            assert "mem-late" in {memory.id for memory in tx.memories_without_vector("m/1", 1000)}


_REWRITE = text("UPDATE memory_records SET text = :text, created_at = :at WHERE id = :id")


def test_what_the_release_before_rewrites_after_the_upgrade_is_taken_in(old_url: str) -> None:
    with closing(open_run_store(old_url)) as store:
        with store.begin(TENANT) as tx:
            tx.mark_indexed(tx.unindexed_memories(1000), after(1))
        later: datetime | str = after(9)
        if store.engine.dialect.name == "sqlite":
            later = after(9).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        with store.engine.connect() as connection, for_writing(connection).begin():
            connection.execute(_REWRITE, {"text": "other", "at": later, "id": "mem-007"})
        assert store.unindexed_tenants() == ()
        with store.begin(TENANT) as tx:
            (before,) = tx.find_memories(["mem-007"])
            assert tx.unadopted_memories(9) == ("mem-007",)
            assert tx.adopt_memories(["mem-007", "mem-t"]) == 1
            assert tx.unadopted_memories(9) == ()
            assert tx.adopt_memories(["mem-007", "mem-t"]) == 0
            (late,) = tx.unindexed_memories(9)
            assert (late.id, late.text, late.changed_at) == ("mem-007", "other", after(9))
            assert late.revision == before.revision + 1
            without = {one.id for one in tx.memories_without_vector("minilm/1", 9)}
            assert without == {"mem-007", "mem-t"}
