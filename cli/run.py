"""`factory run`: ask for a run and see it through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cli.door import Door, StoreDoor, open_door
from cli.inputs import gather_inputs
from cli.options import Json, TemplateName, Tenant, duration_option
from factory_runtime.domain.errors import FactoryError
from factory_runtime.domain.run import Priority, RunRequest


def run(
    template: TemplateName,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="One input; repeat it for more."),
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Inputs in YAML or JSON; - is standard input."),
    ] = None,
    tenant: Tenant = None,
    project: Annotated[
        str | None, typer.Option(help="Where it belongs; FACTORY_PROJECT by default.")
    ] = None,
    module: Annotated[str | None, typer.Option(help="The part of the project.")] = None,
    priority: Annotated[Priority, typer.Option(help="Which queue it stands in.")] = Priority.NORMAL,
    deadline: Annotated[
        str | None, typer.Option(metavar="DURATION", help="The most it may take, like 2h.")
    ] = None,
    version: Annotated[
        str | None,
        typer.Option("--template-version", metavar="VERSION", help="Which, where there are more."),
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The same key gives the same run.")
    ] = None,
    drawn_from: Annotated[
        list[str] | None,
        typer.Option(metavar="MEMORY", help="A memory that you drew from; repeat it for more."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan; record and start nothing.")
    ] = False,
    json: Json = False,
) -> int:
    """Make something from a template: ask for a run, execute it, tell what came of it."""
    door = open_door(tenant=tenant, json=json)
    request = RunRequest(
        tenant_id=door.desk.tenant,
        project_id=project or door.desk.project,
        template=template,
        inputs=gather_inputs(set_ or [], inputs, _inputs_schema(door, template, version)),
        requested_by=door.desk.me().name,
        module_id=module,
        priority=priority,
        version=version,
        deadline=duration_option(deadline, "--deadline"),
        idempotency_key=idempotency_key,
        drawn_from=tuple(drawn_from or ()),
    )
    if dry_run:
        return _preview(door, request)
    return _carry_out(door, request)


def _preview(door: Door, request: RunRequest) -> int:
    from cli.plan_view import show_plan
    from cli.similar import SimilarRuns

    preview = door.desk.preview(request)
    similar = SimilarRuns.of_plan(door, preview.plan)
    similar.start()
    show_plan(door, request, preview, similar.wait())
    return 0


def _carry_out(door: Door, request: RunRequest) -> int:
    run = door.desk.request(request)
    if isinstance(door, StoreDoor):
        from cli.execute import execute

        return execute(door, run)
    from cli.see_through import see_through

    return see_through(door, run)


def _inputs_schema(door: Door, template: str, version: str | None) -> Mapping[str, Any]:
    """The template's schema; nothing where it cannot be loaded: the request will say why."""
    try:
        return door.desk.inputs_schema(template, version)
    except FactoryError:
        return {}
