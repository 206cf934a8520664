"""Which step waits for which, and in what order they can be done."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from factory_runtime.domain.template import Step

Needs = Mapping[str, Sequence[str]]
_MAX_CYCLES = 20


def effective_needs(steps: Sequence[Step]) -> dict[str, list[str]]:
    """Every step's needs, its own first, with what fallbacks add; unknown names left out.

    A fallback waits for the steps it stands in for, and whoever needs such a step waits for its
    fallback too.
    """
    names = {step.name for step in steps}
    fallback_of = {
        step.name: step.on_failure.fallback
        for step in steps
        if step.on_failure.fallback in names and step.on_failure.fallback != step.name
    }
    stands_in: dict[str, list[str]] = {}
    for name, fallback in fallback_of.items():
        stands_in.setdefault(str(fallback), []).append(name)
    found: dict[str, list[str]] = {}
    for step in steps:
        own = [need for need in step.needs if need in names]
        needs = dict.fromkeys([*own, *stands_in.get(step.name, ())])
        for need in list(needs):
            fallback = fallback_of.get(need)
            while fallback is not None and fallback != step.name and fallback not in needs:
                needs[fallback] = None
                fallback = fallback_of.get(fallback)
        found[step.name] = list(needs)
    return found


def plan_order(needs: Needs) -> list[str]:
    """The names, each after its needs, else as declared. Those in or behind a cycle are missing."""
    position = {name: number for number, name in enumerate(needs)}
    open_needs = {name: len(of) for name, of in needs.items()}
    behind: dict[str, list[str]] = {name: [] for name in needs}
    for name, of in needs.items():
        for need in of:
            behind[need].append(name)
    names = list(needs)
    ready = [position[name] for name in names if not open_needs[name]]
    order: list[str] = []
    while ready:
        name = names[heapq.heappop(ready)]
        order.append(name)
        for next_ in behind[name]:
            open_needs[next_] -= 1
            if not open_needs[next_]:
                heapq.heappush(ready, position[next_])
    return order


def cycles(needs: Needs) -> Iterator[list[str]]:
    """Circles of steps that need each other, each begun with the step declared first."""
    left = {name: list(of) for name, of in needs.items()}
    position = {name: number for number, name in enumerate(needs)}
    for _ in range(_MAX_CYCLES):
        try:
            TopologicalSorter(left).prepare()
        except CycleError as error:
            # It comes as "needed by", closed; people read it as "needs".
            circle: list[str] = list(reversed(error.args[1][1:]))
        else:
            return
        start = circle.index(min(circle, key=position.__getitem__))
        yield circle[start:] + circle[:start]
        gone = set(circle)
        left = {
            name: [need for need in of if need not in gone]
            for name, of in left.items()
            if name not in gone
        }


class Ancestors:
    """Everything a step waits for, directly or not. One bit per step keeps 10,000 steps small."""

    def __init__(self, needs: Needs, order: Sequence[str]) -> None:
        self._bit = {name: 1 << number for number, name in enumerate(order)}
        self._above: dict[str, int] = {}
        for name in order:
            above = 0
            for need in needs[name]:
                above |= self._above[need] | self._bit[need]
            self._above[name] = above

    def waits_for(self, step: str, other: str) -> bool:
        """Whether ``other`` has ended when ``step`` begins."""
        return bool(self._above[step] & self._bit.get(other, 0))
