"""`factory dead-letters`: jobs out of attempts, and what people do with them."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.as_json import print_json, to_json, without
from cli.changes import Asked, InputsFile, Set, TemplateVersion, Timeout
from cli.completion import complete_letter
from cli.door import Door, open_door, open_stores
from cli.letter_bulk import (
    SHOWN,
    Preview,
    Yes,
    discard_chosen,
    order_as_json,
    order_row,
    retry_chosen,
)
from cli.letter_choice import (
    FailedSince,
    FailedUntil,
    Fingerprint,
    LetterChoice,
    LettersWhere,
    check_letters,
    whole,
)
from cli.letters_named import discard_each, refuse_words_of_chosen, retry_each
from cli.options import Json, Tenant
from cli.telling import Watch
from cli.text import first_line, local_time
from factory_runtime.domain.dead_letter import (
    DeadLetter,
    LetterFilter,
    LetterGroup,
    LetterStatus,
)
from factory_runtime.domain.errors import InputError

app = typer.Typer(
    help="Dead letters: jobs out of attempts, and what people do with them.", no_args_is_help=True
)

_MANY = 1000
_ID = typer.Argument(metavar="LETTER_ID", help="Like letter-01k….", autocompletion=complete_letter)
LetterId = Annotated[str, _ID]
LetterIds = Annotated[list[str] | None, _ID]


@app.command("list")
def list_letters(
    letters: Annotated[
        bool, typer.Option("--letters", help="Each by itself; else they are grouped by kind.")
    ] = False,
    fingerprint: Fingerprint = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Each by itself, closed ones and those under way too.")
    ] = False,
    all_tenants: Annotated[
        bool, typer.Option("--all-tenants", help="Groups over all tenants, for who runs it all.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=_MANY, help="How many to show.")] = 50,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """List open dead letters by kind of failure, the most of a kind first."""
    door = open_door(tenant=tenant, json=json)
    if letters or everything or fingerprint is not None:
        if all_tenants:
            raise InputError(
                "--all-tenants shows groups", hint="--tenant says whose letters to show one by one"
            )
        _list_each(door, fingerprint, limit, everything=everything)
        return
    if all_tenants:
        groups = open_stores(json=json).runtime.store.letter_groups(tenant_id=None, limit=limit)
    else:
        groups = door.desk.letter_groups(limit=limit)
    if json:
        print_json({"groups": to_json(groups)})
        return
    if not groups:
        door.screen.line("no dead letters")
        return
    door.screen.table(
        ("fingerprint", "letters", "runs", "tenants", "first seen", "last seen", "job", "error"),
        [_group_row(group, all_tenants=all_tenants) for group in groups],
        flexible=("tenants", "error"),
    )


@app.command()
def show(letter_id: LetterId, tenant: Tenant = None, json: Json = False) -> None:
    """Show why a job was given up, what it was told, what was tried, and what can be done."""
    from cli.letter_page import letter_as_json, read_letter, show_letter

    door = open_door(tenant=tenant, json=json)
    facts = read_letter(door, letter_id)
    if json:
        print_json(letter_as_json(facts))
    else:
        show_letter(door, facts)


@app.command()
def retry(
    letter_ids: LetterIds = None,
    fingerprint: Fingerprint = None,
    where: LettersWhere = None,
    since: FailedSince = None,
    until: FailedUntil = None,
    canary: Annotated[
        bool,
        typer.Option("--canary", help="One goes ahead; the others follow when it has succeeded."),
    ] = False,
    preview: Preview = False,
    yes: Yes = False,
    set_: Set = None,
    inputs: InputsFile = None,
    timeout: Timeout = None,
    template_version: TemplateVersion = None,
    watch: Watch = False,
    tenant: Tenant = None,
    json: Json = False,
) -> int:
    """Send dead letters round again: these, or all that are chosen; what succeeded before stays."""
    choice = LetterChoice(where, since, until, fingerprint)
    check_letters(letter_ids, choice)
    asked = Asked(set_, inputs, timeout, template_version)
    door = open_door(tenant=tenant, json=json)
    if choice.is_made:
        if watch and not canary:
            raise InputError("--watch follows letters that are named, or a canary")
        if canary and fingerprint is None:
            raise InputError("--canary goes ahead of others of its kind", hint="add --fingerprint")
        return retry_chosen(
            door, choice, asked, canary=canary, watch=watch, preview=preview, yes=yes
        )
    refuse_words_of_chosen({"--canary": canary, "--preview": preview, "--yes": yes})
    return retry_each(door, letter_ids or (), asked, watch=watch)


@app.command()
def discard(
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is kept.")],
    letter_ids: LetterIds = None,
    fingerprint: Fingerprint = None,
    where: LettersWhere = None,
    since: FailedSince = None,
    until: FailedUntil = None,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take back what their runs did outside.")
    ] = False,
    preview: Preview = False,
    yes: Yes = False,
    tenant: Tenant = None,
    json: Json = False,
) -> int:
    """Close dead letters: nobody will send them round again."""
    choice = LetterChoice(where, since, until, fingerprint)
    check_letters(letter_ids, choice)
    door = open_door(tenant=tenant, json=json)
    if choice.is_made:
        return discard_chosen(door, choice, reason, undo=undo, preview=preview, yes=yes)
    refuse_words_of_chosen({"--preview": preview, "--yes": yes})
    return discard_each(door, letter_ids or (), reason, undo=undo)


@app.command()
def orders(tenant: Tenant = None, json: Json = False) -> None:
    """List what was ordered for many letters, and how far it is; the newest first."""
    door = open_door(tenant=tenant, json=json)
    with door.desk.reading() as tx:
        found = tx.list_redrive_orders(limit=_MANY)
    if json:
        print_json({"orders": [order_as_json(door, order) for order in found]})
        return
    if not found:
        door.screen.line("no orders")
        return
    door.screen.table(
        ("order", "status", "letters", "sent", "refused", "of", "by", "at", "change", "error"),
        [order_row(door, order) for order in found],
        flexible=("change", "error"),
    )


@app.command()
def stop(
    order_id: Annotated[str, typer.Argument(metavar="ORDER_ID", help="Like order-01k….")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is kept.")],
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Stop an order: it sends no more letters round; those that went stay under way."""
    door = open_door(tenant=tenant, json=json)
    order = door.desk.stop_order(order_id, reason)
    if json:
        print_json({"order": order_as_json(door, order)})
    else:
        sent = f"{order.redriven} of {order.total} were sent round again"
        door.screen.line(f"{order.id}  {order.status}: {sent}")


# --- listing


def _list_each(door: Door, fingerprint: str | None, limit: int, *, everything: bool) -> None:
    kind = None if fingerprint is None else whole(door, fingerprint)
    statuses = () if everything else (LetterStatus.OPEN,)
    with door.desk.reading() as tx:
        where = LetterFilter(statuses=statuses, fingerprint=kind)
        found, count = tx.list_dead_letters(where, limit=limit), tx.count_dead_letters(where)
    if door.json:
        rows = [without(letter, "with_", "traceback") for letter in found]
        print_json({"letters": rows, "count": count})
        return
    if not found:
        door.screen.line("no dead letters")
        return
    door.screen.table(
        ("letter", "status", "run", "job", "attempts", "failed", "fingerprint", "error"),
        [_letter_row(letter) for letter in found],
        flexible=("job", "error"),
    )
    if count > len(found):
        door.screen.line(f"… and {count - len(found)} more: --limit", "dim")


def _group_row(group: LetterGroup, *, all_tenants: bool) -> tuple[str, ...]:
    more = group.tenant_count - len(group.tenants)
    tenants = ", ".join(group.tenants) + (f" and {more} more" if more else "")
    return (
        group.fingerprint[:SHOWN],
        str(group.letters),
        str(group.runs),
        tenants if all_tenants else "",
        local_time(group.first_seen),
        local_time(group.last_seen),
        group.job_type,
        f"{group.error_code}: {first_line(group.message)}",
    )


def _letter_row(letter: DeadLetter) -> tuple[str, ...]:
    return (
        letter.id,
        letter.status,
        letter.run_id,
        letter.step,
        str(letter.attempts),
        local_time(letter.failed_at),
        letter.fingerprint[:SHOWN],
        f"{letter.error_code}: {first_line(letter.error)}",
    )
