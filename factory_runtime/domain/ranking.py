"""In which order memories are shown: meaning and words weighed, near-duplicates as one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from heapq import heappop, heappush
from itertools import islice
from typing import NamedTuple

from factory_runtime.domain.memory import Kind, Memory, Recalled

WORDS_WEIGHT = 0.2
"""How much words count beside meaning, where a query does not say."""

FULL_WORD = 4.5
"""What BM25 gives, about, for one word that stands in hardly any other memory.

Where the best has less than that for each word of the query, words say less: the best of a bad lot
would else be raised as if the query had quoted it.
"""

SUPERSEDED_FACTOR = 0.8
"""What is left of the score of a memory that something newer has taken the place of."""

ALIKE = 0.97
"""From this cosine on, the texts of two memories say nearly the same."""

FOLD_AMONG = 10
"""Duplicates are looked for among the best, so many times the limit: no search pays for all."""

Near = Callable[[int], Collection[int]]
"""Of the candidate at a place: the places of those that are ``ALIKE``, or have the same text."""

# Code and documents are not made another one by a new version of the template.
_OF_A_VERSION = frozenset({Kind.TEMPLATE, Kind.RUN, Kind.FAILURE, Kind.SUCCESS})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A memory that may be shown.

    Attributes:
        likeness: cosine of its vector and the query's.
        words: its BM25 score; None where no word of the query stands in it.
        read: the memory; asked, once, only of those that may be shown or folded.
    """

    id: str
    likeness: float
    words: float | None
    read: Callable[[], Memory]


class _Weighed(NamedTuple):
    score: float
    likeness: float
    words: float


def rank(
    candidates: Sequence[Candidate],
    *,
    limit: int,
    words_weight: float | None = None,
    newest: Mapping[str, str] | None = None,
    words_asked: int = 0,
    near: Near = lambda _place: (),
) -> tuple[Recalled, ...]:
    """The best first, by id where they are equal.

    Args:
        candidates: each memory once.
        limit: how many are shown, not counting what is folded into them.
        words_weight: 0 is meaning alone; 1 is words alone, and who has none of them is not found;
            None is ``WORDS_WEIGHT``.
        newest: of templates, the newest version by id.
        words_asked: how many words were looked for.
        near: asked once for each memory that is shown.
    """
    weight = WORDS_WEIGHT if words_weight is None else words_weight
    full = _full_words((candidate.words for candidate in candidates), words_asked)
    weighed = [_weighed(one, weight, full) for one in candidates]
    best = sorted(
        (-weighed[place].score, one.id, place)
        for place, one in enumerate(candidates)
        if weight < 1 or one.words is not None
    )

    @cache
    def read(place: int) -> Recalled:
        return _read(candidates[place], weighed[place], newest or {})

    beyond = iter([place for _, _, place in best[FOLD_AMONG * limit :]])
    foldable = {place for _, _, place in best[: FOLD_AMONG * limit]}
    gone = set[int]()
    # By the score that they have if nothing has superseded them: most are never read.
    waiting = [(score, id_, place, False) for score, id_, place in best]
    shown: list[Recalled] = []
    while waiting and len(shown) < limit:
        _, id_, place, is_demoted = heappop(waiting)
        if place in gone:
            continue
        head = read(place)
        if head.superseded is not None and not is_demoted:
            heappush(waiting, (-head.score, id_, place, True))
            foldable.update(islice(beyond, 1))  # one less is among the best
            continue
        gone.add(place)
        others = (foldable - gone).intersection(near(place))
        alike = [one for one in others if _are_one(read(one), head)]
        gone.update(alike)
        twins = sorted(map(read, alike), key=lambda one: (-one.score, one.memory.id))
        shown.append(replace(head, folded=tuple(one.memory.id for one in twins)))
    return tuple(shown)


def superseded_by(memory: Memory, newest: Mapping[str, str]) -> str | None:
    """What has taken its place, like ``microservice 1.3.0`` or the id of a memory; None: nothing."""
    if memory.superseded_by is not None:
        return memory.superseded_by
    if memory.kind not in _OF_A_VERSION or memory.template_id is None:
        return None
    version = newest.get(memory.template_id, memory.template_version)
    if memory.template_version is None or version == memory.template_version:
        return None
    return f"{memory.template_id} {version}"


def _full_words(scores: Iterable[float | None], words_asked: int) -> float:
    """The BM25 score that counts as all that words can say."""
    best = max((score or 0.0 for score in scores), default=0.0)
    return max(best, FULL_WORD * words_asked)


def _weighed(candidate: Candidate, weight: float, full: float) -> _Weighed:
    likeness = min(max(candidate.likeness, 0.0), 1.0)
    words = (candidate.words or 0.0) / full if full > 0 else 0.0
    return _Weighed((1 - weight) * likeness + weight * words, likeness, words)


def _read(candidate: Candidate, weighed: _Weighed, newest: Mapping[str, str]) -> Recalled:
    memory = candidate.read()
    superseded = superseded_by(memory, newest)
    return Recalled(
        memory,
        weighed.score if superseded is None else weighed.score * SUPERSEDED_FACTOR,
        likeness=weighed.likeness,
        words=weighed.words,
        superseded=superseded,
    )


def _are_one(one: Recalled, other: Recalled) -> bool:
    """Whether they may be folded if they are alike: success and failure are never the same."""
    return (one.memory.kind, one.memory.outcome) == (other.memory.kind, other.memory.outcome)
