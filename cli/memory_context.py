"""`factory memory context`: what is known about a task, to be handed to whoever does it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer

from cli.as_json import print_json, to_json
from cli.door import Door, open_door
from cli.memory_search import Kinds
from cli.options import Json, Tenant, duration_option
from cli.recalled import recalled_as_json
from cli.text import duration
from factory_runtime.domain.context import Bundle, Task
from factory_runtime.domain.errors import InputError


def context(
    task: Annotated[
        str | None, typer.Argument(help="What is to be done, in a few words.", show_default=False)
    ] = None,
    package: Annotated[
        str | None, typer.Option(metavar="ID", help="Read one again, like ctx-01k….")
    ] = None,
    budget: Annotated[int, typer.Option(help="Tokens, at most.")] = 2000,
    kind: Kinds = None,
    project: Annotated[str | None, typer.Option(help="Only what this project learned.")] = None,
    ttl: Annotated[
        str,
        typer.Option(metavar="SECONDS", help="How old it may be, and how long it is kept."),
    ] = "300",
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Put together what is known about a task: cited, without doubles, within a budget."""
    if (task is None) == (package is None):
        raise InputError("say a task, or --package and its id", hint='"add a queue to orders"')
    door = open_door(tenant=tenant, json=json)
    if package is not None:
        bundle = door.desk.read_context(package)
    else:
        kinds = tuple(kind) if kind else None
        bundle = door.desk.context(Task(task or "", budget, kinds, project, ttl=_ttl(ttl)))
    if json:
        print_json(_as_json(bundle))
    else:
        _show(door, bundle)


def _ttl(text: str) -> timedelta:
    """Seconds, or a duration."""
    if text.isdecimal() and len(text) < 9:
        return timedelta(seconds=int(text))
    return duration_option(text, "--ttl") or timedelta(0)


def _as_json(bundle: Bundle) -> dict[str, Any]:
    package = bundle.package
    return {
        "context_package_id": package.id,
        "ttl_seconds": (package.expires_at - package.created_at).total_seconds(),
        "budget_tokens": package.budget,
        "tokens": bundle.tokens,
        "counted_by": bundle.counted_by,
        "freshness": {
            "newest_at": to_json(package.newest_at),
            "index_lag_seconds": package.lag_seconds,
            "created_at": to_json(package.created_at),
            "expires_at": to_json(package.expires_at),
        },
        "text": bundle.text,
        "items": [
            {
                **recalled_as_json(one.recalled),
                "cited_text": one.text,
                "tokens": one.tokens,
                "is_cut": one.is_cut,
            }
            for one in bundle.cited
        ],
    }


def _show(door: Door, bundle: Bundle) -> None:
    package = bundle.package
    if bundle.cited:
        door.screen.line(bundle.text)
    else:
        door.screen.line("nothing is remembered about that")
    door.screen.line()
    count = "1 memory" if len(bundle.cited) == 1 else f"{len(bundle.cited)} memories"
    left = max(package.expires_at - door.desk.now(), timedelta(0))
    lag = f"; the index lags {duration(package.lag_seconds)}" if package.lag_seconds else ""
    door.screen.line(
        f"{package.id}: {count}, {bundle.tokens} of {package.budget} tokens"
        f" ({bundle.counted_by}), good for {duration(left)}{lag}",
        "dim",
    )
