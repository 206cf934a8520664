"""What a model is told, and what is kept of what it says."""

from __future__ import annotations

import json

import pytest

from factory_runtime.domain.memory import Kind
from factory_runtime.domain.prose import MAX_PROSE, prose_of, told_of
from tests.builders import a_memory

SECRET = "ghp_" + "a1B2" * 9


def test_a_model_is_told_the_text_the_outcome_and_what_helped_and_no_inputs() -> None:
    helped = {"words": "region eu → us", "status": "confirmed", "tried": 3, "worked": 2}
    facts = {
        "inputs": {"owner": "ada"},
        "symptom": "no room",
        "resolutions": [{**helped, "digest": "d", "changes": [{"before": "in-eu"}]}],
    }
    memory = a_memory(kind=Kind.FAILURE, outcome="failed", facts=facts)
    assert told_of(memory) == {
        "kind": "failure",
        "title": memory.title,
        "outcome": "failed",
        "text": memory.text,
        "resolutions": [
            {"change": "region eu → us", "status": "confirmed", "tried": 3, "worked": 2}
        ],
    }


def test_what_a_model_is_told_is_redacted_once_more_and_bounded() -> None:
    resolution = {"words": SECRET, "status": "candidate", "tried": 1, "worked": 1}
    memory = a_memory(
        title=f"orders {SECRET}",
        text=f"with password={SECRET} " + "and so on " * 10_000,
        facts={"resolutions": [resolution] * 50},
    )
    told = json.dumps(told_of(memory))
    assert SECRET not in told
    assert len(told) < 10_000


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("It was\nmade.\r\n\r\n\tTwice.", "It was made. Twice."),
        ("\x1b[2J\x07red\x9b31m\x00", "[2Jred 31m"),
        ("left\u202eright\u200b\ufeff", "leftright"),
        ("half \ud800 a pair", "half ? a pair"),
        ("\u2028 \u0085", ""),
        ("", ""),
        (f"the key is {SECRET}", "the key is (redacted)"),
        (f"the key is {SECRET[:9]}\u200b{SECRET[9:]}", "the key is (redacted)"),
        ("password: hunter2-and-more", "password: (redacted)"),
    ],
)
def test_an_answer_is_one_paragraph_without_secrets_and_control_characters(
    said: str, kept: str
) -> None:
    assert prose_of(said).replace(" red", "red") == kept


def test_an_answer_is_bounded() -> None:
    assert len(prose_of("word " * 200_000)) <= MAX_PROSE
    assert len(prose_of("x" * 1_000_000)) <= MAX_PROSE
