"""Tables of the forms before this one, and of one after it."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import lancedb
import pytest

from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.domain.memory import Embedded, Kind
from factory_runtime.memory.lance import LanceMemoryIndex, migrate
from factory_runtime.memory.lance.rows import table_of
from factory_runtime.memory.lance.tables import Tables
from factory_runtime.ports import RecallQuery
from tests.unit.lance_rows import Given, a_row, all_rows, files_with, found, open_table

ARROW: Any = import_module("pyarrow")


def version_1_row(id_: str, version: str = "1", **changes: Any) -> dict[str, Any]:
    row = {
        "id": id_,
        "title": id_,
        "text": f"told of {id_}",
        "classification": "internal",
        "embedding_model": "given",
        "embedding_version": version,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "facts": '{"took": 3}',
        "vector": [1.0, 0.5],
    }
    return row | changes


def write_version_1(folder: Path, rows: list[dict[str, Any]], name: str = "runs-2") -> None:
    """As the first release wrote it."""
    names = [
        *("title", "text", "project_id", "module_id", "run_id", "step", "trace_id"),
        *("correlation_id", "template_id", "template_version", "outcome", "classification"),
        *("embedding_model", "embedding_version", "superseded_by"),
    ]
    key = {b"lance-schema:unenforced-primary-key": b"true"}
    schema = ARROW.schema(
        [
            ARROW.field("id", ARROW.string(), nullable=False, metadata=key),
            *(ARROW.field(name, ARROW.string()) for name in names),
            ARROW.field("created_at", ARROW.timestamp("us", tz="UTC")),
            ARROW.field("facts", ARROW.string()),
            ARROW.field("vector", ARROW.list_(ARROW.float32(), 2)),
        ]
    )
    database: Any = lancedb.connect(str(folder / "acme"))
    database.create_table(name, data=ARROW.Table.from_pylist(rows, schema=schema))


def write_version_2(folder: Path, rows: list[Embedded], name: str) -> None:
    """As the second form had it: today's columns, a table for each collection and model."""
    database: Any = lancedb.connect(str(folder / "acme"))
    database.create_table(name, data=table_of(rows, "given", "1", 2))


def before_1(folder: Path) -> None:
    write_version_1(folder, [version_1_row("a"), version_1_row("told", text="canaryofthemine")])


def before_2(folder: Path) -> None:
    rows = [a_row("a"), a_row("told", text="canaryofthemine")]
    write_version_2(folder, rows, "runs-given-0123abcd")


@pytest.mark.parametrize("before", [before_1, before_2])
def test_what_is_forgotten_in_a_form_of_before_stands_in_no_file(
    tmp_path: Path, before: Callable[[Path], None]
) -> None:
    before(tmp_path)
    index = LanceMemoryIndex(tmp_path, Given())
    index.forget("acme", ["told"])
    assert files_with(tmp_path, b"canaryofthemine") == []
    assert found(index) == ["a"]


@pytest.mark.parametrize("by", ["upsert", "optimize"])
def test_tables_of_the_first_form_go_over_with_their_vectors(tmp_path: Path, by: str) -> None:
    rows = [version_1_row("a", outcome="failed"), version_1_row("b"), version_1_row("c", "2")]
    write_version_1(tmp_path, rows)
    write_version_1(tmp_path, [version_1_row("t")], "templates-2")
    index, of_version_2 = (LanceMemoryIndex(tmp_path, Given(version=one)) for one in "12")
    assert found(index) == [], "who reads changes nothing"
    if by == "upsert":
        index.upsert("acme", [a_row("b", title="newer")])
    else:
        index.optimize("acme", timedelta(days=1))
    assert found(index) == ["a", "b", "t"]
    assert found(of_version_2) == ["c"]
    (failed,) = index.search("acme", RecallQuery("told", outcome="failed"), (1.0, 0.5))
    assert (failed.memory.id, failed.likeness) == ("a", pytest.approx(1.0))
    assert failed.words > 0
    assert (failed.memory.kind, failed.memory.facts) == (Kind.RUN, {"took": 3})
    assert not list(tmp_path.rglob("runs-2.lance"))
    assert all_rows(tmp_path)["b"]["title"] == ("newer" if by == "upsert" else "b")


@pytest.mark.parametrize("by", ["upsert", "optimize"])
def test_tables_of_the_second_form_become_one_a_model(tmp_path: Path, by: str) -> None:
    of_runs = [a_row("a", outcome="failed", facts={"took": 3}), a_row("b")]
    write_version_2(tmp_path, of_runs, "runs-given-0123abcd")
    write_version_2(tmp_path, [a_row("t", 1, kind=Kind.TEMPLATE)], "templates-given-0123abcd")
    index = LanceMemoryIndex(tmp_path, Given())
    assert found(index) == [], "who reads changes nothing"
    if by == "upsert":
        index.upsert("acme", [a_row("b", title="newer")])
    else:
        index.optimize("acme", timedelta(days=1))
    assert found(index) == ["a", "b", "t"]
    (failed,) = index.search("acme", RecallQuery("told", outcome="failed"), (1.0, 0.5))
    assert (failed.memory.id, failed.memory.facts) == ("a", {"took": 3})
    assert failed.words > 0
    assert len(list(tmp_path.rglob("*.lance/_versions"))) == 1
    assert all_rows(tmp_path)["b"]["title"] == ("newer" if by == "upsert" else "b")


def test_made_anew_nothing_is_left_of_forms_of_before(tmp_path: Path) -> None:
    before_1(tmp_path)
    before_2(tmp_path)
    write_version_1(tmp_path, [version_1_row("damaged")], "code-2")
    shutil.rmtree(tmp_path / "acme" / "code-2.lance" / "data")
    index = LanceMemoryIndex(tmp_path, Given())
    assert index.replace("acme", [a_row("b")]) == 1
    assert found(index) == ["b"]
    assert len(list((tmp_path / "acme").glob("*.lance"))) == 1


@pytest.mark.parametrize("how", ["drop", "replace"])
def test_what_becomes_of_one_model_costs_another_no_rows_of_a_form_of_before(
    tmp_path: Path, how: str
) -> None:
    write_version_2(tmp_path, [a_row("a")], "runs-given-0123abcd")
    write_version_1(tmp_path, [version_1_row("b", "2"), version_1_row("c")])
    index, other = (LanceMemoryIndex(tmp_path, Given(version=one)) for one in "12")
    if how == "drop":
        other.drop("acme")
    else:
        other.replace("acme", [])
    index.optimize("acme", timedelta(days=1))
    assert found(index) == ["a", "c"]
    assert found(other) == []


def test_without_room_to_move_them_another_model_s_rows_of_a_form_of_before_stay(
    tmp_path: Path,
) -> None:
    write_version_2(tmp_path, [a_row("a")], "runs-given-0123abcd")
    index, other = (LanceMemoryIndex(tmp_path, Given(version=one)) for one in "12")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def rows() -> Iterator[Embedded]:
        # There was none while tables of the form before were moved; now there is.
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        yield a_row("new")

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(MemoryUnavailableError):
            other.replace("acme", rows())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    index.optimize("acme", timedelta(days=1))
    assert found(index) == ["a"]


def test_killed_while_rows_of_a_form_of_before_go_over_the_next_who_writes_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        """The process ends here."""

    def die(*_: object) -> None:
        raise KilledError

    rows = [a_row(f"m-{number}", number % 2) for number in range(7)]
    write_version_2(tmp_path, rows, "runs-given-0123abcd")
    write_version_2(tmp_path, [a_row("t", kind=Kind.TEMPLATE)], "templates-given-0123abcd")
    index = LanceMemoryIndex(tmp_path, Given())
    monkeypatch.setattr(migrate, "_AT_ONCE", 3)
    with monkeypatch.context() as patch:
        patch.setattr(Tables, "drop", die)
        with pytest.raises(KilledError):
            index.upsert("acme", [a_row("new")])
    index.upsert("acme", [a_row("new")])
    assert found(index, limit=20) == [*(f"m-{number}" for number in range(7)), "new", "t"]


def test_rows_of_a_later_form_are_read_and_not_destroyed(tmp_path: Path) -> None:
    index = LanceMemoryIndex(tmp_path, Given())
    index.upsert("acme", [a_row("a")])
    table = open_table(tmp_path)
    table.add_columns([ARROW.field("mood", ARROW.string())])
    later = table.to_arrow().to_pylist()[0] | {"mood": "good"}
    unknown = later | {"id": "x", "kind": "dream"}
    table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(
        ARROW.Table.from_pylist([later, unknown, later | {"id": "f"}], schema=table.schema)
    )
    assert found(index) == ["a", "f"]
    index.upsert("acme", [a_row("a", title="changed"), a_row("new")])
    index.forget("acme", ["f"])
    index.optimize("acme", timedelta(0))
    moods = {id_: (row["title"], row["mood"]) for id_, row in all_rows(tmp_path).items()}
    assert moods == {"a": ("changed", "good"), "x": ("a", "good"), "new": ("new", None)}
    assert found(LanceMemoryIndex(tmp_path, Given())) == ["a", "new"]


def test_a_table_that_lacks_a_column_of_ours_is_read_and_gets_it(tmp_path: Path) -> None:
    index = LanceMemoryIndex(tmp_path, Given())
    index.upsert("acme", [a_row("a", path="one.py")])
    open_table(tmp_path).drop_columns(["path", "revision"])
    assert found(index) == ["a"]
    index.upsert("acme", [a_row("b", 1, path="two.py", revision=3, outcome="failed")])
    recalled = index.search("acme", RecallQuery("🏭"), (1.0, 0.5))
    shown = {r.memory.id: (r.memory.path, r.memory.revision) for r in recalled}
    assert shown == {"a": ("one.py", 1), "b": ("two.py", 3)}
    assert all_rows(tmp_path)["b"]["path"] == "two.py"
