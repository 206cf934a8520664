"""`factory callbacks`: addresses that are told when runs have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.as_json import without
from cli.door import open_door
from cli.entries import Entries
from cli.options import Json, Tenant
from cli.text import local_time, one_line
from factory_runtime.domain.run import RunStatus

if TYPE_CHECKING:
    from datetime import datetime

    from factory_runtime.domain.callback import Callback

app = typer.Typer(help="Addresses that are told when runs have ended.", no_args_is_help=True)


@app.command()
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Of https, or listed by an operator.")],
    project: Annotated[str | None, typer.Option(help="Only of its runs.")] = None,
    status: Annotated[
        list[RunStatus] | None, typer.Option(help="Only of these ends; all of them without.")
    ] = None,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Have an address told, and show the secret that its messages are signed with this once."""
    door = open_door(tenant=tenant, json=json)
    callback, secret = door.desk.hooks.add_callback(url, project, tuple(status or ()))
    _CALLBACKS.show_secret(door, callback, f"{callback.id} is told", secret)


@app.command("list")
def list_(tenant: Tenant = None, json: Json = False) -> None:
    """Show who is told of ends, the oldest first."""
    door = open_door(tenant=tenant, json=json)
    _CALLBACKS.show_all(door, door.desk.hooks.list_callbacks())


@app.command()
def remove(
    callback_id: Annotated[str, typer.Argument(metavar="CALLBACK_ID", help="Like call-01k….")],
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Tell an address no more, of what waits to be told either."""
    door = open_door(tenant=tenant, json=json)
    removed = door.desk.hooks.remove_callback(callback_id)
    _CALLBACKS.show(door, removed, f"{removed.id} is told no more")


def _facts(callback: Callback) -> dict[str, Any]:
    """All that is kept of a callback but its secret."""
    return without(callback, "secret")


def _row(one: Callback, _: datetime) -> tuple[str, ...]:
    told = "yes" if one.disabled_at is None else f"no more: {one_line(one.reason or '')}"
    return (
        one.id,
        one_line(one.url),
        one.project_id or "all",
        ", ".join(one.statuses) or "every end",
        local_time(one.created_at),
        told,
    )


_CALLBACKS = Entries(
    "callbacks",
    ("callback", "url", "project", "of", "added", "told"),
    ("url", "told"),
    _facts,
    _row,
)
