"""Threads that ask for the same kind of thing at once are answered together: a group commit, say.

Who comes while nobody is at work, works at once. Whoever comes meanwhile waits; the first of them
then works for all who wait by then. Nothing waits for company, and no answer is older than its
question.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar, cast

Q = TypeVar("Q")
A = TypeVar("A")


class _Asked(Generic[Q, A]):
    """One question: its thread waits for ``woken`` to be released."""

    __slots__ = ("answer", "is_answered", "question", "woken")

    def __init__(self, question: Q) -> None:
        self.question = question
        self.answer: A | None = None
        self.is_answered = False
        self.woken = threading.Lock()
        self.woken.acquire()


class Coalesced(Generic[Q, A]):
    """Answers questions of one key together.

    Args:
        answer: gives one answer for each question, in their order. Where it raises for several, each
            of them is asked alone, in its own thread, and raises there.
        most: questions that are answered at once.
    """

    def __init__(self, answer: Callable[[Sequence[Q]], Sequence[A]], most: int = 32) -> None:
        self._answer = answer
        self._most = most
        self._lock = threading.Lock()
        self._waiting: dict[Hashable, list[_Asked[Q, A]]] = {}

    def ask(self, key: Hashable, question: Q) -> A:
        """The answer; its question is answered together with others of this key.

        Raises:
            Exception: whatever ``answer`` raises for this question alone.
        """
        mine = _Asked[Q, A](question)
        with self._lock:
            line = self._waiting.get(key)
            if line is None:  # nobody is at work
                self._waiting[key] = []
                group = [mine]
            else:
                line.append(mine)
                group = []
        if not group:
            mine.woken.acquire()
            if not mine.is_answered:
                group = self._take(key, mine)
        if group:
            try:
                self._work(group)
            finally:
                self._hand_on(key, group, mine)
        if mine.is_answered:
            return cast("A", mine.answer)
        return self._answer([question])[0]

    def _take(self, key: Hashable, mine: _Asked[Q, A]) -> list[_Asked[Q, A]]:
        """Those to work for: nobody, where the one who worked before has failed for all of them."""
        with self._lock:
            line = self._waiting.get(key)
            if not line or line[0] is not mine:
                return []
            self._waiting[key] = line[self._most :]
            return line[: self._most]

    def _work(self, group: Sequence[_Asked[Q, A]]) -> None:
        try:
            answers = self._answer([one.question for one in group])
        except Exception:
            if len(group) == 1:
                raise
            return  # each of them finds out alone whose fault it is
        for one, answer in zip(group, answers, strict=True):
            one.answer, one.is_answered = answer, True

    def _hand_on(self, key: Hashable, group: Sequence[_Asked[Q, A]], mine: _Asked[Q, A]) -> None:
        with self._lock:
            line = self._waiting[key]
            if line:
                line[0].woken.release()
            else:
                del self._waiting[key]
        for one in group:
            if one is not mine:
                one.woken.release()
