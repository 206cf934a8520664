"""What the warm worker takes for granted of Prefect: its entry point, and names that are private."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from prefect.workers.base import BaseWorker

from deployments.warm_process import CHILD
from deployments.worker import DEFAULT_LIMIT, FactoryWorker

PRIVATE = {
    "_get_scheduled_flow_runs": ["self"],
    "_submit_run": ["self", "flow_run"],
    "_release_limit_slot": ["self", "flow_run_id"],
}


def test_prefect_finds_the_worker_type_by_its_entry_point():
    assert "deployments.worker" in [one.value for one in entry_points(group="prefect.collections")]
    assert BaseWorker.get_worker_class_from_type("factory") is FactoryWorker


@pytest.mark.parametrize("name", PRIVATE)
def test_a_private_method_that_is_leaned_on_is_there(name: str):
    assert list(inspect.signature(getattr(BaseWorker, name)).parameters) == PRIVATE[name]


@pytest.mark.parametrize(
    "name",
    [
        "_cancelling_observer",
        "_limiter",
        "_logger",
        "_submitting_flow_run_ids",
        "_work_pool",
        "_work_pool_name",
        "_work_queues",
    ],
)
def test_a_private_attribute_that_is_leaned_on_is_there(name: str):
    assert hasattr(FactoryWorker("pool"), name)


def test_nothing_is_claimed_before_its_time_or_for_which_there_is_no_process():
    worker = FactoryWorker("pool", prefetch_seconds=10, limit=None)
    assert worker.get_status()["settings"]["prefetch_seconds"] == 0
    assert worker._limit == DEFAULT_LIMIT  # pyright: ignore[reportPrivateUsage] - no public name


def test_a_pool_of_the_type_can_be_told_when_processes_are_replaced():
    template = FactoryWorker.get_default_base_job_template()
    told = {"max_runs", "memory_limit_mib", "drain_seconds", "cancel_seconds"}
    assert told <= set(template["variables"]["properties"])
    assert told <= set(template["job_configuration"])


def test_commands_that_look_for_worker_types_import_no_flows():
    program = (
        "import sys, deployments.worker as _\n"
        f"heavy = {{'{CHILD}', 'flows', 'factory_runtime.bootstrap', 'lancedb'}}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
