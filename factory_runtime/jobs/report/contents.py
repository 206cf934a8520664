"""What a report says, whatever it is written as. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from factory_runtime.jobs.report.fetch import minute

_COLUMNS = ("column", "values", "mean", "per row", "± error", "last", "change")


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart: PNG bytes, and its size in pixels."""

    png: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Section:
    """One source of a report.

    Attributes:
        facts: lines about it: how fresh, how much.
        is_stale: its data are a copy.
        table: the trends, the first row being the heads; empty where there is none.
        picture: None where there is none.
    """

    name: str
    facts: tuple[str, ...]
    is_stale: bool
    table: tuple[tuple[str, ...], ...]
    picture: Picture | None


@dataclass(frozen=True, slots=True)
class Contents:
    """A whole report.

    Attributes:
        notes: what is missing or approximate, a line each.
    """

    title: str
    sections: tuple[Section, ...]
    notes: tuple[str, ...]


def contents_of(
    title: str,
    names: Sequence[str],
    fetched: Mapping[str, Mapping[str, Any]],
    measured: Mapping[str, Mapping[str, Any]],
    pictures: Mapping[str, Picture],
    instead_of: str | None = None,
) -> Contents:
    """Put a report together.

    Args:
        title: of the report.
        names: of the sources that were asked for, in order.
        fetched: outputs of data-fetch, by name; those that failed are not there.
        measured: what trend-analysis found, by name.
        pictures: charts, by name; those that failed are not there.
        instead_of: the document that this one takes the place of.
    """
    notes = (
        [] if instead_of is None else [f"{instead_of} could not be written; this is in its place"]
    )
    sections: list[Section] = []
    for name in names:
        facts, found = fetched.get(name), measured.get(name)
        if facts is None:
            notes.append(f"{name}: left out; it could not be fetched, and there was no copy")
            continue
        if found is None or "failed" in found:
            notes.append(f"{name}: left out; its data could not be worked out")
            continue
        notes += _notes_of(name, facts, found, pictures)
        sections.append(_section(name, facts, found, pictures.get(name)))
    return Contents(title, tuple(sections), tuple(notes))


def _notes_of(
    name: str,
    facts: Mapping[str, Any],
    found: Mapping[str, Any],
    pictures: Mapping[str, Picture],
) -> list[str]:
    notes: list[str] = []
    if facts.get("stale"):
        notes.append(
            f"{name}: from a copy of {minute(facts['fetched_at'])}; the source did not answer"
        )
    if found["every"] > 1:
        notes.append(f"{name}: sampled 1 of {found['every']} rows, to fit into memory")
    if found["trends"] and name not in pictures:
        notes.append(f"{name}: without its chart; it could not be drawn")
    for trend in found["trends"]:
        if trend["left_out"]:
            values = "value is" if trend["left_out"] == 1 else "values are"
            notes.append(
                f"{name}, {trend['column']}: {trend['left_out']} {values} no usable number"
            )
    return notes


def _section(
    name: str, facts: Mapping[str, Any], found: Mapping[str, Any], picture: Picture | None
) -> Section:
    fresh = f"as of {minute(facts['fetched_at'])}" if facts.get("fetched_at") else "sample data"
    lines = [fresh, f"{facts['rows']:,} rows from {facts.get('location', '?')}"]
    if found["others"]:
        lines.append(f"no numbers: {', '.join(found['others'][:20])}")
    if not found["trends"]:
        lines.append("there is no column of numbers, and so no trend")
    table = (_COLUMNS, *(_row(trend) for trend in found["trends"])) if found["trends"] else ()
    return Section(name, tuple(lines), bool(facts.get("stale")), table, picture)


def _row(trend: Mapping[str, Any]) -> tuple[str, ...]:
    numbers = (trend[key] for key in ("mean", "slope", "slope_error", "last", "change"))
    return (trend["column"], f"{trend['n']:,}", *map(number, numbers))


def number(value: float | None) -> str:
    """Four digits that count; a dash where there is none."""
    return "–" if value is None else f"{value:,.4g}"
