"""Deployments of templates that were published: every process that shares the stores has them."""

from __future__ import annotations

import shutil

import pytest

from factory_runtime.domain.run import RunStatus
from tests.deployed import deploy, execute, run_of, start
from tests.factory import Factory
from tests.prefect_server import Prefect
from tests.recipes import a_source, a_template

pytestmark = pytest.mark.slow


def test_a_deployment_of_a_published_template_needs_no_folder(
    factory: Factory, prefect: Prefect
) -> None:
    tenant = "readers"
    factory.template("in-print", a_template("in-print"), a_source())
    place = factory.templates / "in-print"
    factory.runtime.publisher.publish(tenant, str(place), "tester")
    shutil.rmtree(place)
    record = deploy(factory, "in-print", tenant).deployment
    shown = prefect.ask("GET", f"/deployments/{record.prefect_id}")
    assert str(place) in shown["description"], "where it came from, and not where its copy lies"
    started = start(prefect, record.prefect_id, parameters={"name": "novel"})
    execute(factory, started)  # in a process whose own tenant has no such template
    run = run_of(factory, started, tenant)
    assert run is not None
    assert factory.wait(run).status is RunStatus.SUCCEEDED
