"""What a benchmark answers with: a measured ratio, and what it should be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ratio:
    """One measured ratio.

    Attributes:
        name: what is set against what, like ``five real jobs / plain Prefect``.
        measured: the ratio, mostly of medians.
        target: the most it should be; None where it is only told.
        at_least: the target is the least that it should be instead.
    """

    name: str
    measured: float
    target: float | None = None
    at_least: bool = False

    @property
    def ok(self) -> bool:
        """Whether the target is met; true where there is none."""
        if self.target is None:
            return True
        return self.measured >= self.target if self.at_least else self.measured <= self.target

    def __str__(self) -> str:
        if self.target is None:
            return f"{self.name:<52} {self.measured:8.2f}"
        bound = "at least" if self.at_least else "at most"
        verdict = "ok" if self.ok else "MISSED"
        return f"{self.name:<52} {self.measured:8.2f}   {bound:>8} {self.target:5.1f}   {verdict}"
