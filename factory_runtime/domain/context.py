"""A context package as it is asked for, and as it reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from factory_runtime.domain.memory import ContextPackage, Kind, Recalled

BUDGETS = (50, 100_000)
"""Tokens: the least and the most that a package is made for."""

TTLS = (timedelta(seconds=1), timedelta(days=1))

BY_CHARACTERS = "characters/4"
"""How tokens are guessed where no model counts them."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a package is asked for.

    Attributes:
        budget: tokens, at most.
        kinds: None is any.
        project_id: what this project learned, and what belongs to none; None is all that is seen.
        projects: those that whoever asks may see; None is all.
        confidential: those of them in which they see what is confidential; None is all.
        ttl: how old the package may be, and how long it can be read.
    """

    text: str
    budget: int = 2000
    kinds: tuple[Kind, ...] | None = None
    project_id: str | None = None
    projects: tuple[str, ...] | None = None
    confidential: tuple[str, ...] | None = None
    ttl: timedelta = timedelta(minutes=5)

    @property
    def sight(self) -> tuple[str, ...] | None:
        """Projects whose memories may be in it."""
        return self.projects if self.project_id is None else (self.project_id,)


@dataclass(frozen=True, slots=True)
class Cited:
    """A memory in a package.

    Attributes:
        text: as it stands in the package, with its citation.
        tokens: of ``text``.
        is_cut: whether the budget had no room for all of it.
    """

    recalled: Recalled
    text: str
    tokens: int
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Bundle:
    """A package as it reads now.

    Attributes:
        counted_by: the model whose tokens were counted, or ``BY_CHARACTERS``.
    """

    package: ContextPackage
    cited: tuple[Cited, ...]
    counted_by: str

    @property
    def tokens(self) -> int:
        return sum(one.tokens for one in self.cited)

    @property
    def text(self) -> str:
        return "\n\n".join(one.text for one in self.cited)
