"""`factory policy`: what a tenant may ask for: show, check, apply and remove it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.as_json import print_json, to_json
from cli.door import StoreDoor, open_stores
from cli.errors import BAD_INPUT, DONE
from cli.options import Json, Tenant
from cli.person import person
from cli.policy_words import limit_rows, rule_rows
from cli.text import moment
from factory_runtime.domain.errors import InputError, NotFoundError, Problem

if TYPE_CHECKING:
    from factory_runtime.compiler.policy_file import PolicyReading
    from factory_runtime.domain.policy import PolicyRecord

app = typer.Typer(
    help="What a tenant may ask for: show, check, apply and remove it.", no_args_is_help=True
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="A policy in YAML.")]
IfVersion = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", help="Only if version N stands in the table; 0 is none."),
]


@app.command()
def show(
    tenant: Tenant = None,
    text: Annotated[
        bool, typer.Option("--text", help="The one in the table, as it was applied.")
    ] = False,
    json: Json = False,
) -> None:
    """Show a tenant's rules, where each comes from, and what they come to together."""
    from factory_runtime.services.combined_policies import combined_limits, combined_notices
    from factory_runtime.services.policy_check import day_of

    door = open_stores(tenant=tenant, json=json)
    if text:
        _show_text(door)
        return
    policies = door.runtime.policies.of(door.tenant)
    with door.desk.reading() as tx:
        record = tx.find_policy()
        today = tx.count_runs_since(day_of(door.runtime.clock.now()))
    limits, notices = combined_limits(policies), combined_notices(policies)
    if json:
        table = _record_facts(record)
        facts = {"tenant": door.tenant, "policies": policies, "table": table}
        print_json({**facts, "limits": limits, "notices": notices, "runs_today": today})
        return
    screen = door.screen
    if not policies:
        screen.line(f"tenant {door.tenant} has no policy: everything is allowed")
        return
    for policy in policies:
        screen.heading(policy.source + _told(door, policy.source, record))
        screen.table(("rule", "says"), rule_rows(policy), flexible=("says",))
    screen.heading("together")
    quotas = [one.runs_per_day for one in policies if one.runs_per_day is not None]
    of = f" of {min(quotas)}" if quotas else ""
    screen.facts([*limit_rows(limits), ("runs accepted today", f"{today}{of}")])


@app.command()
def check(file: File, json: Json = False) -> int:
    """Report everything that is wrong with a policy; nothing is applied."""
    door = open_stores(json=json)
    reading = _read(door, file, _body_of(file))
    if json:
        print_json({"file": file, "problems": reading.problems, "warnings": reading.warnings})
    else:
        _show_problems(door, reading.problems, "bad")
        _show_problems(door, reading.warnings, "warn")
        if not reading.problems:
            door.screen.line(f"{file} is in order", "good")
    return BAD_INPUT if reading.problems else DONE


@app.command()
def apply(
    file: File, tenant: Tenant = None, if_version: IfVersion = None, json: Json = False
) -> None:
    """Put a policy into the table, for every machine; the policy folder's rules stay as well."""
    from factory_runtime.services.apply_policy import apply_policy

    door = open_stores(tenant=tenant, json=json)
    runtime, body = door.runtime, _body_of(file)
    applied = apply_policy(
        runtime.store,
        runtime.clock,
        door.tenant,
        body,
        person(),
        file=str(file),
        expected=if_version,
    )
    warnings = _read(door, file, body).warnings
    if json:
        facts = _record_facts(applied.record)
        print_json({"tenant": door.tenant, **(facts or {}), "changed": applied.changed})
        return
    _show_problems(door, warnings, "warn")
    version = f"version {applied.record.version} of the policy of {door.tenant}"
    door.screen.line(f"{version} {'stands' if applied.changed else 'stood already'}", "good")


@app.command()
def remove(tenant: Tenant = None, if_version: IfVersion = None, json: Json = False) -> None:
    """Take a tenant's policy out of the table; the policy folder's rules stay."""
    from factory_runtime.services.apply_policy import remove_policy

    door = open_stores(tenant=tenant, json=json)
    removed = remove_policy(
        door.runtime.store, door.runtime.clock, door.tenant, person(), expected=if_version
    )
    if json:
        print_json({"tenant": door.tenant, **(_record_facts(removed.record) or {})})
    else:
        door.screen.line(f"the policy of {door.tenant} is out of the table", "good")


def _show_text(door: StoreDoor) -> None:
    """Even where it cannot be read as a policy: so that it can be mended."""
    with door.desk.reading() as tx:
        record = tx.find_policy()
    if record is None or not record.document:
        raise NotFoundError(f"tenant {door.tenant} has no policy in the table")
    if door.json:
        print_json({**(_record_facts(record) or {}), "document": record.document})
    else:
        sys.stdout.write(record.document)


def _body_of(file: Path) -> bytes:
    from factory_runtime.compiler.yaml_nodes import MAX_BYTES

    try:
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except FileNotFoundError as exc:
        raise NotFoundError(f"there is no file {file}", hint="look at the path") from exc
    except OSError as exc:
        raise InputError(f"{file} cannot be read: {exc.strerror}") from exc


def _read(door: StoreDoor, file: Path, body: bytes) -> PolicyReading:
    from factory_runtime.compiler.policy_file import Known, read_policy

    catalog = door.runtime.catalog
    known = Known(templates=catalog.names(door.tenant), job_types=sorted(catalog.job_types))
    return read_policy(body, str(file), file.name, known)


def _show_problems(door: StoreDoor, problems: Sequence[Problem], style: str) -> None:
    for problem in problems:
        place = f"{problem.file}:{problem.line}:{problem.column}"
        door.screen.line(f"{place}: {problem.code} {problem.message}", style)
        if problem.hint:
            door.screen.line(f"  {problem.hint}", "dim")


def _record_facts(record: PolicyRecord | None) -> dict[str, Any] | None:
    """What stands in the table, but for its text."""
    if record is None:
        return None
    facts = to_json(record)
    removed = not record.document
    return {name: facts[name] for name in ("version", "digest", "updated_at", "updated_by")} | {
        "removed": removed
    }


def _told(door: StoreDoor, source: str, record: PolicyRecord | None) -> str:
    from factory_runtime.services.read_policy import TABLE

    if source != TABLE:
        return f" in {door.settings.policy_folder}"
    if record is None:
        return ""
    at = moment(record.updated_at, door.runtime.clock.now())
    return f", version {record.version}, applied by {record.updated_by} at {at}"
