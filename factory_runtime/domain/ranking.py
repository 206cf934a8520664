"""In which order memories are shown: meaning and words weighed, near-duplicates as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

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
"""Of the candidate at a place: the places of those that are ``ALIKE`` or more like it."""

# Code and documents are not made another one by a new version of the template.
_OF_A_VERSION = frozenset({Kind.TEMPLATE, Kind.RUN, Kind.FAILURE, Kind.SUCCESS})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A memory that may be shown.

    Attributes:
        likeness: cosine of its vector and the query's.
        words: its BM25 score; None where no word of the query stands in it.
    """

    memory: Memory
    likeness: float
    words: float | None = None


@dataclass(frozen=True, slots=True)
class _Placed:
    """A candidate with its score, and where it stood among the candidates."""

    place: int
    recalled: Recalled

    @property
    def group(self) -> tuple[Kind, str | None]:
        """Only within one of these is anything folded: success and failure are never the same."""
        return self.recalled.memory.kind, self.recalled.memory.outcome


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
    full = full_words((candidate.words for candidate in candidates), words_asked)
    placed = [
        _Placed(place, _scored(candidate, weight, full, newest or {}))
        for place, candidate in enumerate(candidates)
        if weight < 1 or candidate.words is not None
    ]
    placed.sort(key=lambda one: (-one.recalled.score, one.recalled.memory.id))
    return _folded(placed[: FOLD_AMONG * limit], limit, near)


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


def full_words(scores: Iterable[float | None], words_asked: int) -> float:
    """The BM25 score that counts as all that words can say."""
    best = max((score or 0.0 for score in scores), default=0.0)
    return max(best, FULL_WORD * words_asked)


def _scored(
    candidate: Candidate, weight: float, full: float, newest: Mapping[str, str]
) -> Recalled:
    likeness = min(max(candidate.likeness, 0.0), 1.0)
    words = (candidate.words or 0.0) / full if full > 0 else 0.0
    score = (1 - weight) * likeness + weight * words
    superseded = superseded_by(candidate.memory, newest)
    return Recalled(
        candidate.memory,
        score if superseded is None else score * SUPERSEDED_FACTOR,
        likeness=likeness,
        words=words,
        superseded=superseded,
    )


def _folded(placed: Sequence[_Placed], limit: int, near: Near) -> tuple[Recalled, ...]:
    left = {one.place: one for one in placed}
    same_text: defaultdict[str, list[int]] = defaultdict(list)
    for one in placed:
        same_text[one.recalled.memory.text_digest].append(one.place)
    shown: list[Recalled] = []
    for head in placed:
        if len(shown) == limit:
            break
        if left.pop(head.place, None) is None:
            continue
        alike = {*same_text[head.recalled.memory.text_digest], *near(head.place)} & left.keys()
        folded = [left.pop(place) for place in alike if left[place].group == head.group]
        folded.sort(key=lambda one: (-one.recalled.score, one.recalled.memory.id))
        ids = tuple(one.recalled.memory.id for one in folded)
        shown.append(replace(head.recalled, folded=ids))
    return tuple(shown)
