"""`factory doctor`: is everything there that a run needs, and how to mend what is not."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

from cli.as_json import print_json
from cli.door import Door, open_door
from cli.errors import DONE, UNAVAILABLE
from cli.options import Json, Tenant
from cli.text import moment, one_line, size
from factory_runtime.domain.errors import FactoryError

_GIT = (2, 30)
_PYTHON = (3, 11)
_LOW_SPACE = 1024**3
_NO_SPACE = 64 * 1024**2
_PREFECT_SECONDS = 3.0
_MANY = 1000


@dataclass(frozen=True)
class Check:
    """One look at one thing.

    Attributes:
        state: ``ok``, ``warn`` (runs succeed all the same) or ``fail``.
        fix: what to do about it, where there is something.
    """

    name: str
    state: str
    found: str
    fix: str = ""


def doctor(tenant: Tenant = None, json: Json = False) -> int:
    """Check everything a run needs, and say how to mend what is not right."""
    door = open_door(tenant=tenant, json=json)
    checks = [_tried(name, look, door) for name, look in LOOKS.items()]
    if json:
        print_json({"checks": checks})
    else:
        door.screen.table(
            ("check", "status", "found"),
            [(check.name, check.state, check.found) for check in checks],
            flexible=("found",),
        )
        for check in checks:
            if check.fix:
                door.screen.line(f"{check.name}: {check.fix}")
    return UNAVAILABLE if any(check.state == "fail" for check in checks) else DONE


def _tried(name: str, look: Callable[[str, Door], Check], door: Door) -> Check:
    """A look that fails in a way nobody foresaw is a finding as well."""
    try:
        return look(name, door)
    except FactoryError as error:
        return Check(name, "fail", one_line(str(error)), error.hint or "")
    except Exception as error:
        return Check(name, "fail", one_line(f"{type(error).__name__}: {error}"), "look into it")


def _python(name: str, _: Door) -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= _PYTHON:
        return Check(name, "ok", found)
    return Check(name, "fail", found, "install Python 3.11 or newer")


def _git(name: str, _: Door) -> Check:
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


def _home(name: str, door: Door) -> Check:
    from factory_runtime.bootstrap import make_home

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
        if free >= _LOW_SPACE
        else Check(name, "warn", found, "free some space")
    )


def _store(name: str, door: Door) -> Check:
    from factory_runtime.ports import RunFilter

    with door.reading() as tx:
        some = tx.list_runs(RunFilter(), limit=1).items
    return Check(name, "ok", "opens, with runs in it" if some else "opens, no runs yet")


def _open_runs(name: str, door: Door) -> Check:
    """Runs that are open while no stack is up wait for one."""
    from deployments.stack import find_stack

    store = door.runtime.store
    running = len(store.running_runs())
    waiting = len(store.waiting_runs(door.runtime.clock.now(), limit=_MANY))
    if not running + waiting:
        return Check(name, "ok", "none")
    told = f"{running} with a slot, {waiting} waiting for one"
    if find_stack(door.settings) is not None:
        return Check(name, "ok", told)
    return Check(name, "warn", f"{told}, and nothing executes them here", "`factory up`")


def _left_over(name: str, door: Door) -> Check:
    """What killed processes left, and no sweep has found yet."""
    store, now = door.runtime.store, door.runtime.clock.now()
    lost, late = (
        len(store.expired_jobs(now, limit=_MANY)),
        len(store.overdue_runs(now, limit=_MANY)),
    )
    told = [
        text.format(count, "" if count == 1 else "s")
        for count, text in ((lost, "{} job{} of lost workers"), (late, "{} run{} to be cancelled"))
        if count
    ]
    if not told:
        return Check(name, "ok", "nothing")
    return Check(name, "warn", ", ".join(told), "`factory sweep`")


def _hosts(name: str, door: Door) -> Check:
    """Outside hosts that nothing is asked of for now, because they failed too often."""
    known = door.runtime.job_types.values()
    hosts = sorted({host for job_type in known for host in job_type.facts.hosts})
    now = door.runtime.clock.now()
    with door.reading() as tx:
        breakers = [breaker for host in hosts if (breaker := tx.find_breaker(host)) is not None]
    down = [
        f"{breaker.host} is left alone until {moment(breaker.open_until, now)}"
        f" after {breaker.failures} failures"
        for breaker in breakers
        if breaker.open_until is not None and breaker.open_until > now
    ]
    if down:
        return Check(
            name, "warn", "; ".join(down), "look whether it answers; it is tried by itself"
        )
    return Check(name, "ok", ", ".join(hosts) or "none needed")


def _outbox(name: str, door: Door) -> Check:
    due = len(door.runtime.store.due_messages(door.runtime.clock.now(), limit=1000))
    if not due:
        return Check(name, "ok", "empty")
    fix = "the next run or `factory up` drains it"
    return Check(name, "warn", f"{due} message{'' if due == 1 else 's'} due", fix)


def _job_types(name: str, door: Door) -> Check:
    from factory_runtime.jobs.registry import job_types

    found = job_types()
    if found.broken:
        first = next(iter(found.broken.values()))
        return Check(name, "fail", one_line(str(first)), first.hint or "")
    if not found:
        return Check(name, "fail", "none", "install this package again: `make setup`")
    return Check(name, "ok", ", ".join(sorted(found)))


def _templates(name: str, door: Door) -> Check:
    from factory_runtime.compiler.load import check_template

    catalog = door.runtime.catalog
    bad = [
        template
        for template in catalog.names()
        if check_template(
            catalog.folder_of(template), catalog.job_types, source_roots=catalog.source_roots
        )
    ]
    if bad:
        return Check(name, "fail", f"not in order: {', '.join(bad)}", "`factory templates check`")
    return Check(name, "ok", ", ".join(catalog.names()))


def _policies(name: str, door: Door) -> Check:
    """One that cannot be read refuses whatever its tenants ask for."""
    broken = list(door.runtime.policies.broken())
    if broken:
        return Check(name, "fail", one_line("; ".join(broken)), "`factory policy check FILE`")
    folder = door.settings.policy_folder
    return Check(name, "ok", "in order" if folder is None else f"in order, those in {folder} too")


def _stack(name: str, door: Door) -> Check:
    import httpx

    from deployments.stack import find_stack

    url = door.settings.prefect_api_url
    if url is None:
        state = find_stack(door.settings)
        if state is None:
            return Check(name, "ok", "down; `factory run` starts what it needs")
        if not state.ready:
            return Check(name, "warn", state.phase, "wait a moment")
        url = state.api_url
    try:
        answer = httpx.get(f"{url}/health", timeout=_PREFECT_SECONDS)
        answer.raise_for_status()
    except httpx.HTTPError as exc:
        fix = "`factory down`, then `factory up`"
        return Check(name, "fail", f"{url} does not answer: {exc}", fix)
    return Check(name, "ok", f"up, {url} answers")


def _memory(name: str, door: Door) -> Check:
    """A broken memory never fails a run."""
    from factory_runtime.domain.memory import Collection

    try:
        door.runtime.embedder.embed(["ready"])
        count = sum(door.runtime.memory.count(door.tenant, one) for one in Collection)
    except FactoryError as error:
        return Check(name, "warn", one_line(str(error)), error.hint or "")
    return Check(name, "ok", f"{count} memor{'y' if count == 1 else 'ies'} indexed")


LOOKS: dict[str, Callable[[str, Door], Check]] = {
    "Python": _python,
    "git": _git,
    "FACTORY_HOME": _home,
    "run store": _store,
    "open runs": _open_runs,
    "left lying": _left_over,
    "outbox": _outbox,
    "job types": _job_types,
    "hosts": _hosts,
    "templates": _templates,
    "policies": _policies,
    "stack": _stack,
    "memory": _memory,
}
