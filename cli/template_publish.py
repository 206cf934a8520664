"""`factory templates publish` and `withdraw`: which versions a tenant can run from the stores alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.as_json import print_json
from cli.door import Door, open_stores
from cli.options import Json, TemplateName, Tenant
from cli.person import person
from cli.text import local_time

if TYPE_CHECKING:
    from factory_runtime.domain.publication import Publication

Place = Annotated[
    str,
    typer.Argument(
        metavar="DIR_OR_URL",
        help="A folder, or git+https://host/org/repo@REF[#subdirectory=…] on a listed host.",
    ),
]
Version = Annotated[str | None, typer.Argument(metavar="[VERSION]", help="All of them without.")]


def publish(place: Place, tenant: Tenant = None, json: Json = False) -> None:
    """Publish a version of a template to a tenant, pinned to what it is now.

    From then on it needs neither the folder nor the git host: every process that shares the stores
    can run it. A published version never changes; the same once more is no error.
    """
    door = open_stores(tenant=tenant, json=json)
    published = door.runtime.publisher.publish(door.tenant, place, person())
    facts = publication_facts(published.publication, published.template.digest)
    if json:
        print_json({**facts, "new": published.is_new})
        return
    one = published.publication
    what = f"{one.template_id} {one.version}"
    door.screen.line(
        f"published {what}" if published.is_new else f"{what} is published already", "good"
    )
    show_publication(door, one, published.template.digest)


def withdraw(
    template: TemplateName, version: Version = None, tenant: Tenant = None, json: Json = False
) -> None:
    """Let no more runs begin with a published version; those that have begun go on.

    Its deployment stays, and runs that are started there fail and say why, unless an older version,
    or one that is built in, takes its place.
    """
    door = open_stores(tenant=tenant, json=json)
    gone = door.runtime.publisher.withdraw(door.tenant, template, version, person())
    if json:
        print_json({"withdrawn": [publication_facts(one) for one in gone]})
        return
    for one in gone:
        door.screen.line(f"withdrew {one.template_id} {one.version}", "good")


def publication_facts(one: Publication, digest: str | None = None) -> dict[str, Any]:
    """A publication for another program."""
    facts = {
        "template": one.template_id,
        "version": one.version,
        "tenant": one.tenant_id,
        "origin": one.origin,
        "ref": one.ref,
        "commit": one.commit_id,
        "published_at": one.published_at,
        "published_by": one.published_by,
        "withdrawn_at": one.withdrawn_at,
    }
    return facts if digest is None else {**facts, "digest": digest}


def show_publication(door: Door, one: Publication, digest: str = "") -> None:
    """Where a version came from."""
    door.screen.facts(
        [
            ("from", one.origin),
            ("ref", one.ref or ""),
            ("commit", one.commit_id or ""),
            ("digest", digest),
            ("published", f"{local_time(one.published_at)} by {one.published_by}"),
        ]
    )
