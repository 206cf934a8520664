"""Send all dead letters round again that are chosen, or discard them: shown and asked about first."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Any, cast

import typer

from cli.as_json import print_json, to_json, without
from cli.bulk import is_agreed
from cli.changes import Asked
from cli.door import Door
from cli.errors import CONFLICT, DONE, facts_of, report
from cli.letter_choice import LetterChoice
from cli.text import first_line, local_time
from factory_runtime.domain.dead_letter import (
    Change,
    DeadLetter,
    LetterFilter,
    OrderStatus,
    RedriveOrder,
)
from factory_runtime.domain.errors import DeadLetterNotFoundError
from factory_runtime.domain.redaction import redact

Preview = Annotated[
    bool, typer.Option("--preview", help="Show which letters are chosen; change nothing.")
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask before letters that are chosen.")
]

SHOWN = 12
"""Digits of a fingerprint that are shown."""

_FIRST = 10
_LOOKS = 100


def retry_chosen(
    door: Door,
    choice: LetterChoice,
    asked: Asked,
    *,
    canary: bool,
    watch: bool,
    preview: bool,
    yes: bool,
) -> int:
    """Order that the letters go round again; the outbox does it, here where nobody else would.

    Raises:
        FactoryError: as ``Redriver.order``.
        InputError: nobody can be asked, and ``--yes`` is not there.
    """
    where = choice.filter(door)
    going = replace(where, can_go_round=True)
    if preview:
        return _show(door, going, "send round again")
    newest = _first(door, going, 1)
    if newest and not yes and not _agreed(door, going, "send round again", "sent round again"):
        return _nothing(door)
    change = asked.of_group(door, newest[0].run_id) if newest else Change()
    order = door.desk.order(where, change, canary=canary)
    code = DONE
    if watch and order.canary_id is not None:
        code = _follow(door, order.canary_id)
        order = _once_decided(door, order)
    else:
        order = door.desk.carry_on(order)
    _tell(door, order, where)
    failed = order.refused or order.status is OrderStatus.STOPPED
    return max(code, CONFLICT if failed else DONE)


def discard_chosen(
    door: Door, choice: LetterChoice, reason: str, *, undo: bool, preview: bool, yes: bool
) -> int:
    """Close the letters; the exit code is of the last that could not be.

    Raises:
        InputError: there is no reason; or nobody can be asked, and ``--yes`` is not there.
    """
    where = choice.filter(door)
    if preview:
        return _show(door, where, "discard")
    if not _first(door, where, 1):
        raise DeadLetterNotFoundError(
            "no such dead letter is open", hint="`factory dead-letters list` shows those that are"
        )
    if not yes and not _agreed(door, where, "discard", "discarded"):
        return _nothing(door)
    told = door.desk.discard_group(where, reason, undo=undo)
    if door.json:
        error = facts_of(told.error) if told.error is not None else None
        print_json({"discarded": told.letters, "refused": told.refused, "error": error})
    else:
        refused = f", {told.refused} cannot be" if told.refused else ""
        door.screen.line(f"{told.letters} discarded{refused}")
    door.screen.flush()
    return DONE if told.error is None else report(told.error, as_json=door.json)


# --- orders


def order_as_json(door: Door, order: RedriveOrder) -> dict[str, Any]:
    """An order for another program; of what it changes, secrets are left out."""
    change = _change(door, order)
    return {**without(order, "change"), "change": to_json(change)}


def order_row(door: Door, order: RedriveOrder) -> tuple[str, ...]:
    """An order in a table: whose it is, which letters, and how far it is."""
    counts = (str(order.redriven), str(order.refused), str(order.total))
    by = (order.requested_by, local_time(order.requested_at))
    change: Any = _change(door, order) or {}
    return (
        order.id,
        order.status,
        _chosen(order),
        *counts,
        *by,
        ", ".join(_changed(cast("dict[str, Any]", change))),
        first_line(order.error or ""),
    )


def _changed(change: dict[str, Any]) -> list[str]:
    inputs: dict[str, Any] = change.get("inputs") or {}
    words = [f"{name}={to_json(value)}" for name, value in inputs.items()]
    timeout, version = change.get("timeout_seconds"), change.get("template_version")
    words += [f"timeout {timeout:g}s"] if timeout is not None else []
    return words + ([f"version {version}"] if version is not None else [])


def _chosen(order: RedriveOrder) -> str:
    words = [order.fingerprint[:SHOWN]] if order.fingerprint else []
    named = (
        ("type", order.job_type),
        ("template", order.template_id),
        ("project", order.project_id),
        ("since", order.since and local_time(order.since)),
    )
    return " ".join(words + [f"{name}={value}" for name, value in named if value])


def _once_decided(door: Door, order: RedriveOrder) -> RedriveOrder:
    """As it stands when the end of its canary has been taken in, which others do within seconds."""
    for _ in range(_LOOKS):
        order = door.desk.carry_on(order)
        if order.status is not OrderStatus.CANARY:
            break
        time.sleep(door.desk.poll_seconds)
    return order


def _follow(door: Door, letter_id: str) -> int:
    from cli.follow import follow_run

    with door.desk.reading() as tx:
        run_id = tx.get_dead_letter(letter_id).run_id
    return follow_run(door, run_id)


def _tell(door: Door, order: RedriveOrder, where: LetterFilter) -> None:
    with door.desk.reading() as tx:
        still_open = tx.count_dead_letters(where)
    if door.json:
        print_json({"order": order_as_json(door, order), "still_open": still_open})
        return
    from cli.standing import NOBODY

    door.screen.line(f"{order.id}  {order.status}: {_words(order)}")
    if order.error:
        style = "bad" if order.status is OrderStatus.STOPPED else "warn"
        door.screen.line(order.error, style)
    others = still_open - order.refused
    if order.status is OrderStatus.DONE and others > 0:
        door.screen.line(f"{others} stay open: their runs are under way or being undone", "dim")
    if order.redriven and not door.desk.is_executed():
        door.screen.line(NOBODY)


def _words(order: RedriveOrder) -> str:
    if order.status is OrderStatus.CANARY:
        rest = order.total - order.redriven
        return f"{order.canary_id} goes ahead; {rest} more follow when it has succeeded"
    refused = f", {order.refused} cannot be" if order.refused else ""
    words = f"{order.redriven} of {order.total} sent round again{refused}"
    if order.status is OrderStatus.RELEASING:
        return f"{words}; `factory dead-letters orders` tells how far it is"
    return words


# --- showing and asking


def _first(door: Door, where: LetterFilter, limit: int) -> tuple[DeadLetter, ...]:
    with door.desk.reading() as tx:
        return tx.list_dead_letters(where, limit=limit)


def _agreed(door: Door, where: LetterFilter, verb: str, done: str) -> bool:
    what = _letters(_count(door, where))
    return is_agreed(door, verb, done, what, lambda: _show_first(door, where, verb))


def _show(door: Door, where: LetterFilter, verb: str) -> int:
    if not door.json:
        _show_first(door, where, verb)
        return DONE
    rows = [without(letter, "with_", "traceback") for letter in _first(door, where, _FIRST)]
    print_json({"preview": True, "count": _count(door, where), "first": rows})
    return DONE


def _show_first(door: Door, where: LetterFilter, verb: str) -> None:
    count, first = _count(door, where), _first(door, where, _FIRST)
    if not count:
        door.screen.line("no dead letters like that")
        return
    door.screen.line(f"{_letters(count)} to {verb}:")
    door.screen.table(
        ("letter", "run", "job", "template", "project", "failed", "fingerprint", "error"),
        [_row(letter) for letter in first],
        flexible=("job", "project", "error"),
    )
    if count > len(first):
        door.screen.line(f"… and {count - len(first)} more", "dim")


def _row(letter: DeadLetter) -> tuple[str, ...]:
    return (
        letter.id,
        letter.run_id,
        letter.step,
        f"{letter.template_id} {letter.template_version}",
        letter.project_id,
        local_time(letter.failed_at),
        letter.fingerprint[:SHOWN],
        f"{letter.error_code}: {first_line(letter.error)}",
    )


def _count(door: Door, where: LetterFilter) -> int:
    with door.desk.reading() as tx:
        return tx.count_dead_letters(where)


def _nothing(door: Door) -> int:
    door.screen.line("nothing was done")
    return DONE


def _letters(count: int) -> str:
    return f"{count} dead letter{'' if count == 1 else 's'}"


def _change(door: Door, order: RedriveOrder) -> Any:
    return redact(door.desk.value_of(order.change))
