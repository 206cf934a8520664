"""What `factory doctor` says of the git hosts that tenants have elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING

from cli.store_checks import Check
from cli.text import one_line
from factory_runtime.domain.errors import FactoryError
from factory_runtime.domain.policy import LOCAL_HOST

if TYPE_CHECKING:
    from cli.door import StoreDoor

_SECONDS = 8.0
"""For all hosts together: who looks does not wait for one that hangs."""


def look_at_git_hosts(name: str, door: StoreDoor) -> Check:
    """Whether each answers, knows us, and lets us see what runs make there."""
    from cli.at_prefect import at_prefect, find_api_url

    runtime = door.runtime
    tenants = sorted({door.tenant, *runtime.policies.tenants()})
    chosen = {tenant: runtime.git_host_of(tenant) for tenant in tenants}
    elsewhere = {tenant: choice for tenant, choice in chosen.items() if choice != LOCAL_HOST}
    if not elsewhere:
        return Check(name, "ok", "a folder of ours")
    if (url := find_api_url(door)) is None:
        blocks = ", ".join(sorted(set(elsewhere.values())))
        return Check(name, "warn", f"no Prefect is up that knows {blocks}", "`factory up`")
    with at_prefect(door, url):
        told = _look_at_all(door, elsewhere)
    wrong = [one for one in told.values() if one.state != "ok"]
    words = "; ".join(f"{tenant}: {one.found}" for tenant, one in told.items())
    state = "fail" if any(one.state == "fail" for one in wrong) else "warn" if wrong else "ok"
    return Check(name, state, words, wrong[0].fix if wrong else "")


def _look_at_all(door: StoreDoor, elsewhere: Mapping[str, str]) -> Mapping[str, Check]:
    """By tenant, all at once."""
    told: dict[str, Check] = {}

    def look(tenant: str, choice: str) -> None:
        told[tenant] = _look(door, tenant, choice)

    threads = [
        # A daemon: one that hangs does not keep the command.
        threading.Thread(target=partial(copy_context().run, look, *one), daemon=True)
        for one in elsewhere.items()
    ]
    until = time.monotonic() + _SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    late = f"does not answer within {_SECONDS:.0f} s"
    return {
        tenant: told.get(tenant)
        or Check(choice, "fail", f"{choice} {late}", "look whether this machine reaches it")
        for tenant, choice in elsewhere.items()
    }


def _look(door: StoreDoor, tenant: str, choice: str) -> Check:
    from factory_runtime.ports import Inspectable

    host = door.runtime.host
    if not isinstance(host, Inspectable):
        return Check(choice, "ok", choice)
    try:
        found = host.inspect(tenant, door.settings.project)
    except FactoryError as error:
        return Check(choice, "fail", one_line(f"{choice}: {error}"), error.hint or "")
    except Exception as error:
        said = one_line(f"{choice}: {type(error).__name__}: {error}")
        return Check(choice, "fail", said, "look into it")
    if found is None:
        return Check(choice, "ok", choice)
    who = f"{choice}, {found.name} as {found.who}"
    if found.lacks:
        fix = "docs/azure-devops.md lists what the token has to be allowed"
        return Check(choice, "warn", one_line(f"{who}: {'; '.join(found.lacks)}"), fix)
    return Check(choice, "ok", one_line(who))
