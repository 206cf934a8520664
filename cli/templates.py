"""`factory templates`: which there are, whether one is in order, and where it is deployed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cli.as_json import print_json, to_json
from cli.desk.desk import Offer
from cli.door import Door, StoreDoor, open_door, open_here, open_stores
from cli.errors import BAD_INPUT, DONE
from cli.options import Json, TemplateName, Tenant
from cli.template_deploy import deploy
from cli.template_publish import publication_facts, publish, show_publication, withdraw
from cli.template_suggest import suggest
from cli.text import duration, one_line
from factory_runtime.domain.errors import NotFoundError, Problem

if TYPE_CHECKING:
    from factory_runtime.domain.template import Template

app = typer.Typer(
    help="The templates at hand: list, show, check, publish and deploy them.",
    no_args_is_help=True,
)
for command in (publish, withdraw, deploy, suggest):
    app.command()(command)


@app.command("list")
def list_templates(tenant: Tenant = None, json: Json = False) -> None:
    """List the templates there are, and what the tenant's policy does not allow."""
    door = open_door(tenant=tenant, json=json)
    offers, refused = door.desk.offers()
    rows = [_facts_of(offer) for offer in offers]
    if json:
        print_json({"templates": rows})
        return
    door.screen.table(
        ("template", "version", "title", "also", "from", "problem"),
        [_row(row) for row in rows],
        flexible=("title", "from", "problem"),
    )
    if refused is not None:
        door.screen.line(refused, "warn")


@app.command()
def show(
    template: TemplateName,
    version: Annotated[
        str | None, typer.Option("--template-version", help="Which, where there are several.")
    ] = None,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Show what a template asks for, what it does, and where it comes from."""
    door = open_door(tenant=tenant, json=json)
    loaded, published = door.desk.template(template, version)
    if json:
        facts = None if published is None else publication_facts(published)
        print_json({**to_json(loaded), "publication": facts})
        return
    _show(door, loaded)
    if published is not None:
        door.screen.heading("Published")
        show_publication(door, published)


@app.command()
def check(
    template: Annotated[
        str, typer.Argument(metavar="DIR_OR_NAME", help="A template's folder, or its name.")
    ],
    tenant: Tenant = None,
    json: Json = False,
) -> int:
    """Report everything that is wrong with a template."""
    from factory_runtime.compiler.load import check_template

    door = _door_to_check(template, tenant, json=json)
    folder = _folder(door, template)
    job_types = door.runtime.catalog.job_types
    problems = check_template(folder, job_types, source_roots=door.settings.source_roots)
    if json:
        print_json({"folder": folder, "problems": to_json(problems)})
    else:
        _show_problems(door, folder, problems)
    return BAD_INPUT if problems else DONE


def _door_to_check(template: str, tenant: str | None, *, json: bool) -> StoreDoor:
    """The stores, of which nothing is asked where a folder is named."""
    if _named_folder(template) is None:
        return open_stores(tenant=tenant, json=json)
    return open_here(tenant=tenant, json=json)


def _named_folder(template: str) -> Path | None:
    place = Path(template)
    if place.name == "template.yaml":
        place = place.parent
    return place if place.is_dir() else None


def _folder(door: StoreDoor, template: str) -> Path:
    """What is a path is taken for one; anything else is a name."""
    if (place := _named_folder(template)) is not None:
        return place
    if "/" in template or template.startswith("."):
        raise NotFoundError(f"there is no folder {template}", hint="look at the path")
    door.desk.refuse_unknown(template)
    catalog = door.runtime.catalog
    # Of what was published it is known that it was in order; a folder has to be looked at.
    found = catalog.find_folder(template)
    return found or catalog.load(template, tenant_id=door.tenant).folder


def _show_problems(door: Door, folder: Path, problems: Sequence[Problem]) -> None:
    if not problems:
        door.screen.line(f"{folder} is in order", "good")
        return
    for problem in problems:
        place = f"{problem.file}:{problem.line}:{problem.column}"
        door.screen.line(f"{place}: {problem.code} {problem.message}")
        if problem.hint:
            door.screen.line(f"  {problem.hint}", "dim")
    count = len(problems)
    door.screen.line(f"{count} problem{'' if count == 1 else 's'}", "bad")


def _facts_of(offer: Offer) -> dict[str, Any]:
    facts = {**to_json(offer), "published": [publication_facts(one) for one in offer.published]}
    if offer.allowed is None:
        del facts["allowed"]
    return facts


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    beside = [one["version"] for one in row["published"] if one["version"] != row["version"]]
    origin = row["origin"] if row["published"] else ""
    also = ", ".join(beside)
    return (row["id"], row["version"], row["title"], also, origin, row["problem"] or "")


def _show(door: Door, template: Template) -> None:
    screen = door.screen
    screen.facts(
        [
            ("template", f"{template.id} {template.version}"),
            ("title", template.title),
            ("description", one_line(template.description)),
            ("folder", "" if template.folder == Path() else str(template.folder)),
            ("digest", template.digest),
            ("deadline", duration(template.deadline)),
        ]
    )
    required = cast(list[str], template.inputs_schema.get("required") or [])
    properties = cast(Mapping[str, Any], template.inputs_schema.get("properties") or {})
    if properties:
        screen.heading("Inputs")
        rows = [_input_row(name, inner, name in required) for name, inner in properties.items()]
        screen.table(("input", "type", "default", "says"), rows, flexible=("default", "says"))
    screen.heading("Steps")
    screen.table(
        ("step", "type", "needs", "for each", "when"),
        [(s.name, s.type, ", ".join(s.needs), s.each or "", s.when or "") for s in template.steps],
        flexible=("needs", "for each", "when"),
    )


def _input_row(name: str, schema: Any, required: bool) -> tuple[str, str, str, str]:
    facts: Mapping[str, Any] = (
        cast(Mapping[str, Any], schema) if isinstance(schema, Mapping) else {}
    )
    named = facts.get("type", "")
    spoken = " or ".join(cast(list[str], named)) if isinstance(named, list) else str(named)
    choices = cast(list[Any], facts.get("enum") or [])
    says = " | ".join(str(choice) for choice in choices) or one_line(
        str(facts.get("description") or facts.get("title") or "")
    )
    default = "required" if required else str(facts.get("default", ""))
    return (name, spoken, default, says)
