"""State hooks are for speed alone: what they would do, the sweep does without them."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from factory_runtime.domain.run import Run, RunStatus
from flows.hooks import after_run
from flows.templates import template_flow
from tests.executors import Site

pytestmark = pytest.mark.slow

STEP = "name: a, type: touch, with: {file: FILES/a}"
SELDOM = 600.0
"""Seconds between two sweeps: it does nothing within this test."""


def test_every_flow_has_a_hook_for_each_end_and_prefect_can_call_it_by_keyword():
    flow = template_flow("one", "1", "", {"type": "object", "properties": {}})
    hooks = (flow.on_completion_hooks, flow.on_failure_hooks, flow.on_cancellation_hooks,
             flow.on_crashed_hooks)  # fmt: skip
    assert [list(one) for one in hooks] == 4 * [[after_run]]
    assert list(inspect.signature(after_run).parameters) == ["flow", "flow_run", "state"]


def ended(site: Site) -> Run:
    """A run that has, behind another one: what the first one's hook does is done by then."""
    site.work("hooked", STEP)
    first = site.wait(site.request("hooked", "first"))
    assert site.wait(site.request("hooked", "second")).status is RunStatus.SUCCEEDED
    site.until_shown(first, "COMPLETED", "Completed")
    return first


def test_with_hooks_the_outbox_is_drained_when_a_run_ends(a_site: Callable[..., Site]):
    site = a_site()
    site.execute(tidy=SELDOM)
    run = ended(site)
    site.until(lambda: site.is_remembered(run), "nobody had to sweep")


def test_without_hooks_the_sweep_drains_it(a_site: Callable[..., Site]):
    site = a_site(hooks=False)
    idle = site.execute(tidy=SELDOM)
    run = ended(site)
    assert not site.is_remembered(run)
    idle.end()
    site.execute()
    site.until(lambda: site.is_remembered(run), "the sweep has done it")
