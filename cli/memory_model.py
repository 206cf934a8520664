"""`factory memory model`: change the embedding model of a memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.as_json import print_json
from cli.door import StoreDoor, open_stores
from cli.memory_keep import model_words
from cli.options import Json, Tenant

if TYPE_CHECKING:
    from factory_runtime.domain.memory import MemoryModel

app = typer.Typer(
    help="Change the embedding model: build another beside, switch to it, go back.",
    no_args_is_help=True,
)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Like all-MiniLM-L6-v2/1.")]


@app.command("list")
def list_models(tenant: Tenant = None, json: Json = False) -> None:
    """Show the models, and how far each is."""
    door = open_stores(tenant=tenant, json=json)
    found = door.runtime.migrator.progress(door.tenant)
    if json:
        print_json({"models": found})
        return
    for one in found:
        door.screen.line(model_words(one))
    if not found:
        door.screen.line("none yet: the first memory is indexed with FACTORY_EMBEDDER")


@app.command()
def build(
    embedder: Annotated[
        str, typer.Argument(metavar="EMBEDDER", help="As FACTORY_EMBEDDER has it, like light.")
    ],
    wait: Annotated[
        bool, typer.Option("--wait", help="Make its vectors now; else a sweep does.")
    ] = False,
    switch: Annotated[
        bool, typer.Option("--switch", help="Have searches use it then; implies --wait.")
    ] = False,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Begin a model, or go on with one. Searches use the active one all the while."""
    door = open_stores(tenant=tenant, json=json)
    migrator, by = door.runtime.migrator, door.desk.me().name
    door.runtime.open_embedder(embedder)  # a name that is mistyped is said to be that
    model = migrator.begin(door.tenant, embedder, by)
    if wait or switch:

        def tell(name: str, done: int, total: int) -> None:
            if not json:
                door.screen.line(f"{done} of {total} memories have a vector of {name}", "dim")
                door.screen.flush()

        migrator.build(door.tenant, model.model, tell)
    if switch:
        model = migrator.switch(door.tenant, model.model, by)
    _tell(door, model)


@app.command()
def switch(model: Model, tenant: Tenant = None, json: Json = False) -> None:
    """Have searches use a model that has all vectors; the one before is kept."""
    door = open_stores(tenant=tenant, json=json)
    _tell(door, door.runtime.migrator.switch(door.tenant, model, door.desk.me().name))


@app.command()
def rollback(tenant: Tenant = None, json: Json = False) -> None:
    """Have searches use the model that they used before."""
    door = open_stores(tenant=tenant, json=json)
    _tell(door, door.runtime.migrator.roll_back(door.tenant, door.desk.me().name))


@app.command()
def drop(model: Model, tenant: Tenant = None, json: Json = False) -> None:
    """Delete the vectors of a model that searches do not use."""
    door = open_stores(tenant=tenant, json=json)
    door.runtime.migrator.drop(door.tenant, model, door.desk.me().name)
    door.runtime.learn()
    if json:
        print_json({"dropped": model})
    else:
        door.screen.line(f"dropped {model}")


def _tell(door: StoreDoor, model: MemoryModel) -> None:
    if door.json:
        print_json(model)
        return
    at = {one.model.model: one for one in door.runtime.migrator.progress(door.tenant)}
    door.screen.line(model_words(at[model.model]))
