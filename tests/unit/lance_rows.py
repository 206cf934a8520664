"""Rows with vectors of their own, and looks into what LanceDB keeps of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from factory_runtime.domain.memory import Embedded, Kind, Memory
from factory_runtime.memory.lance import LanceMemoryIndex, Place
from factory_runtime.memory.lance.tables import Tables
from factory_runtime.ports import RecallQuery


@dataclass
class Given:
    """An embedder that only says whose vectors they are."""

    model: str = "given"
    version: str = "1"
    dimensions: int = 2

    def embed(self, texts: Any) -> list[tuple[float, ...]]:
        raise NotImplementedError


def a_row(id_: str, axis: int = 0, dimensions: int = 2, **changes: Any) -> Embedded:
    memory = Memory(
        id=id_,
        tenant_id="acme",
        kind=Kind.RUN,
        title=id_,
        text=f"told of {id_}",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    vector = tuple(1.0 if place == axis else 0.5 for place in range(dimensions))
    return Embedded(replace(memory, **changes), vector)


def found(index: LanceMemoryIndex, dimensions: int = 2, **query: Any) -> list[str]:
    asked = RecallQuery("🏭", **query)
    return sorted(
        id_
        for r in index.search("acme", asked, (1.0,) * dimensions)
        for id_ in (r.memory.id, *r.folded)
    )


def tables(folder: Path) -> Tables:
    return Tables(Place(str(folder)), "given", "1", 2)


def open_table(folder: Path) -> Any:
    return tables(folder).find("acme")


def all_rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Every column of every row, vectors too, by id."""
    return {row["id"]: row for row in open_table(folder).to_arrow().to_pylist()}


def files_with(folder: Path, text: bytes) -> list[str]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [file.name for file in files if text in file.read_bytes()]
