"""What the ways of searching found, put together and ranked.

Imports numpy, so import it only where something is searched.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory_runtime.domain.memory import Kind, Memory, Recalled
from factory_runtime.domain.ranking import (
    ALIKE,
    FOLD_AMONG,
    WORDS_WEIGHT,
    Candidate,
    full_words,
    rank,
)
from factory_runtime.memory.lance.rows import SHOWN, memory_of
from factory_runtime.ports import RecallQuery

Floats = NDArray[np.float64]

_KINDS = {kind.value for kind in Kind}


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of all answers, each id once.

    Attributes:
        places: in which answer a row stands, and where in it.
    """

    places: list[tuple[int, int]]
    vectors: Floats
    words: list[float | None]


def ranked(
    answers: Sequence[Any],
    tenant_id: str,
    query: RecallQuery,
    vector: Sequence[float],
    words_asked: int,
) -> tuple[Recalled, ...]:
    """The best first. Answers are Arrow's tables; those of a search for words have ``_score``."""
    rows = _together(answers, len(vector))
    likeness = rows.vectors @ _unit(np.asarray([vector], dtype=np.float64))[0]
    chosen = _promising(likeness, rows.words, query, words_asked)
    vectors = rows.vectors[chosen]

    def near(place: int) -> Collection[int]:
        return {int(other) for other in np.flatnonzero(vectors @ vectors[place] >= ALIKE)}

    memories = _memories(answers, [rows.places[row] for row in chosen], tenant_id)
    candidates = [
        Candidate(memory, float(likeness[row]), rows.words[row])
        for memory, row in zip(memories, chosen, strict=True)
    ]
    return rank(
        candidates,
        limit=query.limit,
        words_weight=query.words_weight,
        newest=query.newest,
        words_asked=words_asked,
        near=near,
    )


def _together(answers: Sequence[Any], dimensions: int) -> _Rows:
    numbers: dict[str, int] = {}
    rows = _Rows([], np.empty((0, dimensions)), [])
    kept: list[Floats] = []
    for number, answer in enumerate(answers):
        scores = answer["_score"].to_pylist() if "_score" in answer.column_names else None
        new: list[int] = []
        # A kind that a later version writes is nothing that we could show.
        kinds = zip(answer["id"].to_pylist(), answer["kind"].to_pylist(), strict=True)
        for place, (id_, kind) in enumerate(kinds):
            if kind not in _KINDS:
                continue
            if id_ not in numbers:
                numbers[id_] = len(numbers)
                rows.places.append((number, place))
                rows.words.append(None)
                new.append(place)
            if scores is not None:
                rows.words[numbers[id_]] = scores[place]
        kept.append(_vectors(answer, dimensions)[new])
    return _Rows(rows.places, _unit(np.concatenate([rows.vectors, *kept])), rows.words)


def _vectors(answer: Any, dimensions: int) -> Floats:
    flat = answer["vector"].combine_chunks().flatten()
    return np.asarray(flat, dtype=np.float64).reshape(-1, dimensions)


def _unit(vectors: Floats) -> Floats:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _promising(
    likeness: Floats, words: list[float | None], query: RecallQuery, words_asked: int
) -> list[int]:
    """The rows that can be among the best: only these are made into memories."""
    weight = WORDS_WEIGHT if query.words_weight is None else query.words_weight
    stood = np.asarray([score or 0.0 for score in words])
    full = full_words(words, words_asked) or 1.0
    scores = (1 - weight) * np.clip(likeness, 0.0, 1.0) + weight * stood / full
    count = FOLD_AMONG * query.limit
    return [int(row) for row in np.argsort(-scores, kind="stable")[:count]]


def _memories(
    answers: Sequence[Any], places: Sequence[tuple[int, int]], tenant_id: str
) -> list[Memory]:
    """In the order of their places."""
    found: dict[tuple[int, int], Memory] = {}
    for number, answer in enumerate(answers):
        wanted = [place for of, place in places if of == number]
        if wanted:
            rows = answer.select(SHOWN).take(wanted).to_pylist()
            for place, row in zip(wanted, rows, strict=True):
                found[number, place] = memory_of(row, tenant_id)
    return [found[place] for place in places]
