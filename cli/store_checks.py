"""What `factory doctor` looks at in the run store: its schema, what is open, what is left lying."""

from __future__ import annotations

from dataclasses import dataclass

from cli.door import StoreDoor
from cli.text import moment

_MANY = 1000

LOW_SPACE = 1024**3
"""Bytes that should be free."""


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


def look_at_schema(name: str, door: StoreDoor) -> Check:
    """Of the database, without opening it as a store."""
    from factory_runtime.run_store import opening

    schema = opening.look_at_schema(door.settings.run_store_url)
    if schema.is_newer:
        fix = "install the release that made it, or a newer one"
        return Check(
            name, "fail", f"{schema.found}, newer than this release's {schema.needed}", fix
        )
    if schema.is_older:
        fix = "make a backup; the next command that opens the database brings it up to date"
        return Check(
            name, "warn", f"{schema.found}, older than this release's {schema.needed}", fix
        )
    return Check(name, "ok", schema.found or "none yet")


def look_at_store(name: str, door: StoreDoor) -> Check:
    """Whether it opens."""
    from factory_runtime.ports import RunFilter

    with door.desk.reading() as tx:
        some = tx.list_runs(RunFilter(), limit=1).items
    return Check(name, "ok", "opens, with runs in it" if some else "opens, no runs yet")


def look_at_open_runs(name: str, door: StoreDoor) -> Check:
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


def look_at_left_over(name: str, door: StoreDoor) -> Check:
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


def look_at_hosts(name: str, door: StoreDoor) -> Check:
    """Outside hosts that nothing is asked of for now, because they failed too often."""
    known = door.runtime.job_types.values()
    hosts = sorted({host for job_type in known for host in job_type.facts.hosts})
    now = door.runtime.clock.now()
    with door.desk.reading() as tx:
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


def look_at_outbox(name: str, door: StoreDoor) -> Check:
    """What commits left to be done. What may take long waits for a sweep, and is no fault."""
    from factory_runtime.services.topics import BACKGROUND

    messages = door.runtime.store.due_messages(door.runtime.clock.now(), limit=1000)
    later = sum(message.topic in BACKGROUND for message in messages)
    if due := len(messages) - later:
        fix = "the next run or `factory up` drains it"
        return Check(name, "warn", f"{due} message{'' if due == 1 else 's'} due", fix)
    if later:
        return Check(name, "ok", f"empty, but for {later} of code that `factory sweep` learns")
    return Check(name, "ok", "empty")
