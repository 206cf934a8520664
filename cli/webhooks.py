"""`factory webhooks`: who may send events, and what they have sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cli.as_json import print_json, to_json, without
from cli.door import Door, open_door
from cli.entries import Entries
from cli.options import Json, Tenant, overlap_option
from cli.text import local_time, one_line
from factory_runtime.domain.errors import InputError

if TYPE_CHECKING:
    from datetime import datetime

    from pydantic import BaseModel

    from factory_runtime.domain.webhook import DeliveryStatus, WebhookDelivery, WebhookSource
    from factory_runtime.wire.webhook import NewSource, NewSubscription, SourceOptions

M = TypeVar("M", bound="BaseModel")

app = typer.Typer(
    help="Who may send events that begin runs, and what they have sent.", no_args_is_help=True
)

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="Its name, or its id.")]
SecretFile = Annotated[
    typer.FileText | None,
    typer.Option("--secret-file", help="Has a secret of your own, - is standard input."),
]


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What templates call it.")],
    kind: Annotated[str, typer.Option(help="github, standard, azure-devops, cloudevents or hmac.")],
    project: Annotated[str | None, typer.Option(help="That its runs belong to.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Of its kind, like base_url=https://…"),
    ] = None,
    secret: SecretFile = None,
    token: Annotated[
        typer.FileText | None,
        typer.Option("--token-file", help="Has the token that resources are fetched with."),
    ] = None,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Add a source, and show the secret that it signs with this once."""
    door = open_door(tenant=tenant, json=json)
    options = _options([*(option or []), *([f"token={token.read().strip()}"] if token else [])])
    wanted = _wanted(
        name=name,
        kind=_kind(kind),
        project_id=project or door.desk.project,
        options=options,
        secret=secret.read().strip() if secret else None,
    )
    _tell(door, *door.desk.hooks.add_source(wanted))


@app.command("list")
def list_(tenant: Tenant = None, json: Json = False) -> None:
    """Show a tenant's sources by name."""
    door = open_door(tenant=tenant, json=json)
    _SOURCES.show_all(door, door.desk.hooks.list_sources())


@app.command()
def rotate(
    source: Source,
    overlap: Annotated[
        str, typer.Option(metavar="D", help="How long those before it count; 0s is no longer.")
    ] = "24h",
    secret: SecretFile = None,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Give a source another secret, and show it this once."""
    door = open_door(tenant=tenant, json=json)
    own = secret.read().strip() if secret else None
    _tell(door, *door.desk.hooks.rotate_source(source, overlap_option(overlap), own))


@app.command()
def subscribe(
    source: Source,
    event: Annotated[str, typer.Option(help="As the host names it, like build.complete.")],
    url: Annotated[
        str | None, typer.Option(help="Of the API for the host, if not FACTORY_PUBLIC_URL.")
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="Whose events; the source's if not said.")
    ] = None,
    repository: Annotated[
        str | None, typer.Option(help="Only of this one, not of all of the project.")
    ] = None,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Have the tenant's git host send events of a project to a source; once more finds it."""
    door = open_door(tenant=tenant, json=json)
    wanted = _subscription(event=event, url=url, project_id=project, repository=repository)
    made = door.desk.hooks.subscribe_source(source, wanted)
    if json:
        print_json(to_json(made))
    else:
        words = f"{made.event} of {made.project_id} is sent to {made.url}: subscription {made.id}"
        door.screen.line(words, "good")


@app.command()
def disable(source: Source, tenant: Tenant = None, json: Json = False) -> None:
    """Take nothing of a source any more, for good."""
    door = open_door(tenant=tenant, json=json)
    disabled = door.desk.hooks.disable_source(source)
    _SOURCES.show(door, disabled, f"{disabled.name} is disabled")


@app.command()
def deliveries(
    source: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
    status: Annotated[
        str | None, typer.Option(help="Only those received, matched, unmatched or failed.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many to show.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Go on where a list ended.")] = None,
    again: Annotated[
        str | None,
        typer.Option(metavar="DELIVERY_ID", help="Decide this one once more, and show it."),
    ] = None,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Show what was sent in the last week, the newest first, and what it came to."""
    door = open_door(tenant=tenant, json=json)
    hooks, more = door.desk.hooks, None
    if again is not None:
        found = (hooks.decide_again(again),)
    else:
        wanted = None if status is None else _status(status)
        found, more = hooks.list_deliveries(source, wanted, limit=limit, cursor=cursor)
    if json:
        rows = [without(one, "event", "replay_key") for one in found]
        print_json({"deliveries": rows, "cursor": more})
        return
    if not found:
        door.screen.line("no deliveries like that")
        return
    names = ("delivery", "type", "received", "is", "came to")
    door.screen.table(names, map(_delivery_row, found), flexible=("came to",))
    if more is not None:
        door.screen.line(f"more: --cursor {more}", "dim")


def _status(text: str) -> DeliveryStatus:
    from factory_runtime.domain.webhook import DeliveryStatus

    try:
        return DeliveryStatus(text)
    except ValueError as exc:
        raise InputError(f"{text!r} is no status of a delivery") from exc


def _kind(text: str) -> Any:
    from factory_runtime.domain.webhook import SourceKind

    try:
        return SourceKind(text)
    except ValueError as exc:
        known = ", ".join(SourceKind)
        raise InputError(f"{text!r} is no kind of source", hint=f"there are {known}") from exc


def _options(given: list[str]) -> SourceOptions:
    from factory_runtime.wire.webhook import SourceOptions

    split = (one.partition("=") for one in given)
    return _sensible(SourceOptions, {key: value for key, _, value in split})


def _wanted(**given: Any) -> NewSource:
    from factory_runtime.wire.webhook import NewSource

    return _sensible(NewSource, given)


def _subscription(**given: Any) -> NewSubscription:
    from factory_runtime.wire.webhook import NewSubscription

    return _sensible(NewSubscription, given)


def _sensible(kind: type[M], given: dict[str, Any]) -> M:
    from pydantic import ValidationError

    try:
        return kind.model_validate(given)
    except ValidationError as exc:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in exc.errors())
        raise InputError(f"the options make no sense: {wrong}") from None


def _tell(door: Door, source: WebhookSource, secret: str) -> None:
    from factory_runtime.wire.paths import API_PREFIX

    words = f"{source.name} sends to {API_PREFIX}/webhooks/{source.id}"
    _SOURCES.show_secret(door, source, words, secret)


def _facts(source: WebhookSource) -> dict[str, Any]:
    """All that is kept of a source but its secrets."""
    options = {key: value for key, value in source.options.items() if key != "token"}
    counting = [{"since": one.since, "until": one.until} for one in source.secrets]
    return {**without(source, "secrets"), "options": options, "secrets": to_json(counting)}


def _row(one: WebhookSource, now: datetime) -> tuple[str, ...]:
    return (
        one.name,
        one.kind.value,
        one.project_id,
        one.id,
        local_time(one.created_at),
        "disabled" if one.disabled_at else f"{len(one.living_secrets(now))}",
    )


_SOURCES = Entries(
    "sources", ("name", "kind", "project", "id", "added", "secrets"), (), _facts, _row
)


def _delivery_row(one: WebhookDelivery) -> tuple[str, ...]:
    begun = (f"{each.template_id}: {each.error or each.run_id}" for each in one.begun)
    came_to = one_line("; ".join(begun) or one.error or "")
    return (one.id, one_line(one.type), local_time(one.received_at), one.status.value, came_to)
