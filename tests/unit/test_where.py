"""Filters as people type them: what they mean, and how what they cannot say is refused."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_runtime.domain.conditions import (
    AllOf,
    AnyOf,
    Compare,
    Comparison,
    Condition,
    IsEmpty,
    Not,
    OneOf,
    matches,
)
from factory_runtime.domain.errors import InputError
from factory_runtime.domain.memory import Kind, Memory
from factory_runtime.wire.where import MAX_DEPTH, MAX_LENGTH, parse_where

QUICK = settings(max_examples=150)
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


def read(text: str) -> Condition:
    return parse_where(text, NOW)


def equal(column: str, value: Any) -> Compare:
    return Compare(column, Comparison.EQUAL, value)


def since(column: str, value: Any) -> Compare:
    return Compare(column, Comparison.AT_LEAST, value)


def until(column: str, value: Any) -> Compare:
    return Compare(column, Comparison.AT_MOST, value)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("kind = 'run'", equal("kind", "run")),
        ("KIND = 'run'", equal("kind", "run")),
        ("\"kind\" = 'run'", equal("kind", "run")),
        ("'run' = kind", equal("kind", "run")),
        ("project = 'shop'", equal("project_id", "shop")),
        ("project_id = 'shop'", equal("project_id", "shop")),
        ("module = 'm'", equal("module_id", "m")),
        ("run = 'run-1'", equal("run_id", "run-1")),
        ("step = 'render'", equal("step", "render")),
        ("template = 'report'", equal("template_id", "report")),
        ("version = '1.2.0'", equal("template_version", "1.2.0")),
        ("commit = 'c0ffee'", equal("commit", "c0ffee")),
        ("classification = 'internal'", equal("classification", "internal")),
        ("outcome != 'failed'", Compare("outcome", Comparison.UNEQUAL, "failed")),
        ("outcome <> 'failed'", Compare("outcome", Comparison.UNEQUAL, "failed")),
        ("path < 'b'", Compare("path", Comparison.LESS, "b")),
        ("'b' < path", Compare("path", Comparison.MORE, "b")),
        ("kind in ('run', 'failure')", OneOf("kind", ("run", "failure"))),
        ("kind NOT IN ('run')", Not(OneOf("kind", ("run",)))),
        ("path between 'a' and 'c'", AllOf((since("path", "a"), until("path", "c")))),
        ("project is null", IsEmpty("project_id")),
        ("project is not null", Not(IsEmpty("project_id"))),
        ("path = 'it''s'", equal("path", "it's")),
        ("path = '🙂; -- DROP'", equal("path", "🙂; -- DROP")),
        (r"path = 'C:\x'", equal("path", r"C:\x")),
        ("path like 'README.md'", equal("path", "README.md")),
        ("path like '%'", Not(IsEmpty("path"))),
        (
            "(step = 'a' or step = 'b') and not outcome = 'failed'",
            AllOf(
                (
                    AnyOf((equal("step", "a"), equal("step", "b"))),
                    Not(equal("outcome", "failed")),
                )
            ),
        ),
    ],
)
def test_a_filter_is_read_like_sql(text: str, condition: Condition) -> None:
    assert read(text) == condition


@pytest.mark.parametrize(
    ("time", "at"),
    [
        ("'2026-11-21'", datetime(2026, 11, 21, tzinfo=UTC)),
        ("DATE '2026-11-21'", datetime(2026, 11, 21, tzinfo=UTC)),
        ("'2026-11-21T14:00'", datetime(2026, 11, 21, 14, tzinfo=UTC)),
        ("'2026-11-21T14:00Z'", datetime(2026, 11, 21, 14, tzinfo=UTC)),
        ("'2026-11-21 14:00:30+02:00'", datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)),
        ("now()", NOW),
        ("current_timestamp", NOW),
        ("now() - interval '7 days'", NOW - timedelta(days=7)),
        ("NOW() - INTERVAL '1' HOUR", NOW - timedelta(hours=1)),
        ("now() - interval 2 weeks", NOW - timedelta(weeks=2)),
    ],
)
def test_a_time_is_a_moment(time: str, at: datetime) -> None:
    assert read(f"created_at >= {time}") == since("created_at", at)
    assert read(f"changed_at >= {time}") == since("changed_at", at)


@pytest.mark.parametrize(
    ("pattern", "path", "is_like"),
    [
        ("src/%", "src/a.py", True),
        ("src/%", "src/", True),
        ("src/%", "src", False),
        ("src/%", "srcs/a.py", False),
        ("src/%", "src/\U0010fffe", True),
        (r"a\_b%", "a_b.py", True),
        (r"a\_b%", "axb.py", False),
        (r"100\%%", "100% sure", True),
        ("Src/%", "src/a.py", False),
    ],
)
def test_a_pattern_says_how_a_text_begins(pattern: str, path: str, is_like: bool) -> None:
    memory = a_memory(path=path)
    assert matches(read(f"path LIKE '{pattern}'"), memory) is is_like
    assert matches(read(f"path NOT LIKE '{pattern}'"), memory) is not is_like


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("tenant = 'x'", "tenant"),
        ("kind = 'run' OR tenant_id = 'x'' OR ''1''=''1'", "tenant_id"),
        ("language = 'python'", "'language'"),
        ("created_at > '2026-01-01' and vector = 'x'", "'vector'"),
        ("m.kind = 'run'", "'m'"),
        ("project.kind = 'run'", "'.'"),
        ("lower(kind) = 'run'", "'lower'"),
        ("length(text) = 1", "'length'"),
        ("kind = upper('run')", "'upper'"),
        ("now(kind) = 'run'", "NOW(kind)"),
        ("kind(project) = 'run'", "KIND(project)"),
        ("days = 'run'", "'days'"),
        ("if kind", "'if'"),
        ("kind in (select 'run')", "'select'"),
        ("exists (select 1)", "'exists'"),
        ("select 1", "'select'"),
        ("drop table memory_records", "'drop'"),
        ("kind = 'run'; drop table x", "';'"),
        ("kind = 'run' -- and more", "comment"),
        ("kind = 'run' /* and more */", "comment"),
        ("-- nothing else", "comment"),
        ("/*+ hint */ kind = 'run'", "comment"),
        ("kind = 'run", "quote"),
        ('kind = "run"', "run"),
        ('kind = "run', "quote"),
        ("(kind = 'run'", "bracket"),
        ("kind = 'run')", "bracket"),
        ("kind =", "'='"),
        ("kind 'run'", "'run'"),
        ("kind", "'kind' is no condition"),
        ("project = 'shop' and step", "'step' is no condition"),
        ("'run'", "'run'"),
        ("1 = 1", "'1'"),
        ("true", "'true'"),
        ("kind = project", "project"),
        ("kind = null", "NULL"),
        ("kind = 'runs'", "'runs'"),
        ("kind in ()", "IN"),
        ("kind in 'run'", "'run'"),
        ("kind in ('run', project)", "project"),
        ("outcome = ''", "empty"),
        ("path like ''", "empty"),
        ("version = 1", "1"),
        ("version >= '1.10.0'", "version"),
        ("version between '1.9' and '1.10'", "version"),
        ("path between symmetric 'a' and 'b'", "'symmetric'"),
        ("path like '%.py'", "%.py"),
        ("path like 'a%b%'", "a%b%"),
        ("path like 'a_b'", "a_b"),
        ("path ilike 'a%'", "'ilike'"),
        ("path like 'a!%' escape '!'", "'escape'"),
        ("created_at like '2026%'", "LIKE"),
        ("created_at > 'yesterday'", "yesterday"),
        ("created_at > 5", "5"),
        ("created_at > project", "project"),
        ("created_at > now() + interval '1 day'", "'+'"),
        ("created_at > now() - interval '7 months'", "MONTHS"),
        ("created_at > now() - interval 7 months", "'months'"),
        ("created_at > now() - interval 'many'", "many"),
        ("created_at > now() - interval '999999 weeks'", "999999"),
        ("created_at > now() - interval '1 day' - interval '1 day'", "INTERVAL"),
        ("created_at > '0001-01-01T00:00+14:00'", "0001"),
        ("created_at > now(1)", "NOW(1)"),
        ("project = now()", "NOW()"),
        ("kind is true", "'true'"),
        ("kind = 'run' = 'run'", "="),
        ("kind = 'a' 'b'", "'a'"),
        ("kind = 'run' xor kind = 'run'", "'xor'"),
        ("kind = -1", "-1"),
        ("kind = ?", "'?'"),
        ("kind = :x", "':'"),
        ("kind = 'run'::text", "'::'"),
        ("case when kind = 'run' then 1 end = 1", "'case'"),
        ("🙂", "🙂"),
        ("\x00", ""),
        ("   ", "empty"),
        ("", "empty"),
        ("kind = '\udcff'", "valid text"),
    ],
)
def test_everything_else_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(InputError) as refused:
        read(text)
    assert named in str(refused.value)


def test_a_refusal_says_what_a_filter_knows() -> None:
    with pytest.raises(InputError) as refused:
        read("flavour = 'sweet'")
    assert "template" in refused.value.explain()
    assert "BETWEEN" in refused.value.explain()


def nested(depth: int) -> str:
    return "(" * depth + "kind = 'run'" + ")" * depth


@pytest.mark.parametrize(
    "text",
    [
        "kind = 'run' or " * 100_000,
        "kind = '" + "x" * MAX_LENGTH + "'",
        nested(MAX_DEPTH + 1),
        nested(1900),
        "not " * 900 + "kind = 'run'",
        "not (" * 400 + "kind = 'run'" + ")" * 400,
        "created_at > " + "- " * 1900 + "1",
        "created_at > " + "interval " * 400 + "'1' day",
        "step='a'or " * 300 + "step='a'",
        "kind = 'run'" + " = 'run'" * 400,
        "kind" + " is null" * 400,
        "created_at > now()" + " - now()" * 400,
        "kind in (" + " or ".join(["kind = 'run'"] * 200) + ")",
        "kind = 'a'" + " 'b'" * 900,
        "kind like" * 400,
    ],
)
def test_what_is_too_much_is_refused_and_breaks_nothing(text: str) -> None:
    with pytest.raises(InputError):
        read(text)


@pytest.mark.parametrize(
    "text",
    [
        nested(MAX_DEPTH),
        "not " * MAX_DEPTH + "kind = 'run'",
        " or ".join(["step = 'a'"] * 150),
        "step in (" + ", ".join(["'abcdef'"] * 350) + ")",
    ],
)
def test_what_is_just_not_too_much_is_read(text: str) -> None:
    assert matches(read(text), a_memory(step="a")) == ("abcdef" not in text)


def test_a_deep_filter_is_read_from_deep_within_a_program() -> None:
    def deeper(calls: int) -> Condition:
        return deeper(calls - 1) if calls else read(nested(MAX_DEPTH))

    read_by: list[Condition] = []
    thread = threading.Thread(target=lambda: read_by.append(deeper(300)))
    thread.start()
    thread.join()
    assert read_by == [equal("kind", "run")]


def test_the_parser_is_imported_with_the_first_filter() -> None:
    code = "import sys; import factory_runtime.wire.where as where; assert 'sqlglot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_parser_has_nothing_to_log(caplog: pytest.LogCaptureFixture) -> None:
    # It takes these for commands that it does not know, and would say so.
    for text in ("if kind", "if", "kind = 'run' if"):
        with pytest.raises(InputError):
            read(text)
    assert not caplog.records


@QUICK
@given(st.text(alphabet="kindrupoject =<>()'\"-;/*%_,\\.0123INOTADLKEBW\n", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InputError):
        matches(read(text), a_memory())


# beside a database


def a_memory(**values: Any) -> Memory:
    defaults: dict[str, Any] = {
        "id": "m",
        "tenant_id": "acme",
        "kind": Kind.RUN,
        "title": "t",
        "text": "t",
        "created_at": NOW,
    }
    return Memory(**{**defaults, **values})


TEXTS = st.sampled_from(["a", "b", "b'c", "src/x", "src/", "Z", "ä"])
COLUMN = st.sampled_from(["step", "outcome", "path"])


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


VALUE = TEXTS.map(quoted)
SIMPLE = (
    st.builds("{} {} {}".format, COLUMN, st.sampled_from(["=", "<>", "!=", "<", "<=", ">"]), VALUE)
    | st.builds("{} > {}".format, VALUE, COLUMN)
    | st.builds("{} NOT IN ({}, {})".format, COLUMN, VALUE, VALUE)
    | st.builds("{} IN ({})".format, COLUMN, VALUE)
    | st.builds("{} BETWEEN {} AND {}".format, COLUMN, VALUE, VALUE)
    | st.builds("{} NOT BETWEEN {} AND {}".format, COLUMN, VALUE, VALUE)
    | st.builds("{} LIKE '{}%'".format, COLUMN, st.sampled_from(["", "a", "src/", "B"]))
    | st.builds("{} NOT LIKE 'src/%'".format, COLUMN)
    | st.builds("{} IS NOT NULL".format, COLUMN)
)
FILTERS = st.recursive(
    SIMPLE,
    lambda inner: (
        st.builds("NOT {}".format, inner)
        | st.builds("({})".format, inner)
        | st.builds("{} AND {}".format, inner, inner)
        | st.builds("{} or {}".format, inner, inner)
    ),
    max_leaves=6,
)


@QUICK
@given(FILTERS, st.tuples(TEXTS, TEXTS, TEXTS))
def test_a_filter_means_what_it_means_to_a_database(text: str, row: tuple[str, str, str]) -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("PRAGMA case_sensitive_like = ON")
        database.execute("CREATE TABLE m (step, outcome, path)")
        database.execute("INSERT INTO m VALUES (?, ?, ?)", row)
        (count,) = database.execute(f"SELECT count(*) FROM m WHERE {text}").fetchone()  # noqa: S608
    step, outcome, path = row
    assert matches(read(text), a_memory(step=step, outcome=outcome, path=path)) == bool(count)
