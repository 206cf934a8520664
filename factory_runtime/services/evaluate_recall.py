"""Measure the search of the memory: questions with known answers, asked as users ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from factory_runtime.domain.memory import Collection, Embedded
from factory_runtime.domain.retrieval import (
    DEPTH,
    EVALUATION_TENANT,
    Half,
    LabelledSet,
    Quality,
    Question,
    quality,
)
from factory_runtime.ports import Embedder, MemoryIndex, RecallQuery
from factory_runtime.ports.memory import model_name

_BATCH = 64
_KEEP = timedelta(days=1)


class Way(StrEnum):
    """How a question is asked."""

    DEFAULT = "default"
    WORDS = "words"
    MEANING = "meaning"


_WORDS_WEIGHTS: Mapping[Way, float | None] = {Way.DEFAULT: None, Way.WORDS: 1.0, Way.MEANING: 0.0}


@dataclass(frozen=True, slots=True)
class Measured:
    """How well some questions of one half were answered in one way.

    Attributes:
        style, collection: which questions; all of them where both are None.
    """

    way: Way
    half: Half
    quality: Quality
    style: str | None = None
    collection: Collection | None = None


@dataclass(frozen=True, slots=True)
class RecallEvaluation:
    """What was measured.

    Attributes:
        model: that embedded the documents and the questions.
        documents: how many there were to find.
    """

    model: str
    documents: int
    measured: tuple[Measured, ...]

    def of(self, way: Way, half: Half) -> Quality:
        """Over all questions of the half."""
        return next(
            one.quality
            for one in self.measured
            if (one.way, one.half, one.style, one.collection) == (way, half, None, None)
        )


def evaluate_recall(
    labelled: LabelledSet,
    embedder: Embedder,
    index: MemoryIndex,
    ways: Sequence[Way] = tuple(Way),
) -> RecallEvaluation:
    """Index the documents, ask every question over all collections, count what was found.

    Args:
        labelled: what is indexed and asked.
        embedder: what ``index`` is of.
        index: one for this alone; what was indexed stays in it.
        ways: how each question is asked.

    Raises:
        MemoryUnavailableError: the model or the index cannot be used.
    """
    _fill(index, labelled, embedder)
    queries = _embedded([question.query for question in labelled.questions], embedder)
    asked = list(zip(labelled.questions, queries, strict=True))
    measured: list[Measured] = []
    for way in ways:
        found = {question.id: _search(index, question, vector, way) for question, vector in asked}
        measured += _measured(way, labelled.questions, found)
    return RecallEvaluation(model_name(embedder), len(labelled.documents), tuple(measured))


def _fill(index: MemoryIndex, labelled: LabelledSet, embedder: Embedder) -> None:
    vectors = _embedded([document.text for document in labelled.documents], embedder)
    rows = [Embedded(one, vector) for one, vector in zip(labelled.documents, vectors, strict=True)]
    for start in range(0, len(rows), _BATCH):
        index.upsert(EVALUATION_TENANT, rows[start : start + _BATCH])
    # An index that is kept up answers as those of users do.
    index.optimize(EVALUATION_TENANT, _KEEP)


def _embedded(texts: Sequence[str], embedder: Embedder) -> list[tuple[float, ...]]:
    return [
        vector
        for start in range(0, len(texts), _BATCH)
        for vector in embedder.embed(texts[start : start + _BATCH])
    ]


def _search(index: MemoryIndex, question: Question, vector: Sequence[float], way: Way) -> list[str]:
    query = RecallQuery(
        question.query,
        collections=tuple(Collection),
        limit=DEPTH,
        words_weight=_WORDS_WEIGHTS[way],
    )
    return [one.memory.id for one in index.search(EVALUATION_TENANT, query, vector)]


def _measured(
    way: Way, questions: Sequence[Question], found: Mapping[str, Sequence[str]]
) -> Iterator[Measured]:
    for half in Half:
        all_ = [one for one in questions if one.half is half]
        yield Measured(way, half, quality(all_, found))
        for style in sorted({one.style for one in questions}):
            asked = [one for one in all_ if one.style == style]
            yield Measured(way, half, quality(asked, found), style=style)
        for collection in Collection:
            asked = [one for one in all_ if one.collection is collection]
            yield Measured(way, half, quality(asked, found), collection=collection)
