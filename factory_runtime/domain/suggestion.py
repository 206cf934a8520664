"""A template that fits what somebody wants, and inputs taken from runs that were asked likewise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from factory_runtime.domain.memory import Recalled


@dataclass(frozen=True, slots=True)
class NearTemplate:
    """A template that may be asked for, with how near it is to what is wanted.

    Attributes:
        score: 1 is the same, 0 unrelated: of what it says of itself, or the best memory of it.
    """

    template_id: str
    version: str
    title: str
    score: float


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What may be asked for.

    Attributes:
        template: the nearest, where it is near enough; None where nothing is.
        inputs: taken from the closest runs that succeeded, valid for the template as it is now.
        asked: names of required inputs that only who asks can say.
        because: memories that speak for it: those that inputs were taken from, then the best.
        drawn_from: ids of those that inputs were taken from.
        nearest: all that are near, the nearest first; also where none is near enough.
    """

    template: NearTemplate | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    asked: tuple[str, ...] = ()
    because: tuple[Recalled, ...] = ()
    drawn_from: tuple[str, ...] = ()
    nearest: tuple[NearTemplate, ...] = ()

    def named_by(self, project_id: str) -> tuple[str, ...]:
        """Of ``drawn_from``, what a request of this project may name: its project sees no more."""
        seen = {
            one.memory.id for one in self.because if one.memory.project_id in (None, project_id)
        }
        return tuple(id_ for id_ in self.drawn_from if id_ in seen)
