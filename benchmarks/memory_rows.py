"""Rows to search in and questions to them, the same for everybody.

Vectors lie in clusters, as those of real texts do: a theme has a direction, and its texts stray
from it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

DIMENSIONS = 384
QUESTIONS = 200
BEST = 10
THEMES = 25
"""Of a tenant's collection."""
STRAY = 0.8
"""How far texts of one theme are from its direction: two of them are alike by some 0.6."""
_WORDS = tuple(f"{first}{last}" for first in ("or", "pay", "ship", "bil") for last in "abcdefghij")


@dataclass(frozen=True)
class Rows:
    """``tenants`` with ``each`` rows, and questions to each, made from ``seed``."""

    tenants: int
    each: int
    seed: int = 7

    @cached_property
    def vectors(self) -> Floats:
        """Unit vectors, all rows of one tenant after the other's."""
        random = np.random.default_rng(self.seed)
        return np.concatenate([self._of_tenant(random) for _ in range(self.tenants)])

    def of_tenant(self, number: int) -> Floats:
        """One tenant's."""
        return self.vectors[number * self.each : (number + 1) * self.each]

    def questions(self, count: int) -> list[tuple[int, Floats, str]]:
        """Whose it is, a vector near to some of theirs, and words of it."""
        random = np.random.default_rng(self.seed + 1)
        asked: list[tuple[int, Floats, str]] = []
        for _ in range(count):
            tenant = int(random.integers(self.tenants))
            row = int(random.integers(self.each))
            near = _unit(self.of_tenant(tenant)[row] + _noise(random, 1)[0] * np.float32(0.5))
            asked.append((tenant, near, f"{words_of(row)} again"))
        return asked

    def best(self, tenant: int, vector: Floats, count: int) -> set[int]:
        """The rows of the tenant that are most alike, exactly."""
        alike = self.of_tenant(tenant) @ vector
        return set(np.argpartition(-alike, count)[:count].tolist())

    def _of_tenant(self, random: np.random.Generator) -> Floats:
        themes = _unit(_noise(random, THEMES))
        chosen: Floats = themes[random.integers(THEMES, size=self.each)]
        noise: Floats = _noise(random, self.each) * np.float32(STRAY)
        return _unit(chosen + noise)


@dataclass(frozen=True, slots=True)
class Answers:
    """How one of them did: milliseconds, and the share of the exact best ten that it found."""

    name: str
    p50: float
    p95: float
    recall: float

    def __str__(self) -> str:
        return (
            f"{self.name:<58} p50 {self.p50:6.1f} ms   p95 {self.p95:6.1f} ms"
            f"   recall@{BEST} {self.recall:.3f}"
        )


def ask(name: str, rows: Rows, search: Callable[[int, Floats, str], set[int]]) -> Answers:
    """Put every question once, the first ten beforehand to warm up."""
    asked = rows.questions(QUESTIONS)
    # Beforehand: OpenBLAS keeps its threads spinning for a while after a product.
    wanted = [rows.best(tenant, vector, BEST) for tenant, vector, _ in asked]
    for question in asked[:BEST]:
        search(*question)
    seconds: list[float] = []
    found = 0
    for question, best in zip(asked, wanted, strict=True):
        begun = time.perf_counter()
        answer = search(*question)
        seconds.append(time.perf_counter() - begun)
        found += len(answer & best)
    cuts = statistics.quantiles(seconds, n=20)
    share = found / (BEST * QUESTIONS)
    return Answers(name, 1e3 * statistics.median(seconds), 1e3 * cuts[18], share)


def words_of(row: int) -> str:
    """The text of a row: a few words, that other rows have too."""
    return " ".join(_WORDS[(row * step + step) % len(_WORDS)] for step in (1, 3, 7, 11, 13, 17))


def _noise(random: np.random.Generator, count: int) -> Floats:
    scale = np.float32(DIMENSIONS**-0.5)
    return random.standard_normal((count, DIMENSIONS), dtype=np.float32) * scale


def _unit(vectors: Floats) -> Floats:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
