"""`factory memory search`: what was learned, by what it means."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.as_json import print_json
from cli.door import open_door
from cli.options import Json, Tenant
from cli.recalled import recalled_as_json, show_recalled
from cli.where import moment_of
from factory_runtime.domain.memory import Collection, Kind

Query = Annotated[str, typer.Argument(help="What you need, in a few words.")]
Kinds = Annotated[list[Kind] | None, typer.Option("--kind", help="Only of it; repeat it for more.")]
Collections = Annotated[
    list[Collection] | None,
    typer.Option("--collection", help="Where to look; runs and templates by default."),
]


def search(
    query: Query,
    kind: Kinds = None,
    collection: Collections = None,
    project: Annotated[str | None, typer.Option(help="Only what this project learned.")] = None,
    template: Annotated[str | None, typer.Option(help="Only what is about it.")] = None,
    outcome: Annotated[str | None, typer.Option(help="How it ended, like succeeded.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only what was learned since, like 7d.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only what was learned before.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            help="As SQL has it, like \"outcome = 'failed' and template = 'microservice'\".",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many to show.")] = 5,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Find what was learned by what it means, and by its words."""
    from factory_runtime.ports import RecallQuery
    from factory_runtime.wire.memory import places_of

    door = open_door(tenant=tenant, json=json)
    now, kinds = door.desk.now(), tuple(kind) if kind else None
    asked = RecallQuery(
        text=query,
        collections=places_of(tuple(collection or ()), kinds),
        kinds=kinds,
        project_id=project,
        template_id=template,
        outcome=outcome,
        since=None if since is None else moment_of(since, now, "--since"),
        until=None if until is None else moment_of(until, now, "--until"),
        limit=limit,
    )
    found = door.desk.recall(asked, where)
    if json:
        print_json({"results": [recalled_as_json(one) for one in found]})
        return
    if not found:
        door.screen.line("nothing like that is remembered")
    for number, one in enumerate(found, 1):
        show_recalled(door.screen, number, one)
