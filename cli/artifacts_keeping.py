"""`factory artifacts expire|hold|release|holds|sweep`: how long what runs made is kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.as_json import print_json, to_json
from cli.door import Door, open_door, open_stores
from cli.options import Json, Tenant, duration_option
from cli.text import local_time, one_line
from factory_runtime.domain.errors import InputError
from factory_runtime.domain.hold import HoldScope

if TYPE_CHECKING:
    from factory_runtime.domain.artifact import Artifact
    from factory_runtime.domain.hold import Hold


def add_to(app: typer.Typer) -> None:
    """Have the commands of this module be among those of ``factory artifacts``."""
    for command in (expire, hold, release, holds, sweep):
        app.command()(command)


def expire(
    artifact_id: Annotated[str, typer.Argument(metavar="ID", help="Like art-01k….")],
    within: Annotated[
        str | None, typer.Option("--in", metavar="DURATION", help="So long from now, like 30d.")
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="At once.")] = False,
    once_downloaded: Annotated[
        bool, typer.Option("--once-downloaded", help="An hour after somebody got all of it.")
    ] = False,
    never: Annotated[bool, typer.Option("--never", help="Keep it for good.")] = False,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Say when an artifact expires. The sweep deletes its bytes once nothing needs them."""
    in_time = duration_option(within, "--in")
    if [never, now, in_time is not None].count(True) + (never and once_downloaded) > 1 or not (
        never or now or in_time is not None or once_downloaded
    ):
        raise InputError(
            "it is not clear when it expires",
            hint="--in, --now or --never; --once-downloaded alone or beside --in",
        )
    door = open_door(tenant=tenant, json=json)
    at = datetime.now(UTC)
    expires_at = at if now else None if in_time is None else at + in_time
    artifact = door.desk.keeping.set_expiry(
        artifact_id, expires_at, once_downloaded=once_downloaded
    )
    if json:
        print_json({"artifact": to_json(artifact)})
    else:
        door.screen.line(f"{artifact.id} ({one_line(artifact.name)}) is kept {kept(artifact)}")


def hold(
    subject: Annotated[
        str, typer.Argument(metavar="ID", help="An artifact, like art-01k…, or a run.")
    ],
    reason: Annotated[str, typer.Option(help="Who wants it kept, and why.")],
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Keep an artifact, or all that a run made, until the hold is released."""
    door = open_door(tenant=tenant, json=json)
    scope = HoldScope.RUN if subject.startswith("run-") else HoldScope.ARTIFACT
    _tell(door, door.desk.keeping.hold(scope, subject, reason))


def release(
    hold_id: Annotated[str, typer.Argument(metavar="HOLD_ID", help="Like hold-01k….")],
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Have a hold stand no more: what it kept expires as it would have."""
    door = open_door(tenant=tenant, json=json)
    _tell(door, door.desk.keeping.release(hold_id))


def holds(
    released: Annotated[
        bool, typer.Option("--released", help="Those that were released as well.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many to show.")] = 50,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """List holds, the oldest first."""
    door = open_door(tenant=tenant, json=json)
    found = door.desk.keeping.list_holds(released=released, limit=limit)
    if json:
        print_json({"holds": to_json(found)})
    elif not found:
        door.screen.line("nothing is held")
    else:
        door.screen.table(
            ("id", "on", "by", "since", "released", "reason"),
            [
                (
                    one.id,
                    one.subject_id,
                    one.created_by,
                    local_time(one.created_at),
                    "" if one.released_at is None else local_time(one.released_at),
                    one_line(one.reason),
                )
                for one in found
            ],
            flexible=("reason",),
        )


def sweep(json: Json = False) -> None:
    """Delete the bytes of what has expired, of every tenant, an hour after nothing needs them.

    `factory sweep`, `factory up` and workers do it once an hour.
    """
    door = open_stores(json=json)
    swept = door.runtime.artifact_sweeper.sweep()
    if json:
        print_json(swept)
    else:
        door.screen.line(f"deleted {swept.deleted}; {swept.marked} more can be deleted in an hour")


def kept(artifact: Artifact) -> str:
    """Until when an artifact is kept, in a few words."""
    if artifact.body_deleted_at is not None:
        return "deleted"
    if artifact.expires_at is not None:
        return f"until {local_time(artifact.expires_at)}"
    return "until downloaded" if artifact.once_downloaded else "for good"


def _tell(door: Door, told: Hold) -> None:
    if door.json:
        print_json({"hold": to_json(told)})
        return
    stands = "is held" if told.released_at is None else "is held no more"
    door.screen.line(f"{told.id}: {told.scope} {told.subject_id} {stands}")
