"""The moments in the life of a job at which a process may die."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Point(StrEnum):
    """Where a process is killed, in the order in which a job comes by.

    An effect that a job type makes by itself is only known by what it says of it: ``INTENDED`` is
    its ``BEFORE_EFFECT``, and that its ``publish`` has returned its ``AFTER_EFFECT``.
    """

    CLAIMED = "claimed"
    INTENDED = "intended"
    BEFORE_EFFECT = "before-effect"
    AFTER_EFFECT = "after-effect"
    BEFORE_COMMIT = "before-commit"
    AFTER_COMMIT = "after-commit"


CRASH_POINTS = (
    Point.CLAIMED,
    Point.BEFORE_EFFECT,
    Point.AFTER_EFFECT,
    Point.BEFORE_COMMIT,
    Point.AFTER_COMMIT,
)
"""The points that people name; ``INTENDED`` is how we see one of them."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A job has come to a point; at those of an effect, with which kind of effect."""

    point: Point
    job: str
    effect: str | None = None


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """One kill: where it is said to happen, and the moment at which it does."""

    point: Point
    job: str
    effect: str | None
    trap: Moment


def crash_points(
    job: str, effects: Iterable[str], reached: Collection[Moment]
) -> tuple[CrashPoint, ...]:
    """Every point of one job, whether or not the undisturbed run was seen to come by.

    Args:
        job: its name in the plan.
        effects: the kinds of its effects that stand in the ledger.
        reached: the moments of the undisturbed run; they tell the order of effects, and those
            that stand in no ledger.
    """
    seen = [moment.effect for moment in reached if moment.job == job and moment.effect]
    return (
        _at(Point.CLAIMED, job),
        *(
            point
            for effect in dict.fromkeys([*seen, *effects])
            for point in _around(job, effect, reached)
        ),
        _at(Point.BEFORE_COMMIT, job),
        _at(Point.AFTER_COMMIT, job),
    )


def points_of_skip(job: str) -> tuple[CrashPoint, ...]:
    """A job that is skipped is never claimed and does nothing; that it is, is committed."""
    return _at(Point.BEFORE_COMMIT, job), _at(Point.AFTER_COMMIT, job)


def _at(point: Point, job: str) -> CrashPoint:
    return CrashPoint(point, job, None, Moment(point, job))


def _around(job: str, effect: str, reached: Collection[Moment]) -> Iterable[CrashPoint]:
    asked = Moment(Point.BEFORE_EFFECT, job, effect)
    intended = Moment(Point.INTENDED, job, effect)
    by_itself = asked not in reached and intended in reached
    yield CrashPoint(Point.BEFORE_EFFECT, job, effect, intended if by_itself else asked)
    yield CrashPoint(Point.AFTER_EFFECT, job, effect, Moment(Point.AFTER_EFFECT, job, effect))
