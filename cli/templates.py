"""`factory templates`: which there are, whether one is in order, and where it is deployed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cli.as_json import print_json, to_json
from cli.door import Door, open_door
from cli.errors import BAD_INPUT, DONE
from cli.options import Json, TemplateName, Tenant
from cli.template_deploy import deploy
from cli.text import duration, one_line
from factory_runtime.domain.errors import (
    FactoryError,
    InputError,
    NotFoundError,
    Problem,
    TransientError,
)

if TYPE_CHECKING:
    from factory_runtime.domain.template import Template

app = typer.Typer(
    help="The templates at hand: list, show, check and deploy them.", no_args_is_help=True
)
app.command()(deploy)


@app.command("list")
def list_templates(tenant: Tenant = None, json: Json = False) -> None:
    """List the templates there are, and what the tenant's policy does not allow."""
    door = open_door(tenant=tenant, json=json)
    rows = [_summary(door, name) for name in door.runtime.catalog.names()]
    refused = _mark_refused(door, rows)
    if json:
        print_json({"templates": rows})
        return
    door.screen.table(
        ("template", "version", "title", "problem"),
        [(row["id"], row["version"], row["title"], row["problem"] or "") for row in rows],
        flexible=("title", "problem"),
    )
    if refused is not None:
        door.screen.line(refused, "warn")


@app.command()
def show(template: TemplateName, json: Json = False) -> None:
    """Show what a template asks for and what it does."""
    door = open_door(json=json)
    _refuse_unknown(door, template)
    loaded = door.runtime.catalog.load(template)
    if json:
        print_json(loaded)
    else:
        _show(door, loaded)


@app.command()
def check(
    template: Annotated[
        str, typer.Argument(metavar="DIR_OR_NAME", help="A template's folder, or its name.")
    ],
    json: Json = False,
) -> int:
    """Report everything that is wrong with a template."""
    from factory_runtime.compiler.load import check_template

    door = open_door(json=json)
    folder = _folder(door, template)
    job_types = door.runtime.catalog.job_types
    problems = check_template(folder, job_types, source_roots=door.settings.source_roots)
    if json:
        print_json({"folder": folder, "problems": to_json(problems)})
    else:
        _show_problems(door, folder, problems)
    return BAD_INPUT if problems else DONE


def _folder(door: Door, template: str) -> Path:
    """What is a path is taken for one; anything else is a name."""
    place = Path(template)
    if place.name == "template.yaml":
        place = place.parent
    if place.is_dir():
        return place
    if "/" in template or template.startswith("."):
        raise NotFoundError(f"there is no folder {template}", hint="look at the path")
    _refuse_unknown(door, template)
    return door.runtime.catalog.folder_of(template)


def _refuse_unknown(door: Door, name: str) -> None:
    """Here the template is what is looked for, not an input: a missing one is not found."""
    try:
        door.runtime.catalog.folder_of(name)
    except InputError as exc:
        raise NotFoundError(str(exc), hint=exc.hint) from exc


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


def _summary(door: Door, name: str) -> dict[str, Any]:
    try:
        template = door.runtime.catalog.load(name)
    except FactoryError as error:
        return {"id": name, "version": "", "title": "", "description": "", "problem": str(error)}
    return {
        "id": template.id,
        "version": template.version,
        "title": template.title,
        "description": template.description,
        "problem": None,
    }


def _mark_refused(door: Door, rows: Sequence[dict[str, Any]]) -> str | None:
    """Name the rule that refuses a template as its problem; why none can be asked for, if so."""
    from factory_runtime.services.policy_check import template_refusals

    try:
        policies = door.runtime.policies.of(door.tenant)
    except TransientError as error:
        return str(error)
    for row in rows:
        refusals = template_refusals(policies, row["id"], row["version"])
        row["allowed"] = not refusals
        if row["problem"] is None and refusals:
            row["problem"] = str(refusals[0])
    return None


def _show(door: Door, template: Template) -> None:
    screen = door.screen
    screen.facts(
        [
            ("template", f"{template.id} {template.version}"),
            ("title", template.title),
            ("description", one_line(template.description)),
            ("folder", str(template.folder)),
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
