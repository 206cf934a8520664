"""`factory keys`: who may come in by the API: give keys, list, rotate and revoke them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.as_json import without
from cli.door import Door, open_door
from cli.entries import Entries
from cli.options import Json, Tenant, duration_option, overlap_option
from cli.text import local_time, one_line

if TYPE_CHECKING:
    from datetime import datetime

    from factory_runtime.domain.api_key import ApiKey

app = typer.Typer(
    help="Who may come in by the API: give keys, list, rotate and revoke them.",
    no_args_is_help=True,
)

KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="Like key-01k….")]
Expires = Annotated[
    str | None, typer.Option(metavar="D", help="How long it is good, like 90d; else until revoked.")
]
_SHOWN = 200


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who will come with it.")],
    role: Annotated[
        list[str],
        typer.Option(
            metavar="ROLE[:PROJECT]",
            help="viewer, requester, approver, operator or admin, in one project or in all.",
        ),
    ],
    group: Annotated[
        list[str] | None, typer.Option(metavar="G", help="That approvals may be asked of.")
    ] = None,
    expires: Expires = None,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Make a key, and show it this once."""
    from factory_runtime.domain.access import Grant
    from factory_runtime.services.api_keys import WantedKey

    door = open_door(tenant=tenant, json=json)
    wanted = WantedKey(
        name,
        tuple(map(Grant.parse, role)),
        tuple(group or ()),
        duration_option(expires, "--expires"),
    )
    _tell(door, *door.desk.add_key(wanted))


@app.command("list")
def list_(
    every: Annotated[bool, typer.Option("--all", help="Expired and revoked ones too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many to show.")] = _SHOWN,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Show a tenant's keys, the newest first."""
    door = open_door(tenant=tenant, json=json)
    found = door.desk.list_keys(good_at=None if every else door.desk.now(), limit=limit)
    _KEYS.show_all(door, found)


@app.command()
def rotate(
    key_id: KeyId,
    overlap: Annotated[
        str, typer.Option(metavar="D", help="How long the old one is good still; 0s is no longer.")
    ] = "24h",
    expires: Expires = None,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Make a key that may do the same; the old one is good for a while still."""
    door = open_door(tenant=tenant, json=json)
    key, text = door.desk.rotate_key(
        key_id,
        overlap=overlap_option(overlap),
        expires_in=duration_option(expires, "--expires"),
    )
    _tell(door, key, text)


@app.command()
def revoke(key_id: KeyId, tenant: Tenant = None, json: Json = False) -> None:
    """Have a key be good no longer, within seconds."""
    door = open_door(tenant=tenant, json=json)
    revoked = door.desk.revoke_key(key_id)
    _KEYS.show(door, revoked, f"{revoked.id} of {revoked.name} is good no longer")


def _tell(door: Door, key: ApiKey, text: str) -> None:
    until = f", good until {local_time(key.expires_at)}" if key.expires_at else ""
    words = f"{key.id} of {key.name} in tenant {key.tenant_id}{until}"
    _KEYS.show_secret(door, key, words, text, name="key")


def _facts(key: ApiKey) -> dict[str, Any]:
    """All that is kept of a key but its hash."""
    return {**without(key, "hash", "grants"), "grants": [str(grant) for grant in key.grants]}


def _row(key: ApiKey, now: datetime) -> tuple[str, ...]:
    return (
        key.id,
        f"fk_{key.prefix}",
        one_line(key.name),
        ", ".join(map(str, key.grants)),
        one_line(", ".join(key.groups)),
        local_time(key.created_at),
        local_time(key.last_used_at) or "never",
        _good(key, now),
    )


def _good(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "until revoked"
    return f"until {local_time(key.expires_at)}" if key.is_good(now) else "expired"


_KEYS = Entries(
    "keys",
    ("key", "begins", "name", "may", "groups", "made", "used", "good"),
    ("may", "groups"),
    _facts,
    _row,
)
