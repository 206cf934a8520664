from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.compiler.patterns import (
    MAX_MATCH,
    KeptPatterns,
    PatternError,
    read_pattern,
)
from factory_runtime.compiler.schema import normalise_inputs, subschemas
from factory_runtime.jobs.registry import job_type_facts
from tests.authoring import problems

X = {"x": "p"}
STEPS = "steps: [{name: a, type: note, with: {text: a}}]"


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "is not a regular expression"),
        (r"a\Z", "is not a regular expression"),
        (r"a\z", "is not a regular expression"),
        (r"[\x{41}]", "is not a regular expression"),
        (r"\pL", "is not a regular expression"),
        ("(?i)a", "is not a regular expression"),
        ("(?P<a>b)", "is not a regular expression"),
        ("(?P<a>b)(?P=a)", "is not a regular expression"),
        ("^(?!x)[a-z]+$", "looks ahead or behind"),
        ("(?<=a)b", "looks ahead or behind"),
        (r"(a+)\1", "refers back"),
        ("^.{1,20000}$", "is too large once its repeats are written out"),
        (r"\p{L}{1,1000}", "is too large once its repeats are written out"),
        ("a" * 1001, "is longer than 1000 characters"),
    ],
)
def test_a_pattern_that_cannot_be_bounded_is_refused_where_it_stands(
    tmp_path: Path, pattern: str, why: str
):
    quoted = pattern.replace("'", "''")
    (problem,) = problems(
        tmp_path,
        f"inputs:\n  properties:\n    a: {{type: string, pattern: '{quoted}'}}\n{STEPS}",
    )
    assert (problem.line, problem.column, problem.code) == (5, 32, "schema")
    assert why in problem.message


def test_a_pattern_of_names_is_refused_where_it_stands(tmp_path: Path):
    (problem,) = problems(
        tmp_path, f"inputs:\n  patternProperties:\n    a: {{}}\n    '(?=a)b': {{}}\n{STEPS}"
    )
    assert (problem.line, problem.column) == (6, 5)
    assert "'(?=a)b' cannot be used" in problem.message


@pytest.mark.parametrize(
    ("pattern", "fits", "others"),
    [
        (r"^[a-z]+(?!\n)$", ["a"], ["a\n", "\na", "A", ""]),
        ("^[a-z]+(?!\n)$", ["a"], ["a\n"]),
        (r"^[\$(?!\n)$]+$", ["$(?!\n)"], ["a"]),
        (r"\$$", ["5$"], ["$5"]),
        (r"^\d\w$", ["1a"], ["\u0663a", "1\u00e9"]),
        (r"^[^\u0000-\u001f]*$", ["one line", ""], ["two\nlines"]),
        ("b", ["abc"], ["ac"]),
        ("^.{2,3}$", ["äß", "日本語"], ["a", "abcd"]),
        (r"^\p{L}+$", ["ä"], ["1"]),
        (r"^\<a\>$", ["<a>"], ["a"]),
        (r"^[^\<\>]$", ["x"], ["<", ">"]),
        (r"^[\b]\0[\0]$", ["\b\0\0"], ["b00"]),
        (r"^\\<[\\<]$", [r"\<<", "\\<\\"], ["<<"]),
        ("^{a}$", ["{a}"], ["a"]),
        ("^a{,2}$", ["a{,2}"], ["aa"]),
        ("^[{]{2}$", ["{{"], ["{"]),
        ("^[^]$", ["a", "\n"], ["", "ab"]),
        ("[]a]", [], ["]", "a", "a]"]),
        ("^(?<letter>a)(?:b)(?i:c)$", ["abC"], ["aBC"]),
    ],
)
def test_a_pattern_means_what_json_schema_says(pattern: str, fits: list[str], others: list[str]):
    found = read_pattern(pattern)
    assert [text for text in (*fits, *others) if found.matches(text)] == fits


def test_text_too_long_for_a_pattern_is_refused_before_it_is_looked_at():
    found = read_pattern("^.{1,500}$")
    longest = MAX_MATCH * 16384 // found.shape
    assert not found.matches("a" * longest)
    for text in ("a" * (longest + 1), "ä" * (longest // 4 + 1)):
        with pytest.raises(PatternError, match="cannot be looked for"):
            found.matches(text)


def test_a_pattern_that_nobody_checked_refuses_and_does_not_crash():
    schema = {"type": "object", "properties": {"a": {"pattern": "(?=a)b"}}}
    (problem,) = normalise_inputs(schema, {"a": "b"})[1]
    assert problem.message.startswith("a: '(?=a)b' cannot be used")
    named: dict[str, Any] = {
        "type": "object",
        "patternProperties": {"(": {}},
        "additionalProperties": False,
    }
    assert {p.code for p in normalise_inputs(named, {"a": "b"})[1]} == {
        "bad-input",
        "unknown-input",
    }


def test_a_schema_has_no_more_patterns_than_can_be_kept(tmp_path: Path):
    each = "\n".join(f"    p{number}: {{pattern: a{number}}}" for number in range(513))
    (problem,) = problems(tmp_path, f"inputs:\n  properties:\n{each}\n{STEPS}")
    assert (problem.line, problem.message.split(" ")[0]) == (517, "the")
    assert "too large together" in problem.message


HOST = "^[^/]{1,255}$"
EMAIL = r"^[^@\s]{1,64}@[^@\s]{1,255}$"
ORDINARY = ["^.{1,255}$", HOST, r"^\S{1,253}$", EMAIL, r"^[^\n\r]{1,255}$"]


def test_twenty_ordinary_patterns_go_into_a_template(tmp_path: Path):
    each = "\n".join(
        f"    p{number}: {{pattern: '{ORDINARY[number % 5][:-1]}(?:{number})?$'}}"
        for number in range(20)
    )
    assert problems(tmp_path, f"inputs:\n  properties:\n{each}\n{STEPS}") == []


def test_a_name_in_any_script_is_an_ordinary_pattern():
    found = read_pattern(r"^[\p{L}\p{N} ._-]{1,200}$")
    assert [text for text in ("Zoë 日本", "a/b", "") if found.matches(text)] == ["Zoë 日本"]


def test_ten_thousand_host_names_and_addresses_are_taken():
    given: dict[str, Any] = {
        "hosts": [f"worker-{n:05d}.eu-central.example.com" for n in range(10_000)],
        "people": [f"firstname.name{n:05d}@example.com" for n in range(10_000)],
        "text": "a" * 50_000,
    }
    properties = {
        "hosts": {"type": "array", "items": {"pattern": HOST}},
        "people": {"type": "array", "items": {"pattern": EMAIL}},
        "text": {"not": {"pattern": HOST}},
    }
    schema = {"type": "object", "properties": properties}
    assert normalise_inputs(schema, given)[1] == []
    given["people"][-1] = "nobody"
    (problem,) = normalise_inputs(schema, given)[1]
    assert problem.message.startswith("people[9999]: 'nobody' does not match")


def test_what_is_asked_for_in_turn_is_read_once():
    asked = [f"^{letter}{number}$" for letter in "abc" for number in range(100)]
    read = [read_pattern(pattern) for pattern in asked]
    assert all(read_pattern(pattern) is known for pattern, known in zip(asked, read, strict=True))


def test_no_more_is_kept_than_there_is_room_for():
    size = read_pattern("a").size
    kept = KeptPatterns(2 * size)
    first, second = kept.get("a"), kept.get("b")
    assert kept.get("a") is first
    kept.get("c")
    assert kept.get("a") is first
    assert kept.get("b") is not second


def test_reading_patterns_is_paid_for_by_each_who_asks(monkeypatch: pytest.MonkeyPatch):
    steps = read_pattern("^p0$").steps_of_reading
    monkeypatch.setattr("factory_runtime.compiler.work.MAX_MATCHING", 20 * steps)
    few: list[Any] = [{"pattern": f"^p|{number}"} for number in range(19)]
    many = [*few, {"pattern": "^p|19"}]
    for _ in range(2):
        assert normalise_inputs({"type": "object", "properties": {"x": {"allOf": few}}}, X)[1] == []
        (problem,) = normalise_inputs({"type": "object", "properties": {"x": {"allOf": many}}}, X)[
            1
        ]
        assert "asks too much" in problem.message


def patterns_of(schema: Any) -> Iterator[str]:
    for _, inner in subschemas(schema):
        if "pattern" in inner:
            yield inner["pattern"]


def test_every_pattern_of_our_job_types_can_be_used():
    found = [p for one in job_type_facts().values() for p in patterns_of(one.with_schema)]
    assert len(found) >= 6
    for pattern in found:
        read_pattern(pattern)
