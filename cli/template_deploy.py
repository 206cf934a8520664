"""`factory templates deploy`: have Prefect offer templates to a tenant, each with its form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.as_json import print_json
from cli.at_prefect import at_prefect, get_api_url
from cli.completion import complete_template
from cli.door import StoreDoor, open_stores
from cli.errors import DONE, exit_code_of, facts_of, report
from cli.options import Json, Tenant
from cli.person import person
from cli.text import duration
from factory_runtime.compiler.cron import cron_problem
from factory_runtime.compiler.durations import DURATION_HINT, parse_duration
from factory_runtime.domain.deployment import queue_named
from factory_runtime.domain.errors import (
    FactoryError,
    InputError,
    NotFoundError,
    TransientError,
    UnknownTemplateError,
)
from factory_runtime.domain.ids import is_slug
from factory_runtime.domain.template import Schedule, Template

if TYPE_CHECKING:
    from deployments.register import Deployed, DeployOrder
    from factory_runtime.domain.deployment import Deployment

_NO_SCHEDULE = "none"

Templates = Annotated[
    list[str] | None,
    typer.Argument(metavar="[TEMPLATE]...", help="Names.", autocompletion=complete_template),
]
All = Annotated[
    bool, typer.Option("--all", help="All there are; tells of deployments whose template is gone.")
]
Project = Annotated[
    str | None, typer.Option(help="Of the runs that begin in it; else as before, FACTORY_PROJECT.")
]
Queue = Annotated[
    str | None, typer.Option(help="high, normal or low; else as before, at first normal.")
]
When = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        metavar="CRON|DURATION|none",
        help="Instead of the template's own, until it is deployed again: '0 6 * * 1-5', 30m.",
    ),
]


@dataclass
class Outcome:
    """What became of each template.

    Attributes:
        refused: by name, why.
        gone: deployments whose template is not there any more.
    """

    deployed: list[Deployed] = field(default_factory=list["Deployed"])
    refused: dict[str, FactoryError] = field(default_factory=dict[str, FactoryError])
    gone: Sequence[Deployment] = ()


def deploy(
    templates: Templates = None,
    all_: All = False,
    tenant: Tenant = None,
    project: Project = None,
    queue: Queue = None,
    schedule: When = None,
    json: Json = False,
) -> int:
    """Have Prefect offer templates to a tenant, each as a deployment with a form of its inputs.

    Again, it brings to order what somebody edited in the UI; what was paused there stays paused.
    """
    if all_ == bool(templates):
        raise InputError("say which templates", hint="name them, or give --all")
    if project is not None and not is_slug(project):
        raise InputError(
            f"{project!r} cannot be a project", hint="use lower-case letters, digits, - _ or ."
        )
    priority = None if queue is None else queue_named(queue)
    schedule_of = _schedule_option(schedule)
    door = open_stores(tenant=tenant, json=json)
    names = list(dict.fromkeys(templates or door.runtime.catalog.names(door.tenant)))
    _refuse_unknown(door, names)
    api_url = get_api_url(door)
    with at_prefect(door, api_url):
        from deployments.register import DeployOrder

        order = DeployOrder(door.tenant, person(), project, priority)
        if schedule_of is not None:
            order = replace(order, schedule_of=schedule_of)
        outcome = _deploy(door, names, order, with_gone=all_)
    _tell(door, outcome, api_url.removesuffix("/api"))
    return max((exit_code_of(error) for error in outcome.refused.values()), default=DONE)


def _deploy(
    door: StoreDoor, names: Sequence[str], order: DeployOrder, *, with_gone: bool
) -> Outcome:
    """Each by itself: one that is refused stops no other."""
    from deployments.register import deploy_template, withdraw_gone
    from factory_runtime.orchestration.work_pool import ensure_work_pool
    from flows.hooks import share_runtime

    share_runtime(door.runtime)
    ensure_work_pool()
    outcome = Outcome()
    for name in names:
        try:
            outcome.deployed.append(deploy_template(door.runtime, name, order))
        except TransientError:
            raise  # it would be the same with all of them
        except FactoryError as error:
            outcome.refused[name] = error
    if with_gone:
        outcome.gone = withdraw_gone(door.runtime, door.tenant, order.by)
    return outcome


def _refuse_unknown(door: StoreDoor, names: Sequence[str]) -> None:
    """Before anything is done: one that is misspelt leaves nothing half-deployed."""
    for name in names:
        try:
            door.runtime.catalog.refuse_unknown(name, door.tenant)
        except UnknownTemplateError as error:
            raise NotFoundError(str(error), hint=error.hint) from error


def _schedule_option(text: str | None) -> Callable[[Template], Schedule | None] | None:
    """The schedule that ``--schedule`` gives a template; None leaves it its own.

    Raises:
        InputError: it is none.
    """
    if text is None:
        return None
    if text == _NO_SCHEDULE:
        return lambda _: None
    interval = parse_duration(text)
    problem = None if interval else cron_problem(text)
    if problem is not None:
        raise InputError(
            f"--schedule is {text!r}, which is no schedule",
            hint=f"write cron's minute hour day month weekday, a duration {DURATION_HINT}, or none",
        )

    def changed(template: Template) -> Schedule:
        cron = None if interval else text
        return replace(template.schedule or Schedule(), cron=cron, interval=interval)

    return changed


def _tell(door: StoreDoor, outcome: Outcome, ui_url: str) -> None:
    if door.json:
        refused = {name: facts_of(error) for name, error in outcome.refused.items()}
        deployed = [_facts(one, ui_url) for one in outcome.deployed]
        print_json({"deployed": deployed, "refused": refused, "gone": outcome.gone})
        return
    if outcome.deployed:
        door.screen.table(
            ("deployment", "version", "project", "queue", "schedule", "what"),
            [_row(one) for one in outcome.deployed],
            flexible=("what",),
        )
    for one in outcome.gone:
        line = f"{one.template_id}/{one.tenant_id}: the template is gone, and its runs fail"
        door.screen.line(line, "warn")
        door.screen.line("delete the deployment in Prefect, or put the template back", "dim")
    for error in outcome.refused.values():
        report(error, as_json=False)


def _facts(one: Deployed, ui_url: str) -> dict[str, Any]:
    deployment = one.deployment
    return {
        "template": deployment.template_id,
        "version": deployment.version,
        "tenant": deployment.tenant_id,
        "project": deployment.project_id,
        "queue": deployment.priority,
        "schedule": None if one.schedule is None else _spelt(one.schedule),
        "prefect_id": deployment.prefect_id,
        "url": f"{ui_url}/deployments/deployment/{deployment.prefect_id}",
        "new": one.is_new,
        "changed": one.changed,
    }


def _row(one: Deployed) -> tuple[str, ...]:
    deployment = one.deployment
    changed = ", ".join(one.changed)
    what = "new" if one.is_new else f"changed: {changed}" if changed else "stood already"
    return (
        f"{deployment.template_id}/{deployment.tenant_id}",
        deployment.version,
        deployment.project_id,
        deployment.priority,
        "" if one.schedule is None else _spelt(one.schedule),
        what,
    )


def _spelt(schedule: Schedule) -> str:
    if schedule.interval is not None:
        return f"every {duration(schedule.interval)}"
    zone = "" if schedule.timezone == "UTC" else f" {schedule.timezone}"
    return f"{schedule.cron}{zone}"
