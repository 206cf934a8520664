"""`factory deploy`: what a Prefect server is to do for the factory besides running its flows."""

from __future__ import annotations

import json as json_library
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.as_json import print_json
from cli.at_prefect import at_prefect, get_api_url
from cli.door import open_stores
from cli.options import Json
from factory_runtime.domain.errors import InputError

if TYPE_CHECKING:
    from deployments.automations import Standing, Wanted

app = typer.Typer(
    help="What a Prefect server does for the factory besides running flows.", no_args_is_help=True
)

Alert = Annotated[
    str | None,
    typer.Option(
        metavar="TYPE/NAME",
        help="A notification block of Prefect's that dead letters are told to: slack-webhook/ops.",
    ),
]
On = Annotated[
    str | None,
    typer.Option(metavar="EVENT", help="Besides, run a deployment when this event comes."),
]
PoolType = Annotated[
    str, typer.Option(metavar="TYPE", help="Of a work pool that is not there yet.")
]
Run = Annotated[
    str | None, typer.Option(metavar="FLOW/DEPLOYMENT", help="The deployment that --on runs.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A parameter of it; text may be a Jinja template: '{{ event.payload.name }}'.",
    ),
]


@app.command()
def automations(
    alert: Alert = None,
    on: On = None,
    run: Run = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Have automations on the server: zombies, dead letters, a deployment run on an event.

    Those that are there and differ, by an edit in the UI or an older release, are repaired; what
    was switched off stays off.
    """
    parameters = _parameters(on, run, set_ or [])
    door = open_stores(json=json)
    with at_prefect(door, get_api_url(door)):
        standings = _deploy(alert, on, run, parameters)
    if json:
        print_json({"automations": standings})
        return
    door.screen.table(
        ("automation", "what", "detail"),
        [(one.name, one.did, _detail(one)) for one in standings],
        flexible=("detail",),
    )


@app.command()
def routes(pool_type: PoolType = "factory", json: Json = False) -> None:
    """Make the work queues that FACTORY_JOB_ROUTES names, and a deployment for each of them.

    Nothing else makes them: a job that is routed to one that is not there waits, and says so. Doing
    it again mends what somebody has changed.
    """
    door = open_stores(json=json)
    wanted = sorted(set(door.runtime.routes.values()))
    if not wanted:
        raise InputError(
            "no route is set",
            hint='name some: FACTORY_JOB_ROUTES=\'{"documentation": "docs-pool/docs"}\'',
        )
    with at_prefect(door, get_api_url(door)):
        from factory_runtime.orchestration.routes import ensure_route

        made = [(route, ensure_route(route, pool_type)) for route in wanted]
    types = {
        route: [name for name, its in door.runtime.routes.items() if its == route]
        for route in wanted
    }
    if json:
        print_json(
            {
                "routes": [
                    {"route": str(route), "job_types": types[route], "done": list(done)}
                    for route, done in made
                ]
            }
        )
        return
    door.screen.table(
        ("route", "job types", "done"),
        [
            (str(route), ", ".join(types[route]), ", ".join(done) or "nothing")
            for route, done in made
        ],
        flexible=("job types",),
    )


def _deploy(
    alert: str | None, on: str | None, run: str | None, parameters: dict[str, Any]
) -> list[Standing]:
    from deployments import our_automations as ours
    from deployments.automations import Standing, deploy

    target = None if alert is None else ours.find_target(alert)
    wanted: list[Wanted] = [ours.zombies(), ours.dead_letters(target)]
    skipped = list[Standing]()
    sweep = ours.find_sweep()
    if sweep is not None:
        wanted.append(ours.sweep_after_crashes(sweep))
    else:
        why = "the flow sweep has no deployment: `prefect deploy --all` makes one"
        skipped.append(Standing("Factory: sweep after crashes", "skipped", detail=(why,)))
    if on is not None and run is not None:
        wanted.append(ours.run_on_event(on, run, ours.find_deployment(run), parameters))
    return [*deploy(wanted), *skipped]


def _parameters(on: str | None, run: str | None, settings: Sequence[str]) -> dict[str, Any]:
    """What ``--set`` says.

    Raises:
        InputError: it is no ``name=value``; or one of ``--on`` and ``--run`` is missing.
    """
    if (on is None) != (run is None) or (settings and run is None):
        raise InputError("--on EVENT and --run FLOW/DEPLOYMENT belong together")
    parameters = dict[str, Any]()
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not (name and separator):
            raise InputError(f"--set {setting!r} is no NAME=VALUE")
        if name in parameters:
            raise InputError(f"{name} is set twice", hint="give it one value")
        parameters[name] = _value(text)
    return parameters


def _value(text: str) -> Any:
    """What it says as JSON, else the text: the deployment's own schema has the last word."""
    try:
        return json_library.loads(text)
    except ValueError:
        return text


def _detail(standing: Standing) -> str:
    off = () if standing.enabled else ("switched off",)
    return ", ".join((*standing.detail, *off))
