"""Rows of CSV and JSON, as they come from outside."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_runtime.domain.errors import UnreadableDataError
from factory_runtime.jobs.report.rows import MAX_COLUMNS, Format, clean, read_rows, shape_of


def rows(body: bytes | str, format_: Format = "csv") -> list[dict[str, Any]]:
    given = body.encode() if isinstance(body, str) else body
    return [dict(row) for row in read_rows(io.BytesIO(given), format_)]


def test_csv_is_read_by_the_names_of_its_first_line() -> None:
    assert rows("a,b\n1,x\n2,y\n") == [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_first_line_tells_what_parts_the_fields(delimiter: str) -> None:
    text = f"a{delimiter}b\n1{delimiter}2\n"
    assert rows(text) == [{"a": "1", "b": "2"}]


def test_what_is_quoted_in_the_first_line_parts_nothing() -> None:
    assert rows('"a;b;c",d\n1,2\n') == [{"a;b;c": "1", "d": "2"}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(encoding: str) -> None:
    assert rows("größe,ß\n1,2\n".encode(encoding)) == [{"größe": "1", "ß": "2"}]


@pytest.mark.parametrize("body", ["größe\n1\n".encode("latin-1"), b"a,b\n\xff\xfe\xfd,1\n"])
def test_text_in_another_encoding_is_refused_and_not_guessed(body: bytes) -> None:
    with pytest.raises(UnreadableDataError, match="utf-8"):
        rows(body)


def test_quoted_fields_may_hold_anything() -> None:
    assert rows('a,b\n"1,\n2","say ""x"""\n') == [{"a": "1,\n2", "b": 'say "x"'}]


def test_a_formula_is_text_and_nothing_else() -> None:
    assert rows("a\n=1+2\n@SUM(A1)\n") == [{"a": "=1+2"}, {"a": "@SUM(A1)"}]


def test_short_rows_lack_values_and_long_ones_lose_theirs() -> None:
    assert rows("a,b\n1\n1,2,3\n") == [{"a": "1"}, {"a": "1", "b": "2"}]


def test_empty_lines_are_no_rows_and_only_a_head_is_none() -> None:
    assert rows("\n\na\n1\n\n2\n\n") == [{"a": "1"}, {"a": "2"}]
    assert rows("a,b\n") == []
    assert rows("[]", "json") == []


@pytest.mark.parametrize("format_", ["csv", "json"])
@pytest.mark.parametrize("body", [b"", b"  \n\n "])
def test_nothing_at_all_is_refused(body: bytes, format_: Format) -> None:
    with pytest.raises(UnreadableDataError, match="nothing"):
        rows(body, format_)


def test_names_are_made_distinct_short_and_shown() -> None:
    (row,) = rows(f"a,a,,x\x00\x1b[31m,{'n' * 500}\n1,2,3,4,5\n")
    names = list(row)
    assert names[:3] == ["a", "a (2)", "column 3"]
    assert names[3] == "x [31m"
    assert len(names[4]) == 60
    assert len(set(names)) == 5


def test_nul_in_a_value_is_left_for_whoever_reads_numbers() -> None:
    assert rows("a\n1\x002\n") == [{"a": "1\x002"}]


@pytest.mark.parametrize(
    "body",
    [
        "a\n" + "x" * 200_000 + "\n",
        'a\n"' + "x" * 200_000,
        "a" * 3_000_000,
        ",".join(f"c{n}" for n in range(MAX_COLUMNS + 1)) + "\n",
    ],
    ids=["field", "quoted", "line", "columns"],
)
def test_csv_that_is_too_large_in_one_place_is_refused(body: str) -> None:
    with pytest.raises(UnreadableDataError):
        rows(body)


def test_json_is_an_array_or_one_object_after_the_other() -> None:
    wanted = [{"a": 1.0, "b": "x"}, {"a": 2.5, "c": None}]
    assert rows(json.dumps(wanted), "json") == wanted
    assert rows("\n".join(map(json.dumps, wanted)), "json") == wanted


@pytest.mark.parametrize(
    "body",
    [
        '[{"a": 1}, {"a": 2}',
        '[{"a": 1}, {"a":',
        '{"a": 1',
        '[{"a": 1} {"a": 2}]',
        '[{"a": 1}] x',
        '{"a": 1}]',
        "[1, 2]",
        '"a"',
        "{]",
        "<html>down for maintenance</html>",
        '[{"a": ' + "[" * 100_000,
        "[" * 5_000,
    ],
)
def test_json_that_is_cut_off_or_holds_no_rows_is_refused(body: str) -> None:
    with pytest.raises(UnreadableDataError):
        rows(body, "json")


def test_a_number_of_a_million_digits_is_read_at_once() -> None:
    (row,) = rows('[{"a": ' + "9" * 900_000 + "}]", "json")
    assert row["a"] == float("inf")


def test_json_whose_rows_have_ever_new_names_is_refused() -> None:
    many = "".join(json.dumps({f"k{n}": 1}) for n in range(MAX_COLUMNS + 1))
    with pytest.raises(UnreadableDataError, match="columns"):
        rows(many, "json")


def test_rows_are_the_same_wherever_the_parts_of_the_body_end() -> None:
    wanted = [{"n": float(n), "text": "é" * (n % 7)} for n in range(9_000)]
    assert rows(json.dumps(wanted, ensure_ascii=False), "json") == wanted
    lines = "".join(f"{n},{'é' * (n % 7)}\r\n" for n in range(20_000))
    read = rows("n,text\r\n" + lines)
    assert [row["n"] for row in read] == [str(n) for n in range(20_000)]


def test_a_long_row_is_not_decoded_anew_for_each_part_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lengths: list[int] = []
    decode = json.JSONDecoder.raw_decode

    def noted(self: json.JSONDecoder, text: str, at: int = 0) -> Any:
        lengths.append(len(text) - at)
        return decode(self, text, at)

    monkeypatch.setattr(json.JSONDecoder, "raw_decode", noted)
    row = {"a": "x" * 1_000_000}
    assert rows(json.dumps([row, {"a": 1}]), "json") == [row, {"a": 1}]
    assert sum(lengths) < 4 * 1_000_000
    lengths.clear()
    with pytest.raises(UnreadableDataError, match="a row is no JSON"):
        rows('[{"a": "' + "x" * 9_000_000, "json")
    assert sum(lengths) < 4 * 1024 * 1024, "nor is all of a hopeless one"


def test_the_shape_counts_rows_and_names_columns_in_order() -> None:
    shape = shape_of(io.BytesIO(b'{"b": 1}\n{"a": 2, "b": 3}'), "json")
    assert (shape.rows, shape.columns) == (2, ("b", "a"))


@given(st.binary(max_size=300), st.sampled_from(["csv", "json"]))
@settings(max_examples=150)
def test_any_bytes_are_rows_or_refused(body: bytes, format_: Format) -> None:
    try:
        read = rows(body, format_)
    except UnreadableDataError:
        return
    assert all(clean(name) == name for row in read for name in row)


@given(st.text())
@settings(max_examples=100)
def test_a_cleaned_name_can_be_stored_and_stays_as_it_is(text: str) -> None:
    once = clean(text)
    assert once.encode().decode() == once
    assert not any(ord(one) < 32 for one in once)
    assert clean(once) == once
