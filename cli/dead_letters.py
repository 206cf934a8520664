"""`factory dead-letters`: jobs out of attempts, and what people do with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from cli.as_json import print_json, to_json, without
from cli.changes import Asked, InputsFile, Set, TemplateVersion, Timeout
from cli.completion import complete_fingerprint, complete_letter
from cli.door import Door, open_door, person
from cli.errors import DONE, exit_code_of, facts_of, report
from cli.options import Json, Tenant
from cli.telling import Watch, tell_and_watch
from cli.text import first_line, local_time
from factory_runtime.domain.dead_letter import (
    Change,
    DeadLetter,
    LetterFilter,
    LetterGroup,
    LetterStatus,
    OrderStatus,
    RedriveOrder,
)
from factory_runtime.domain.errors import FactoryError, InputError, NotFoundError
from factory_runtime.domain.run import Run

app = typer.Typer(
    help="Dead letters: jobs out of attempts, and what people do with them.", no_args_is_help=True
)

_MANY = 1000
_SHOWN = 12
"""Digits of a fingerprint that are shown."""

_ID = typer.Argument(metavar="LETTER_ID", help="Like letter-01k….", autocompletion=complete_letter)
LetterId = Annotated[str, _ID]
LetterIds = Annotated[list[str] | None, _ID]
Fingerprint = Annotated[
    str | None,
    typer.Option(
        metavar="F",
        help="All open ones of this kind of failure; its first 6 digits or more.",
        autocompletion=complete_fingerprint,
    ),
]


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
    groups = door.runtime.store.letter_groups(
        tenant_id=None if all_tenants else door.tenant, limit=limit
    )
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
    canary: Annotated[
        bool,
        typer.Option("--canary", help="One goes ahead; the others follow when it has succeeded."),
    ] = False,
    set_: Set = None,
    inputs: InputsFile = None,
    timeout: Timeout = None,
    template_version: TemplateVersion = None,
    watch: Watch = False,
    tenant: Tenant = None,
    json: Json = False,
) -> int:
    """Send dead letters round again: these, or all of a kind; what succeeded before stays."""
    _check(letter_ids, fingerprint)
    asked = Asked(set_, inputs, timeout, template_version)
    door = open_door(tenant=tenant, json=json)
    if fingerprint is not None:
        if watch and not canary:
            raise InputError("--watch follows letters that are named, or a canary")
        return _retry_group(door, fingerprint, asked, canary=canary, watch=watch)
    if canary:
        raise InputError("--canary goes ahead of a group", hint="add --fingerprint")
    return _retry_each(door, letter_ids or (), asked, watch=watch)


@app.command()
def discard(
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is kept.")],
    letter_ids: LetterIds = None,
    fingerprint: Fingerprint = None,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take back what their runs did outside.")
    ] = False,
    tenant: Tenant = None,
    json: Json = False,
) -> int:
    """Close dead letters: nobody will send them round again."""
    _check(letter_ids, fingerprint)
    door = open_door(tenant=tenant, json=json)
    if fingerprint is not None:
        return _discard_group(door, fingerprint, reason, undo=undo)
    return _discard_each(door, letter_ids or (), reason, undo=undo)


@app.command()
def orders(tenant: Tenant = None, json: Json = False) -> None:
    """List what was ordered for groups, and how far it is; the newest first."""
    door = open_door(tenant=tenant, json=json)
    with door.reading() as tx:
        found = tx.list_redrive_orders(limit=_MANY)
    if json:
        print_json({"orders": to_json(found)})
        return
    if not found:
        door.screen.line("no orders")
        return
    door.screen.table(
        ("order", "status", "fingerprint", "sent", "refused", "of", "by", "at", "error"),
        [_order_row(order) for order in found],
        flexible=("error",),
    )


# --- listing


def _list_each(door: Door, fingerprint: str | None, limit: int, *, everything: bool) -> None:
    whole = None if fingerprint is None else _whole(door, fingerprint)
    statuses = () if everything else (LetterStatus.OPEN,)
    with door.reading() as tx:
        where = LetterFilter(statuses=statuses, fingerprint=whole)
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


def _whole(door: Door, fingerprint: str) -> str:
    from factory_runtime.services.dead_letters import find_fingerprint

    return find_fingerprint(door.runtime.store, door.tenant, fingerprint)


def _group_row(group: LetterGroup, *, all_tenants: bool) -> tuple[str, ...]:
    more = group.tenant_count - len(group.tenants)
    tenants = ", ".join(group.tenants) + (f" and {more} more" if more else "")
    return (
        group.fingerprint[:_SHOWN],
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
        letter.fingerprint[:_SHOWN],
        f"{letter.error_code}: {first_line(letter.error)}",
    )


def _order_row(order: RedriveOrder) -> tuple[str, ...]:
    counts = (str(order.redriven), str(order.refused), str(order.total))
    by = (order.requested_by, local_time(order.requested_at))
    kind = order.fingerprint[:_SHOWN]
    return (order.id, order.status, kind, *counts, *by, first_line(order.error or ""))


# --- sending round


def _check(letter_ids: Sequence[str] | None, fingerprint: str | None) -> None:
    if bool(letter_ids) == (fingerprint is not None):
        what = "letters are named and chosen" if letter_ids else "no letters are named or chosen"
        raise InputError(what, hint="give each LETTER_ID, or --fingerprint")


def _retry_each(door: Door, letter_ids: Sequence[str], asked: Asked, *, watch: bool) -> int:
    # A run goes round once, with all of its letters that are named.
    first, beside = dict[str, str](), dict[str, set[str]]()
    for letter_id in dict.fromkeys(letter_ids):
        with door.reading() as tx:
            try:
                letter = tx.get_dead_letter(letter_id)
            except NotFoundError:
                first[letter_id] = letter_id  # told of with the others
                continue
        first.setdefault(letter.run_id, letter_id)
        beside.setdefault(first[letter.run_id], set()).add(letter.step)

    def act(door: Door, letter_id: str) -> Run:
        with door.reading() as tx:
            run_id = tx.get_dead_letter(letter_id).run_id
        change = asked.of_run(door, run_id)
        redriver = door.runtime.redriver
        steps = beside.get(letter_id, set())
        return redriver.redrive(door.tenant, letter_id, person(), change, beside=steps)

    return tell_and_watch(door, first.values(), act, watch=watch)


def _retry_group(door: Door, fingerprint: str, asked: Asked, *, canary: bool, watch: bool) -> int:
    redriver, whole = door.runtime.redriver, _whole(door, fingerprint)
    with door.reading() as tx:
        newest = tx.list_dead_letters(LetterFilter(fingerprint=whole), limit=1)
    change = asked.of_group(door, newest[0].run_id) if newest else Change()
    order = redriver.order(door.tenant, whole, person(), change, canary=canary)
    code = DONE
    if watch and order.canary_id is not None:
        from cli.follow import follow_run

        with door.reading() as tx:
            run_id = tx.get_dead_letter(order.canary_id).run_id
        code = follow_run(door, run_id)
    if not canary or watch:
        # The outbox would do it too; here it is seen at once what comes of it.
        order = redriver.carry_out(door.tenant, order.id)
    _tell_order(door, order)
    return code


def _tell_order(door: Door, order: RedriveOrder) -> None:
    if door.json:
        print_json({"order": to_json(order)})
        return
    from cli.standing import NOBODY, is_executed

    door.screen.line(f"{order.id}  {order.status}: {_order_words(order)}")
    if order.error:
        style = "bad" if order.status is OrderStatus.STOPPED else "warn"
        door.screen.line(order.error, style)
    if order.redriven and not is_executed(door):
        door.screen.line(NOBODY)


def _order_words(order: RedriveOrder) -> str:
    if order.status is OrderStatus.CANARY:
        rest = order.total - order.redriven
        return f"{order.canary_id} goes ahead; {rest} more follow when it has succeeded"
    refused = f", {order.refused} cannot be" if order.refused else ""
    return f"{order.redriven} of {order.total} sent round again{refused}"


# --- discarding


def _discard_each(door: Door, letter_ids: Sequence[str], reason: str, *, undo: bool) -> int:
    from factory_runtime.services.dead_letters import discard as discard_letter

    store, clock = door.runtime.store, door.runtime.clock
    done, errors = list[DeadLetter](), dict[str, FactoryError]()
    for letter_id in dict.fromkeys(letter_ids):
        try:
            letter = discard_letter(
                store, clock, door.tenant, letter_id, person(), reason, undo=undo
            )
        except FactoryError as error:
            errors[letter_id] = error
            continue
        done.append(letter)
    if door.json:
        rows = [without(letter, "with_", "traceback") for letter in done]
        refused = {letter_id: facts_of(error) for letter_id, error in errors.items()}
        print_json({"discarded": rows, "refused": refused})
    for letter in done if not door.json else ():
        door.screen.line(f"{letter.id}  {letter.status}")
    door.screen.flush()
    for error in errors.values():
        report(error, as_json=door.json)
    return max(map(exit_code_of, errors.values()), default=DONE)


def _discard_group(door: Door, fingerprint: str, reason: str, *, undo: bool) -> int:
    from factory_runtime.services.dead_letters import discard_group

    store, clock, whole = door.runtime.store, door.runtime.clock, _whole(door, fingerprint)
    told = discard_group(store, clock, door.tenant, whole, person(), reason, undo=undo)
    if door.json:
        error = facts_of(told.error) if told.error is not None else None
        print_json({"discarded": told.letters, "refused": told.refused, "error": error})
    else:
        refused = f", {told.refused} cannot be" if told.refused else ""
        door.screen.line(f"{told.letters} discarded{refused}")
    door.screen.flush()
    if told.error is None:
        return DONE
    return report(told.error, as_json=door.json)
