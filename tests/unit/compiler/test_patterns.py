from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.compiler.patterns import MAX_MATCH, PatternError, read_pattern
from factory_runtime.compiler.schema import normalise_inputs, subschemas
from factory_runtime.jobs.registry import job_type_facts
from tests.authoring import problems

STEPS = "steps: [{name: a, type: note, with: {text: a}}]"


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "is not a regular expression"),
        (r"a\Z", "is not a regular expression"),
        ("(?P<a>b)(?P=a)", "is not a regular expression"),
        ("^(?!x)[a-z]+$", "looks ahead or behind"),
        ("(?<=a)b", "looks ahead or behind"),
        (r"(a+)\1", "refers back"),
        ("^.{1,20000}$", "is too large once its repeats are written out"),
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
    ],
)
def test_a_pattern_means_what_json_schema_says(pattern: str, fits: list[str], others: list[str]):
    found = read_pattern(pattern)
    assert [text for text in (*fits, *others) if found.matches(text)] == fits


def test_text_too_long_for_a_pattern_is_refused_before_it_is_looked_at():
    found = read_pattern("^.{1,500}$")
    longest = MAX_MATCH * 65536 // found.size
    with pytest.raises(PatternError, match="cannot be looked for"):
        found.matches("a" * (longest + 1))


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


def test_a_schema_has_no_more_patterns_than_are_kept(tmp_path: Path):
    each = "\n".join(f"    p{number}: {{pattern: a{number}}}" for number in range(129))
    (problem,) = problems(tmp_path, f"inputs:\n  properties:\n{each}\n{STEPS}")
    assert (problem.line, problem.message.split(" ")[0]) == (133, "the")
    assert "too large together" in problem.message


def patterns_of(schema: Any) -> Iterator[str]:
    for _, inner in subschemas(schema):
        if "pattern" in inner:
            yield inner["pattern"]


def test_every_pattern_of_our_job_types_can_be_used():
    found = [p for one in job_type_facts().values() for p in patterns_of(one.with_schema)]
    assert len(found) >= 6
    for pattern in found:
        read_pattern(pattern)
