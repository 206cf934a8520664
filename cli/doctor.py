"""`factory doctor`: is everything there that a run needs, and how to mend what is not."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from cli.as_json import print_json
from cli.door import StoreDoor, open_stores
from cli.errors import DONE, UNAVAILABLE
from cli.host_checks import look_at_git_hosts
from cli.memory_checks import look_at_memory, look_into_index
from cli.options import Json, Tenant
from cli.store_checks import (
    LOW_SPACE,
    Check,
    look_at_hosts,
    look_at_left_over,
    look_at_open_runs,
    look_at_outbox,
    look_at_schema,
    look_at_store,
)
from cli.text import one_line, size
from cli.unfinished import find_unfinished, show_unfinished, unfinished_facts, unfinished_words
from factory_runtime.domain.errors import FactoryError

if TYPE_CHECKING:
    from factory_runtime.services.unfinished import Unfinished

_GIT = (2, 30)
_PYTHON = (3, 11)
_NO_SPACE = 64 * 1024**2
_PREFECT_SECONDS = 3.0


def doctor(
    memory: Annotated[
        bool, typer.Option("--memory", help="Open the memory's index too; it takes seconds.")
    ] = False,
    tenant: Tenant = None,
    json: Json = False,
) -> int:
    """Check everything a run needs, and say how to mend what is not right."""
    door = open_stores(tenant=tenant, json=json)
    schema = _tried("schema", look_at_schema, door)
    found: list[Unfinished] = []
    looks = {**LOOKS, "upgrade": partial(_upgrade, found)}
    if memory:
        looks["memory index"] = look_into_index
    # Opening an older database brings it up to date: who only looks does not decide that.
    told = WITHOUT_STORE if schema.state == "warn" else looks.keys()
    checks = [schema, *(_tried(name, look, door) for name, look in looks.items() if name in told)]
    if json:
        unfinished = [unfinished_facts(one) for one in found]
        print_json({"checks": checks, "unfinished": unfinished})
    else:
        door.screen.table(
            ("check", "status", "found"),
            [(check.name, check.state, check.found) for check in checks],
            flexible=("found",),
        )
        for check in checks:
            if check.fix:
                door.screen.line(f"{check.name}: {check.fix}")
        show_unfinished(door, found)
    return UNAVAILABLE if any(check.state == "fail" for check in checks) else DONE


def _tried(name: str, look: Callable[[str, StoreDoor], Check], door: StoreDoor) -> Check:
    """A look that fails in a way nobody foresaw is a finding as well."""
    try:
        return look(name, door)
    except FactoryError as error:
        return Check(name, "fail", one_line(str(error)), error.hint or "")
    except Exception as error:
        return Check(name, "fail", one_line(f"{type(error).__name__}: {error}"), "look into it")


def _upgrade(found: list[Unfinished], name: str, door: StoreDoor) -> Check:
    """Whether runs that wait could go on with what is installed now."""
    found += find_unfinished(door)
    return Check(name, *unfinished_words(found))


def _python(name: str, _: StoreDoor) -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= _PYTHON:
        return Check(name, "ok", found)
    return Check(name, "fail", found, "install Python 3.11 or newer")


def _git(name: str, _: StoreDoor) -> Check:
    fix = f"install git {'.'.join(map(str, _GIT))} or newer"
    program = shutil.which("git")
    if program is None:
        return Check(name, "fail", "not found", fix)
    said = subprocess.run(  # noqa: S603 - the git on the path
        [program, "--version"], capture_output=True, text=True, timeout=10, check=False
    ).stdout
    version = re.search(r"(\d+)\.(\d+)(?:\.\d+)?", said)
    if version is None or (int(version[1]), int(version[2])) < _GIT:
        return Check(name, "fail", one_line(said) or "no version", fix)
    return Check(name, "ok", version[0])


def _home(name: str, door: StoreDoor) -> Check:
    from factory_runtime.bootstrap.ground import make_home

    make_home(door.settings)
    root = door.settings.root
    try:
        with tempfile.TemporaryFile(dir=root) as probe:
            probe.write(b"\0" * 4096)
    except OSError as exc:
        fix = "set FACTORY_HOME to a folder you can write"
        return Check(name, "fail", f"{root}: {exc.strerror}", fix)
    free = shutil.disk_usage(root).free
    found = f"{root}, {size(free)} free"
    if free < _NO_SPACE:
        return Check(name, "fail", found, "free some space")
    return (
        Check(name, "ok", found)
        if free >= LOW_SPACE
        else Check(name, "warn", found, "free some space")
    )


def _job_types(name: str, door: StoreDoor) -> Check:
    from factory_runtime.jobs.registry import job_types

    found = job_types()
    if found.broken:
        first = next(iter(found.broken.values()))
        return Check(name, "fail", one_line(str(first)), first.hint or "")
    if not found:
        return Check(name, "fail", "none", "install this package again: `make setup`")
    return Check(name, "ok", ", ".join(sorted(found)))


def _templates(name: str, door: StoreDoor) -> Check:
    from factory_runtime.compiler.load import check_template

    catalog = door.runtime.catalog
    bad = [
        template
        for template in catalog.names()
        if (folder := catalog.find_folder(template)) is not None
        and check_template(folder, catalog.job_types, source_roots=catalog.source_roots)
    ]
    if bad:
        return Check(name, "fail", f"not in order: {', '.join(bad)}", "`factory templates check`")
    with door.desk.reading() as tx:
        lost = [
            f"{one.template_id} {one.version}"
            for one in catalog.publications(door.tenant)
            if (record := tx.find_template(one.template_id, one.version)) is None
            or not door.runtime.storage.exists(door.tenant, record.digest)
        ]
    if lost:
        return Check(name, "fail", f"files are gone: {', '.join(lost)}", "publish them again")
    return Check(name, "ok", ", ".join(catalog.names(door.tenant)))


def _policies(name: str, door: StoreDoor) -> Check:
    """One that cannot be read refuses whatever its tenants ask for."""
    broken = list(door.runtime.policies.broken())
    if broken:
        return Check(name, "fail", one_line("; ".join(broken)), "`factory policy check FILE`")
    folder = door.settings.policy_folder
    return Check(name, "ok", "in order" if folder is None else f"in order, those in {folder} too")


def _stack(name: str, door: StoreDoor) -> Check:
    import httpx

    from deployments.stack import find_stack

    url, offers = door.settings.prefect_api_url, ()
    if url is None:
        state = find_stack(door.settings)
        if state is None:
            return Check(name, "ok", "down; `factory run` starts what it needs")
        if not state.ready:
            return Check(name, "warn", state.phase, "wait a moment")
        url, offers = state.api_url, state.offers
    try:
        answer = httpx.get(f"{url}/health", timeout=_PREFECT_SECONDS)
        answer.raise_for_status()
    except httpx.HTTPError as exc:
        fix = "`factory down`, then `factory up`"
        return Check(name, "fail", f"{url} does not answer: {exc}", fix)
    return Check(name, "ok", "; ".join((f"up, {url} answers", *offers)))


def _routes(name: str, door: StoreDoor) -> Check:
    """Jobs that are routed to what is not there, or where nobody looks, wait."""
    from cli.at_prefect import at_prefect, find_api_url

    routes = sorted(set(door.runtime.routes.values()))
    url = find_api_url(door)
    if not routes or url is None:
        return Check(name, "ok", ", ".join(map(str, routes)) or "none set")
    with at_prefect(door, url):
        from factory_runtime.orchestration.routes import find_route, is_attended

        for route in routes:
            find_route(route)
        unattended = [route for route in routes if not is_attended(route)]
    if unattended:
        fix = f"`prefect worker start --pool {unattended[0].pool}` where its jobs are to be done"
        found = f"no worker looks at {', '.join(map(str, unattended))}"
        return Check(name, "warn", found, fix)
    return Check(name, "ok", ", ".join(map(str, routes)))


LOOKS: dict[str, Callable[[str, StoreDoor], Check]] = {
    "Python": _python,
    "git": _git,
    "FACTORY_HOME": _home,
    "run store": look_at_store,
    "open runs": look_at_open_runs,
    "left lying": look_at_left_over,
    "outbox": look_at_outbox,
    "job types": _job_types,
    "hosts": look_at_hosts,
    "git hosts": look_at_git_hosts,
    "templates": _templates,
    "policies": _policies,
    "stack": _stack,
    "routes": _routes,
    "memory": look_at_memory,
}

WITHOUT_STORE = frozenset({"Python", "git", "FACTORY_HOME", "job types", "stack"})
"""Looks that leave the run store closed."""
