"""`factory prove`: kill a run of a template at every point, and see that nothing is lost or doubled."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.as_json import print_json
from cli.door import StoreDoor, open_stores
from cli.errors import DONE, RUN_FAILED
from cli.inputs import gather_inputs
from cli.options import Json, TemplateName
from cli.person import person
from cli.screen import Screen, is_terminal
from cli.text import duration
from factory_runtime.domain.errors import FactoryError, InputError
from factory_runtime.domain.policy import BLOCK, names_block
from factory_runtime.domain.run import RunRequest

if TYPE_CHECKING:
    from deployments.prove.points import Point
    from deployments.prove.proof import Proof, Row
    from deployments.prove.sandbox import LentBlock, Sandbox

_CHECKS = ("killed", "run", "tree", "artifacts", "effects", "attempts", "processes")


def prove(
    template: TemplateName,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="One input; repeat it for more."),
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Inputs in YAML or JSON; - is standard input."),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(metavar="POINT", help="Only this point of each job; repeat it for more."),
    ] = None,
    undo: Annotated[
        bool, typer.Option("--undo", help="Kill the undo of runs that have ended, not the runs.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the sandbox there, and say where.")
    ] = False,
    git_host: Annotated[
        str | None,
        typer.Option(
            "--git-host",
            metavar="block:NAME",
            help="Make repositories there, in projects prove-1, …",
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Kill runs of a template at every point of every job, go on with them, and compare.

    All of it happens in a sandbox, but for repositories at a --git-host. Points: claimed, before-effect, after-effect, before-commit,
    after-commit. The exit code is 1 where a killed run has left something else than one that was
    not disturbed. With --undo, each run ends in peace, and what is killed is its undo.
    """
    door = open_stores(json=json)
    wanted = _points(point or [])
    from deployments.prove.sandbox import Sandbox

    request = RunRequest(
        tenant_id=door.tenant,
        project_id=door.settings.project,
        template=template,
        inputs=gather_inputs(set_ or [], inputs, _inputs_schema(door, template)),
        requested_by=person(),
    )
    lent = None if git_host is None else _read_block(door, git_host)
    with Sandbox(door.settings, keep=keep, git_host=lent) as sandbox:
        bring_published(door, sandbox, template)
        proof = _prove(sandbox, request, wanted, undo=undo)
    kept = sandbox if keep else None
    if json:
        print_json(_as_json(proof, kept))
    else:
        _show(door.screen, proof, kept)
    return RUN_FAILED if proof.failed else DONE


def _read_block(door: StoreDoor, named: str) -> LentBlock:
    from cli.at_prefect import at_prefect, get_api_url
    from deployments.prove.sandbox import LentBlock

    if not names_block(named):
        raise InputError(f"{named[:80]!r} names no block", hint=f"--git-host {BLOCK}NAME")
    with at_prefect(door, get_api_url(door)):
        from factory_runtime.hosts.opening import KIND
        from factory_runtime.orchestration.credential_blocks import CredentialBlocks
        from factory_runtime.services.credentials import lend

        found = lend(CredentialBlocks(), KIND, named, door.tenant)
    return LentBlock(found.name, found.fields)


def _prove(
    sandbox: Sandbox, request: RunRequest, wanted: tuple[Point, ...], *, undo: bool
) -> Proof:
    from deployments.prove.proof import prove as prove_template

    watched = is_terminal(sys.stderr)
    screen = Screen(sys.stderr)

    def tell(row: Row, number: int, total: int) -> None:
        if watched:
            outcome = "FAILED" if row.failed else "skipped" if row.skipped else "ok"
            style = "bad" if row.failed else "dim"
            words = f"{number}/{total}  {_place(row)}  {outcome}  {duration(row.seconds)}"
            screen.line(words, style)
            sys.stderr.flush()

    if watched:
        screen.line(f"preparing a sandbox in {sandbox.folder}", "dim")
    try:
        return prove_template(sandbox, request, wanted, tell, undo=undo)
    except FactoryError as error:
        error.run_id = None  # recorded in the sandbox alone
        raise


def bring_published(door: StoreDoor, sandbox: Sandbox, template: str) -> None:
    """The sandbox shares folders, and no store: what was published is published to it too."""
    catalog = door.runtime.catalog
    if catalog.publications(door.tenant, template):
        found = catalog.load(template, tenant_id=door.tenant)
        if catalog.publication_of(found, door.tenant) is not None:
            sandbox.runtime.publisher.publish(door.tenant, str(found.folder), person())


def _points(names: list[str]) -> tuple[Point, ...]:
    from deployments.prove.points import CRASH_POINTS

    known = {point.value: point for point in CRASH_POINTS}
    for name in names:
        if name not in known:
            raise InputError(f"{name!r} is no point", hint=f"there are: {', '.join(known)}")
    return tuple(known[name] for name in names) or CRASH_POINTS


def _inputs_schema(door: StoreDoor, template: str) -> Any:
    """The template's schema; nothing where it cannot be loaded: the request will say why."""
    try:
        return door.runtime.catalog.load(template, tenant_id=door.tenant).inputs_schema
    except FactoryError:
        return {}


def _place(row: Row) -> str:
    if row.point is None:
        return "undisturbed"
    effect = f" ({row.effect})" if row.effect else ""
    return f"{row.point}{effect} {row.job}"


# --- what came of it


def _show(screen: Screen, proof: Proof, kept: Sandbox | None) -> None:
    rows = (proof.undisturbed, *proof.rows)
    names = ("point", "effect", "job", *_CHECKS, "n", "seconds")
    screen.table(names, [_cells(row) for row in rows], flexible=("job",))
    if proof.failed:
        screen.heading("What differs")
        for row in proof.failed:
            screen.line(f"{_place(row)}  {row.run_id or ''}", "bad")
            for differences in row.differs.values():
                for difference in differences:
                    screen.line(f"  {difference}")
    if proof.varying:
        screen.heading("Holds something of the run itself, so its content is not compared")
        for name in proof.varying:
            screen.line(name)
    screen.line()
    killed = sum(row.killed for row in proof.rows)
    what = f"{'the undo of ' if proof.undo else ''}{proof.template} {proof.version}"
    spoken = f"{what}: killed {killed} times, {len(proof.failed)} failed"
    screen.line(spoken, "bad" if proof.failed else "good")
    if kept is not None:
        screen.line(f"the sandbox is kept in {kept.folder}")


def _cells(row: Row) -> tuple[str, ...]:
    if row.skipped is not None:
        checks = ("skipped", *("" for _ in _CHECKS[1:]))
        return (str(row.point), "", row.job or "", *checks, "", "")
    checks = tuple(_check(row, name) for name in _CHECKS)
    point = "undisturbed" if row.point is None else str(row.point)
    number = str(row.attempts)
    return (point, row.effect or "", row.job or "", *checks, number, f"{row.seconds:.1f}")


def _check(row: Row, name: str) -> str:
    if row.differs.get(name):
        return "FAILED"
    if name == "killed":
        return "yes" if row.killed else ""
    return str(row.run) if name == "run" else "ok"


def _as_json(proof: Proof, kept: Sandbox | None) -> dict[str, Any]:
    return {
        "template": proof.template,
        "version": proof.version,
        "undo": proof.undo,
        "undisturbed": _row_as_json(proof.undisturbed),
        "rows": [_row_as_json(row) for row in proof.rows],
        "failed": len(proof.failed),
        "varying": proof.varying,
        "sandbox": None if kept is None else kept.folder,
    }


def _row_as_json(row: Row) -> dict[str, Any]:
    checks = {name: not row.differs.get(name) for name in _CHECKS if row.skipped is None}
    return {
        "point": row.point,
        "job": row.job,
        "effect": row.effect,
        "outcome": "failed" if row.failed else "skipped" if row.skipped else "held",
        "skipped": row.skipped,
        "killed": row.killed,
        "run_id": row.run_id,
        "run": row.run,
        "checks": checks,
        "attempts": row.attempts,
        "seconds": round(row.seconds, 2),
        "differs": [text for texts in row.differs.values() for text in texts],
    }
