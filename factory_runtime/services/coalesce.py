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


class Asked(Generic[Q, A]):
    """One question: its thread waits for ``woken`` to be released; it ``leads`` where it is to work."""

    __slots__ = ("answer", "is_answered", "leads", "question", "weight", "woken")

    def __init__(self, question: Q, weight: int) -> None:
        self.question = question
        self.weight = weight
        self.answer: A | None = None
        self.is_answered = False
        self.leads = False
        self.woken = threading.Lock()
        self.woken.acquire()

    def wait(self) -> None:
        """Until it is answered, or leads, or is to be asked alone."""
        self.woken.acquire()


class Coalesced(Generic[Q, A]):
    """Answers questions of one key together.

    Args:
        answer: gives one answer for each question, in their order. Where it raises for several, each
            of them is asked alone, in its own thread, and raises there.
        most: weight that is answered at once; a question that is heavier is answered alone.
    """

    def __init__(self, answer: Callable[[Sequence[Q]], Sequence[A]], most: int = 32) -> None:
        self._answer = answer
        self._most = most
        self._lock = threading.Lock()
        self._waiting: dict[Hashable, list[Asked[Q, A]]] = {}

    def ask(self, key: Hashable, question: Q, weight: int = 1) -> A:
        """The answer; its question is answered together with others of this key.

        Raises:
            Exception: whatever ``answer`` raises for this question alone.
        """
        mine = Asked[Q, A](question, weight)
        with self._lock:
            line = self._waiting.get(key)
            if line is None:  # nobody is at work
                self._waiting[key] = []
                group = [mine]
            else:
                line.append(mine)
                group = []
        if not group:
            self._wait(key, mine)
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

    def _wait(self, key: Hashable, mine: Asked[Q, A]) -> None:
        try:
            mine.wait()
        except (
            BaseException
        ):  # a signal's handler, say: whoever is behind it must not wait for ever
            self._leave(key, mine)
            raise

    def _leave(self, key: Hashable, mine: Asked[Q, A]) -> None:
        with self._lock:
            line = self._waiting.get(key, [])
            if mine not in line:
                return
            line.remove(mine)
            if mine.leads:  # else somebody is at work, and wakes who is first then
                self._wake_next(key)

    def _wake_next(self, key: Hashable) -> None:
        if line := self._waiting[key]:
            line[0].leads = True
            line[0].woken.release()
        else:
            del self._waiting[key]

    def _take(self, key: Hashable, mine: Asked[Q, A]) -> list[Asked[Q, A]]:
        """Those to work for: nobody, where the one who worked before has failed for all of them."""
        if not mine.leads:
            return []
        with self._lock:
            line = self._waiting[key]
            weight, count = 0, 0
            while count < len(line) and (not count or weight + line[count].weight <= self._most):
                weight += line[count].weight
                count += 1
            self._waiting[key] = line[count:]
            return line[:count]

    def _work(self, group: Sequence[Asked[Q, A]]) -> None:
        try:
            answers = self._answer([one.question for one in group])
        except Exception:
            if len(group) == 1:
                raise
            return  # each of them finds out alone whose fault it is
        for one, answer in zip(group, answers, strict=True):
            one.answer, one.is_answered = answer, True

    def _hand_on(self, key: Hashable, group: Sequence[Asked[Q, A]], mine: Asked[Q, A]) -> None:
        with self._lock:
            self._wake_next(key)
        for one in group:
            if one is not mine:
                one.woken.release()
