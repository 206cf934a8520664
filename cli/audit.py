"""`factory audit`: who did what, and whether what is written of it is still what was sealed."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.as_json import print_json, to_json
from cli.door import open_door, open_stores
from cli.errors import DONE, RUN_FAILED
from cli.options import Json, Tenant, duration_option
from cli.text import moment, one_line
from factory_runtime.domain.audit import AuditFilter, parse_head

app = typer.Typer(
    help="Who did what, and whether what is written of it was changed.", no_args_is_help=True
)


@app.command("list")
def list_audit(
    actor: Annotated[str | None, typer.Option(help="Only what this person did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this, like run.cancel.")] = None,
    subject: Annotated[
        str | None, typer.Option(metavar="ID", help="Only what was done to this.")
    ] = None,
    within: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Only so long ago or less, like 2h.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many to show.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Go on where a list ended.")] = None,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """List who did what, the newest first."""
    length = duration_option(within, "--within")
    door = open_door(tenant=tenant, json=json)
    now = door.desk.now()
    where = AuditFilter(actor, action, subject, since=now - length if length else None)
    page = door.desk.read_audit(where, limit=limit, cursor=cursor)
    if json:
        print_json({"entries": page.items, "cursor": page.cursor})
        return
    if not page.items:
        door.screen.line("no entries like that")
        return
    rows = [
        (moment(one.at, now), one_line(one.actor), one.action, one.subject, one.origin or "")
        for one in page.items
    ]
    door.screen.table(("at", "who", "did", "to", "from"), rows, flexible=("to",))
    if page.cursor is not None:
        door.screen.line(f"more: --cursor {page.cursor}", "dim")


@app.command()
def verify(
    head: Annotated[
        str | None,
        typer.Option(metavar="NUMBER:DIGEST", help="A head that was noted: it must still be so."),
    ] = None,
    tenant: Tenant = None,
    json: Json = False,
) -> int:
    """Look at every entry that was sealed; exit code 1 where one is not what it was."""
    from factory_runtime.services.verify_audit import verify_audit

    noted = None if head is None else parse_head(head)
    door = open_stores(tenant=tenant, json=json)
    found = verify_audit(door.runtime.store, door.tenant, noted)
    if json:
        print_json({"tenant": door.tenant, "intact": found.broken is None, **to_json(found)})
        return DONE if found.broken is None else RUN_FAILED
    if found.unsealed and found.unsealed_since is not None:
        since = moment(found.unsealed_since, door.desk.now())
        door.screen.line(f"{found.unsealed} not sealed yet, since {since}", "dim")
    if found.broken is not None:
        door.screen.line(f"{found.broken.kind}: {one_line(found.broken.message)}", "bad")
        return RUN_FAILED
    sealed = "nothing is sealed yet" if found.head is None else f"intact up to {found.head}"
    door.screen.line(sealed, "good")
    return DONE
