"""Nothing that a tenant writes keeps a process busy without end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PATIENCE = 60  # seconds, for all cases; they take two
TOO_MUCH = "the template asks too much of inputs as large as these"
TOO_LARGE = "too-large the schema is too large to be checked"
UNKNOWN = "a! is not an input of this template"
WORK = "it takes too much to work out"
EXPECTED: Mapping[str, str] = {
    "a pattern that goes back": "does not match ^(a+)+$",
    "a pattern of names": "",
    "a pattern of closed names": UNKNOWN,
    "a pattern of the names left over": UNKNOWN,
    "a pattern of a policy": "",
    "a large pattern on large text": TOO_MUCH,
    "references that double at each level of the inputs": TOO_MUCH,
    "defaults by many ways": TOO_MUCH,
    "properties left over by many ways": TOO_MUCH,
    "alternatives over a large value": TOO_MUCH,
    "items left over of many": TOO_MUCH,
    "names left over with marks": "is not an input of this template",
    "a list looked through often": TOO_MUCH,
    "unique mappings": "",
    "unknown names": "did you mean 'name_0'?",
    "a schema that doubles": "the schema comes to more than 5000, each $ref written out",
    "a long chain": TOO_LARGE,
    "a deep chain": "the schema comes to more than 5000, each $ref written out",
    "a large constant": "the schema holds more than 50000 values",
    "many unknown keywords": TOO_LARGE,
    "many large patterns": "the patterns up to this one are too large together",
    "many bad patterns": "is too large once its repeats are written out",
    "aliases of aliases": "the file grows too large once its aliases are expanded",
    "keys that stand there often": "the key 'a' stands here twice",
    "many expressions in one text": "the template has more expressions than can be read",
    "each in a list": WORK,
    "large text sorted often": WORK,
    "a long path on many items": WORK,
    "large values compared often": WORK,
    "conditions of many steps": WORK,
}


@pytest.fixture(scope="module")
def answers() -> dict[str, list[str]]:
    """What each case that ended gave. The others kept their process busy until it was ended."""
    command = [sys.executable, "-m", "tests.unit.compiler.hostile_text"]
    try:
        done = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, timeout=PATIENCE, check=True
        )
        said = done.stdout
    except subprocess.TimeoutExpired as late:
        said = late.stdout or b""
    return dict(json.loads(line) for line in said.splitlines())


@pytest.mark.parametrize("case", EXPECTED)
def test_a_hostile_text_is_answered(case: str, answers: Mapping[str, list[str]]):
    assert case in answers, f"only {len(answers)} cases ended"
    expected = EXPECTED[case]
    assert expected in "\n".join(answers[case])
    assert bool(answers[case]) is bool(expected)


def test_no_more_is_told_than_anybody_reads(answers: Mapping[str, list[str]]):
    assert max(len(said) for said in answers.values()) <= 200


def test_every_case_is_looked_at(answers: Mapping[str, list[str]]):
    assert answers.keys() == EXPECTED.keys()
