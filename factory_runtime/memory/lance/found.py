"""What the ways of searching found, put together and ranked.

Imports numpy, so import it only where something is searched.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory_runtime.domain.memory import Kind, Memory, Recalled
from factory_runtime.domain.ranking import (
    ALIKE,
    Candidate,
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

    ids: list[str]
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
    columns = [answer.select(SHOWN).to_pydict() for answer in answers]
    texts = [columns[number]["text"][place] for number, place in rows.places]

    def near(row: int) -> Collection[int]:
        alike = np.flatnonzero(rows.vectors @ rows.vectors[row] >= ALIKE)
        return {*alike.tolist(), *(n for n, text in enumerate(texts) if text == texts[row])}

    def read(row: int) -> Memory:
        number, place = rows.places[row]
        return memory_of({name: of[place] for name, of in columns[number].items()}, tenant_id)

    candidates = [
        Candidate(id_, float(likeness[row]), rows.words[row], partial(read, row))
        for row, id_ in enumerate(rows.ids)
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
    row_of: dict[str, int] = {}
    places: list[tuple[int, int]] = []
    words: list[float | None] = []
    vectors = [np.empty((0, dimensions))]
    for number, answer in enumerate(answers):
        scores = answer["_score"].to_pylist() if "_score" in answer.column_names else None
        # A kind that a later version writes is nothing that we could show.
        kinds = zip(answer["id"].to_pylist(), answer["kind"].to_pylist(), strict=True)
        for place, (id_, kind) in enumerate(kinds):
            if kind not in _KINDS:
                continue
            if id_ not in row_of:
                row_of[id_] = len(row_of)
                places.append((number, place))
                words.append(None)
            if scores is not None:
                words[row_of[id_]] = scores[place]
        new = [place for of, place in places if of == number]
        vectors.append(_vectors(answer, dimensions)[new])
    return _Rows(list(row_of), places, _unit(np.concatenate(vectors)), words)


def _vectors(answer: Any, dimensions: int) -> Floats:
    flat = answer["vector"].combine_chunks().flatten()
    return np.asarray(flat, dtype=np.float64).reshape(-1, dimensions)


def _unit(vectors: Floats) -> Floats:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
