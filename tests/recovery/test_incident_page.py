"""The page that walks through an incident: an operator can type it, and it comes out as told."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployments.stack import StackLock, read_state
from factory_runtime.domain.dead_letter import ORDER_ENDED, LetterFilter, OrderStatus
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunFilter
from factory_runtime.services.topics import BACKGROUND
from tests.executors import Site
from tests.factory import LIMIT_SECONDS, Factory
from tests.warm_cli import nursery

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "incident.md"
PROJECTS = ("shop", "billing", "stock")


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line]


@pytest.fixture
def stack(a_site: Callable[..., Site]) -> Iterator[Site]:
    """A site whose executor is its stack, and the repositories that people have made by hand."""
    site = a_site(lease_seconds=30)
    for project in PROJECTS:
        place = site.settings.git_folder / "local" / project / "orders.git"
        subprocess.run(["git", "init", "--quiet", "--bare", place], check=True)
    lock = StackLock(site.settings)
    assert lock.take()  # who looks for a stack asks whether somebody holds it
    site.execute()
    site.until(lambda: (state := read_state(site.settings)) and state.ready, "the stack is up")
    yield site
    lock.release()


def runs_of(factory: Factory) -> list[Run]:
    with factory.runtime.store.begin("local", read_only=True) as tx:
        return [run for run in tx.list_runs(RunFilter()).items if run.undoes is None]


def as_typed(factory: Factory, command: str) -> str:
    """The command with the ids of this home instead of those on the page."""
    with factory.runtime.store.begin("local", read_only=True) as tx:
        newest = tx.list_dead_letters(LetterFilter(), limit=1)
    (billing,) = (run for run in runs_of(factory) if run.project_id == "billing")
    command = re.sub(r"letter-[0-9a-z]{26}", newest[0].id if newest else "", command)
    command = re.sub(r"run-[0-9a-z]{26}", billing.id, command)
    return command.replace(".factory/", f"{factory.settings.home.name}/")


def wait_until_quiet(factory: Factory) -> None:
    """Until every run and order has ended, and what they left to be done is done."""
    store, clock = factory.runtime.store, factory.runtime.clock
    until = time.monotonic() + LIMIT_SECONDS
    while True:
        with store.begin("local", read_only=True) as tx:
            open_runs = [run for run in tx.list_runs(RunFilter()).items if not run.ended]
            orders = [one for one in tx.list_redrive_orders() if one.status not in ORDER_ENDED]
        due = [one for one in store.due_messages(clock.now()) if one.topic not in BACKGROUND]
        left = (*open_runs, *orders, *due)
        if not left:
            return
        assert time.monotonic() < until, f"not quiet: {left}"
        time.sleep(0.1)


def test_the_incident_can_be_typed_and_comes_out_as_told(stack: Site):
    for project in PROJECTS:
        run = stack.complete("microservice", project, service_name="orders")
        assert run.status is RunStatus.FAILED, run
    wait_until_quiet(stack)
    path = f"{nursery().factory.parent}{os.pathsep}{os.environ['PATH']}"
    said = ""
    for command in commands():
        typed = as_typed(stack, command)
        done = subprocess.run(
            ["bash", "-c", typed], cwd=stack.settings.root.parent, env=stack.environment() | {"PATH": path},
            capture_output=True, text=True, timeout=LIMIT_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, f"{typed}\n{done.stdout}{done.stderr}"
        said += done.stdout
        wait_until_quiet(stack)
    assert {run.status for run in runs_of(stack)} == {RunStatus.SUCCEEDED}
    with stack.runtime.store.begin("local", read_only=True) as tx:
        assert tx.list_dead_letters(LetterFilter()) == ()
        assert tx.list_effects(status=EffectStatus.ORPHANED) == ()
        orders = [order.status for order in tx.list_redrive_orders()]
    assert orders == [OrderStatus.DONE, OrderStatus.DONE, OrderStatus.STOPPED]
    (fingerprint,) = set(re.findall(r"--fingerprint (\w+)", "\n".join(commands())))
    for told in (fingerprint, "failed again", "orphaned", "of Ann", "no dead letters"):
        assert told in said
