"""How a search is measured, on a set that is small enough to reckon by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from factory_runtime.domain.memory import Collection, Kind, Memory
from factory_runtime.domain.retrieval import EVALUATION_TENANT, Half, LabelledSet, Question
from factory_runtime.memory.in_memory import InMemoryMemoryIndex
from factory_runtime.services.evaluate_recall import RecallEvaluation, Way, evaluate_recall

MEANINGS = {
    "lock is held": (1.0, 0.0, 0.0),
    "lease was lost": (0.0, 1.0, 0.0),
    "retry with backoff": (0.0, 0.0, 1.0),
    "who holds the lock": (0.6, 0.8, 0.0),
    "try again later": (0.0, 0.1, 0.9),
}


class Given:
    """Meanings as they are given; counts what it is asked for."""

    model = "given"
    version = "1"
    dimensions = 3

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        self.asked += texts
        return [MEANINGS[text] for text in texts]


def a_document(id_: str, kind: Kind, text: str) -> Memory:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Memory(id_, EVALUATION_TENANT, kind, text, text, at)


def a_question(id_: str, collection: Collection, half: Half, style: str, query: str) -> Question:
    right, *near = {"runs": ["lock", "lease"], "code": ["retry", "lock"]}[collection]
    return Question(id_, collection, half, style, query, {right: 2}, tuple(near))


SMALL = LabelledSet(
    documents=(
        a_document("lock", Kind.RUN, "lock is held"),
        a_document("lease", Kind.RUN, "lease was lost"),
        a_document("retry", Kind.CODE, "retry with backoff"),
    ),
    questions=(
        a_question("q1", Collection.RUNS, Half.TUNE, "question", "who holds the lock"),
        a_question("q2", Collection.CODE, Half.TEST, "paraphrase", "try again later"),
    ),
)


@pytest.fixture(scope="module")
def embedder() -> Given:
    return Given()


@pytest.fixture(scope="module")
def evaluation(embedder: Given) -> RecallEvaluation:
    return evaluate_recall(SMALL, embedder, InMemoryMemoryIndex(embedder))


def test_it_says_what_was_measured(evaluation: RecallEvaluation) -> None:
    assert (evaluation.model, evaluation.documents) == ("given/1", 3)


def test_every_text_is_embedded_once(evaluation: RecallEvaluation, embedder: Given) -> None:
    del evaluation
    assert sorted(embedder.asked) == sorted(MEANINGS)


def test_each_way_finds_what_it_can(evaluation: RecallEvaluation) -> None:
    # By meaning the lease is first for the question about the lock, by words the lock.
    by_meaning = evaluation.of(Way.MEANING, Half.TUNE)
    assert (by_meaning.mrr, by_meaning.near_miss_first) == (0.5, 1.0)
    assert evaluation.of(Way.WORDS, Half.TUNE).hit_at_1 == 1.0
    # No word of the other question stands in what answers it.
    assert evaluation.of(Way.MEANING, Half.TEST).hit_at_1 == 1.0
    assert evaluation.of(Way.WORDS, Half.TEST).hit_at_3 == 0.0
    assert evaluation.of(Way.DEFAULT, Half.TEST).hit_at_1 == 1.0


@pytest.mark.parametrize("way", Way)
def test_styles_and_collections_are_told_apart(evaluation: RecallEvaluation, way: Way) -> None:
    groups = {
        (one.half, one.style or one.collection): one.quality.questions
        for one in evaluation.measured
        if one.way is way
    }
    assert {group for group, questions in groups.items() if questions} == {
        (Half.TUNE, None),
        (Half.TUNE, "question"),
        (Half.TUNE, Collection.RUNS),
        (Half.TEST, None),
        (Half.TEST, "paraphrase"),
        (Half.TEST, Collection.CODE),
    }
    assert len(groups) == 2 * (1 + 2 + len(Collection))


def test_a_set_without_anything_measures_nothing(embedder: Given) -> None:
    evaluation = evaluate_recall(LabelledSet((), ()), embedder, InMemoryMemoryIndex(embedder))
    assert evaluation.documents == 0
    assert not any(one.quality.questions for one in evaluation.measured)
