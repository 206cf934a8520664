"""Which later try stands behind which failure, and what was otherwise in it."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from factory_runtime.domain.circumstances import Circumstances
from factory_runtime.domain.difference import Difference, difference
from factory_runtime.domain.memory import Observation, ObservationKind

WITHIN = timedelta(days=30)
"""A success of another run, later than this after a failure, has nothing to do with it."""

OWN = "own"
"""Fact of a success: the jobs that had failed in an earlier cycle of the run are those that did it."""


@dataclass(frozen=True, slots=True)
class Try:
    """What was tried behind a failure.

    Attributes:
        place: the cycle of the run that tried it.
        is_own: a later cycle of the run that failed: somebody meant it to help.
    """

    difference: Difference
    worked: bool
    is_own: bool
    place: tuple[str, int]
    at: datetime
    project_id: str | None


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """An observation, its circumstances read once."""

    one: Observation
    so: Circumstances = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "so", Circumstances.from_facts(self.one.facts.get("so")))

    @property
    def failed(self) -> bool:
        return self.one.kind is ObservationKind.FAILED

    @property
    def inputs(self) -> str:
        return self.so.inputs_digest


def tries_of(observations: Sequence[Observation]) -> list[Try]:
    """What was tried behind the failures of one subject; the oldest observation comes first.

    A run that went round again is compared with itself. One that did not is compared with what
    succeeded after it in the same step, template and project: the first run of the same inputs, and
    the first of any. A success stands behind one failure: the newest of the same inputs, else the
    newest.
    """
    lines: dict[tuple[str, str, str], list[_Seen]] = defaultdict(list)
    for one in observations:
        lines[one.project_id or "", str(one.facts.get("template")), one.step].append(_Seen(one))
    found: list[Try] = []
    for line in lines.values():
        own, left = _own_tries(line)
        found += [*own, *_successes_of_others(line, left), *_failures_of_others(line)]
    return found


def _own_tries(line: Sequence[_Seen]) -> tuple[list[Try], list[_Seen]]:
    """Tries of runs that went round again, and the last failures of runs that got over none."""
    tries: list[Try] = []
    left: list[_Seen] = []
    by_run: dict[str, list[_Seen]] = defaultdict(list)
    for seen in line:
        if seen.failed or seen.one.facts.get(OWN):
            by_run[seen.one.run_id].append(seen)
    for cycles in by_run.values():
        failure: _Seen | None = None
        for seen in sorted(cycles, key=lambda seen: seen.one.cycle):
            if failure is not None:
                tries.append(_try(failure, seen, is_own=True))
            failure = seen if seen.failed else None
        if failure is not None:
            left.append(failure)
    return tries, left


def _successes_of_others(line: Sequence[_Seen], left: Iterable[_Seen]) -> Iterator[Try]:
    succeeded = [seen for seen in line if not seen.failed]
    alike: dict[str, list[_Seen]] = defaultdict(list)
    for seen in succeeded:
        alike[seen.inputs].append(seen)
    behind: dict[int, list[_Seen]] = defaultdict(list)
    for failure in sorted(left, key=lambda seen: (seen.one.at, seen.one.run_id)):
        firsts = (_first_after(failure, some) for some in (succeeded, alike[failure.inputs]))
        for success in {id(first): first for first in firsts if first is not None}.values():
            behind[id(success)].append(failure)
    settled = set[int]()
    for success in succeeded:
        open_ones = [one for one in behind.get(id(success), ()) if id(one) not in settled]
        same = [one for one in open_ones if one.inputs == success.inputs]
        if open_ones:
            chosen = (same or open_ones)[-1]
            settled.update(map(id, (chosen, *same)))
            yield _try(chosen, success, is_own=False)


def _first_after(failure: _Seen, succeeded: Sequence[_Seen]) -> _Seen | None:
    """The first success of another run; they are in the order of their times."""
    begin = bisect_left(succeeded, failure.one.at, key=lambda seen: seen.one.at)
    for seen in succeeded[begin:]:
        if seen.one.at > failure.one.at + WITHIN:
            return None
        if seen.one.run_id != failure.one.run_id:
            return seen
    return None


def _failures_of_others(line: Sequence[_Seen]) -> Iterator[Try]:
    """Runs that failed as another one had that nobody had got over; later cycles are no others."""
    runs = set[str]()
    last: _Seen | None = None
    alike: dict[str, _Seen] = {}
    for seen in line:
        if not seen.failed:
            last, alike = None, {}
            continue
        before = alike.get(seen.inputs) or last
        is_another = before is not None and seen.one.run_id not in runs
        if before is not None and is_another and seen.one.at - before.one.at <= WITHIN:
            yield _try(before, seen, is_own=False)
        runs.add(seen.one.run_id)
        last = alike[seen.inputs] = seen


def _try(failure: _Seen, later: _Seen, *, is_own: bool) -> Try:
    return Try(
        difference=difference(failure.so, later.so, same_run=is_own),
        worked=not later.failed,
        is_own=is_own,
        place=(later.one.run_id, later.one.cycle),
        at=later.one.at,
        project_id=later.one.project_id,
    )
