"""`factory effects`: what runs did outside, and what nobody has taken back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import typer

from cli.as_json import print_json, to_json
from cli.completion import complete_run
from cli.door import Door, StoreDoor, open_door, open_stores
from cli.effect_words import effect_name
from cli.options import Json, RunId, Step, Tenant
from cli.person import person
from cli.text import duration, one_line
from factory_runtime.domain.errors import InputError
from factory_runtime.domain.records import Effect, EffectStatus

app = typer.Typer(
    help="What runs did outside, and what nobody has taken back.", no_args_is_help=True
)

_MANY = 1000


@app.command("list")
def list_effects(
    run: Annotated[
        str | None,
        typer.Option(
            metavar="RUN_ID", help="Only effects of this run.", autocompletion=complete_run
        ),
    ] = None,
    orphaned: Annotated[
        bool, typer.Option("--orphaned", help="Only those that nobody wants and nobody removed.")
    ] = False,
    status: Annotated[
        EffectStatus | None, typer.Option(help="Only effects that are so by now.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Look for the orphans first: some may be gone by now.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=_MANY, help="How many to show.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Go on where a list ended.")] = None,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """List what runs did outside, the oldest first: a repository, a commit in it."""
    if orphaned and status not in (None, EffectStatus.ORPHANED):
        raise InputError(f"--orphaned and --status {status} have nothing in common")
    if check and status not in (None, EffectStatus.ORPHANED):
        raise InputError("--check looks for orphans", hint=f"leave out --status {status}")
    wanted = EffectStatus.ORPHANED if orphaned or check else status
    door = open_stores(tenant=tenant, json=json) if check else open_door(tenant=tenant, json=json)
    found, more = door.desk.list_effects(run, wanted, limit=limit, cursor=cursor)
    gone = frozenset[str]()
    if isinstance(door, StoreDoor) and check:
        inventory = door.runtime.inventory
        gone = frozenset(effect_name(one) for one in found if inventory.check(one))
    there = [effect for effect in found if effect_name(effect) not in gone]
    owners = _owners(door, there)
    if json:
        rows = [{**to_json(one), "owner": owners.get(one.run_id)} for one in there]
        print_json({"effects": rows, "gone": sorted(gone), "cursor": more})
        return
    _show(door, there, owners)
    if gone:
        door.screen.line(f"{len(gone)} gone by now: {', '.join(sorted(gone))}", "good")
    if more is not None:
        door.screen.line(f"more: --cursor {more}", "dim")


@app.command()
def settle(
    run_id: RunId,
    step: Step,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="What has become of it; kept with the record.")
    ],
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Say that what a job left is gone, or somebody's by now: it is no orphan any more."""
    if not reason.strip():
        raise InputError("--reason is empty", hint="say what has become of it")
    door = open_stores(tenant=tenant, json=json)
    inventory, said = door.runtime.inventory, one_line(reason)
    settled = inventory.settle(door.tenant, run_id, step, person(), said)
    if json:
        print_json({"run_id": run_id, "step": step, "settled": settled})
    else:
        door.screen.line(f"settled {settled} of {step} of {run_id}", "good")


def _owners(door: Door, effects: Iterable[Effect]) -> Mapping[str, str]:
    """Who requested each run."""
    with door.desk.reading() as tx:
        return {run_id: tx.get_run(run_id).requested_by for run_id in {e.run_id for e in effects}}


def _show(door: Door, effects: Sequence[Effect], owners: Mapping[str, str]) -> None:
    if not effects:
        door.screen.line("no effects like that")
        return
    now = door.desk.now()
    rows = [
        (
            effect.kind,
            effect.status.value,
            effect.target,
            owners.get(effect.run_id, ""),
            effect.run_id,
            effect.step,
            duration(now - effect.intended_at),
            effect.link or effect.reference or "",
            one_line(effect.reason or ""),
        )
        for effect in effects
    ]
    names = ("kind", "is", "target", "owner", "run", "job", "age", "link", "reason")
    door.screen.table(names, rows, flexible=("target", "link", "reason"))
