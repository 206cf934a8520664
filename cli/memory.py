"""`factory memory`: search what was learned."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any

import typer

from cli.as_json import print_json, without
from cli.door import open_door
from cli.options import Json, Tenant
from cli.text import one_line
from factory_runtime.domain.memory import Collection, Memory, Recalled

app = typer.Typer(help="Search what was learned.", no_args_is_help=True)


@app.callback()
def _memory() -> None:
    """Search what was learned."""


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What you need, in a few words.")],
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many to show.")] = 5,
    project: Annotated[str | None, typer.Option(help="Only what this project learned.")] = None,
    collection: Annotated[
        list[Collection] | None, typer.Option(help="Where to look; runs and templates by default.")
    ] = None,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Find runs and templates by what they mean, not by their words."""
    from factory_runtime.ports import RecallQuery

    door = open_door(tenant=tenant, json=json)
    asked = RecallQuery(
        text=query,
        collections=tuple(collection or (Collection.RUNS, Collection.TEMPLATES)),
        project_id=project,
        limit=limit,
    )
    found = door.desk.recall(asked)
    if json:
        print_json({"results": [recalled_as_json(one) for one in found]})
        return
    if not found:
        door.screen.line("nothing like that is remembered")
        return
    door.screen.table(
        ("alike", "kind", "id", "project", "outcome", "made", "what"),
        [_row(one) for one in found],
        flexible=("what",),
    )


def recalled_as_json(one: Recalled) -> dict[str, Any]:
    """A memory with its likeness, without its vector."""
    return {"score": round(one.score, 4), **without(one.memory, "vector")}


def _row(one: Recalled) -> tuple[str, ...]:
    memory = one.memory
    template = f"{memory.template_id} {memory.template_version}" if memory.template_id else ""
    return (
        f"{one.score:.2f}",
        memory.collection,
        memory.run_id or template or memory.id,
        memory.project_id or "",
        memory.outcome or "",
        made_by(memory),
        one_line(memory.title),
    )


def made_by(memory: Memory) -> str:
    """The repositories that a remembered run made, by name."""
    urls: list[str] = memory.facts.get("repositories") or []
    return one_line(", ".join(PurePosixPath(url).name.removesuffix(".git") for url in urls))
