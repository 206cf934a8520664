"""How good a search is: questions with known answers, and what is counted of what it found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from factory_runtime.domain.memory import Collection, Memory

RIGHT = 2
"""The grade of a document that answers a question; 1 is one that helps."""

EVALUATION_TENANT = "evaluation"
"""Whose memories the documents of a labelled set are."""

DEPTH = 10
"""How many documents are looked at for nDCG."""


class Half(StrEnum):
    """A search is tuned on one half of the questions, and judged by the other."""

    TUNE = "tune"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody might look for, and what should be found.

    Attributes:
        collection: what the right documents are in.
        style: how it is asked, like ``identifier`` or ``paraphrase``.
        relevant: grades by the ids of documents; at least one is ``RIGHT``.
        near_misses: ids of documents that look like an answer and are none.
    """

    id: str
    collection: Collection
    half: Half
    style: str
    query: str
    relevant: Mapping[str, int]
    near_misses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Documents, and questions whose labels were written before anything was searched."""

    documents: tuple[Memory, ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Quality:
    """How well questions were answered: means over them, 0 to 1.

    Attributes:
        questions: how many.
        hit_at_1, hit_at_3: where the first, or one of the first three, was right.
        mrr: mean reciprocal rank of the first that was right, 0 where none was found (Voorhees,
            "The TREC-8 Question Answering Track Report", 1999).
        ndcg_at_10: discounted cumulative gain by that of the best order there could be (Järvelin
            and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", 2002), with the
            gain 2^grade - 1 (Burges et al., "Learning to rank using gradient descent", 2005).
        near_miss_first: where a near-miss stood above all that was right. Less is better.
    """

    questions: int
    hit_at_1: float
    hit_at_3: float
    mrr: float
    ndcg_at_10: float
    near_miss_first: float


def quality(questions: Sequence[Question], found: Mapping[str, Sequence[str]]) -> Quality:
    """How well they were answered.

    Args:
        questions: all that were asked; without any, every mean is 0.
        found: the ids of documents, the best first and each once, by the id of the question.
    """
    if not questions:
        return Quality(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    asked = [(question, found[question.id]) for question in questions]
    ranks = [_first_right(question, ids) for question, ids in asked]
    return Quality(
        questions=len(questions),
        hit_at_1=fmean(rank <= 1 for rank in ranks),
        hit_at_3=fmean(rank <= 3 for rank in ranks),
        mrr=fmean(1 / rank for rank in ranks),
        ndcg_at_10=fmean(_ndcg(question, ids) for question, ids in asked),
        near_miss_first=fmean(
            any(rank < first for rank, id_ in enumerate(ids, 1) if id_ in question.near_misses)
            for (question, ids), first in zip(asked, ranks, strict=True)
        ),
    )


def _first_right(question: Question, ids: Sequence[str]) -> float:
    """The rank of the first right one, from 1; infinite where there is none."""
    ranks = (rank for rank, id_ in enumerate(ids, 1) if question.relevant.get(id_) == RIGHT)
    return next(ranks, math.inf)


def _ndcg(question: Question, ids: Sequence[str]) -> float:
    best = sorted(question.relevant.values(), reverse=True)
    return _gain([question.relevant.get(id_, 0) for id_ in ids]) / _gain(best)


def _gain(grades: Sequence[int]) -> float:
    return sum((2**grade - 1) / math.log2(rank + 1) for rank, grade in enumerate(grades[:DEPTH], 1))
